/*
 * config_schema.h: the option table as its users see it: libcyaml's schema to load by, and beside each
 * of its fields a rule that says what libcyaml cannot (range, default, check, nested section).
 */
#ifndef BEAMGATE_CONFIG_SCHEMA_H
#define BEAMGATE_CONFIG_SCHEMA_H

#include <cyaml/cyaml.h>

#include "config.h"

enum option_kind {
    OPT_TEXT,     /* char *; min..max bytes */
    OPT_NUMBER,   /* uint16_t or uint32_t; min..max */
    OPT_SWITCH,   /* enum toggle; fallback is TOGGLE_OFF or TOGGLE_ON */
    OPT_WORD,     /* an enum, by one of words; the first word is the default */
    OPT_SECTION,  /* a mapping inside the struct */
    OPT_SECTIONS, /* a list of mappings; min..max of them */
    OPT_TEXTS,    /* a list of texts; min..max of them */
    OPT_TERMS     /* a list of plain values, encoded as an Erlang list; libcyaml skips it */
};

/* NULL when the text is acceptable, else the end of the sentence `PATH: "TEXT" …`. */
typedef const char *option_check_fn(const char *text);

struct section;

struct option {
    const char *key;
    enum option_kind kind;
    size_t offset;       /* of the member in its section's struct */
    size_t size;         /* of the member; of one item for lists */
    size_t count_offset; /* of the item count of lists */
    uint64_t min, max;
    uint64_t fallback;
    const char *text_fallback;
    option_check_fn *check;
    const struct section *child;
    bool required;
    bool live; /* a reload can change it; for a list: and everything inside */
};

/* One mapping of the file. options and fields run in step; the last field is libcyaml's end mark. */
struct section {
    const struct option *options;
    uint32_t count;
};

extern const struct section config_section;         /* the whole file */
extern const cyaml_schema_value_t config_top_value; /* the same for libcyaml */

/* The words of OPT_WORD (call_way is the only one): text and value. */
extern const cyaml_strval_t config_call_way[];
enum { CONFIG_CALL_WAYS = 2 };

/* The pre-pass: checks text against the table and reports what is wrong. Fills the OPT_TERMS into
 * terms in the order of the file. True when nothing was wrong. */
struct config_terms {
    struct config_term {
        const struct option *list; /* of the top level, to whose item it belongs: services, sockets */
        uint32_t item;             /* that item's index */
        size_t offset;             /* of the struct buf in the item */
        struct buf term;
    } *at;
    uint32_t count;
};

/* Where each key of the file stands, for messages that come after the pre-pass. */
struct config_lines {
    struct config_line {
        char path[96];
        size_t line;
    } *at;
    uint32_t count;
};

bool config_check(const char *name, struct slice text, struct config_report *report, struct config_terms *terms,
                  struct config_lines *lines);
/* The line of a key, or 0. */
size_t config_line_of(const struct config_lines *lines, const char *path);

/* Adds one line to the report: "NAME:LINE: TEXT", or "NAME: TEXT" for line 0; warning adds the word. */
void config_error(struct config_report *r, const char *name, size_t line, const char *fmt, ...) PRINTF_LIKE(4, 5);
void config_warning(struct config_report *r, const char *name, size_t line, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* The checks of the table that others use too. */
const char *config_check_node(const char *text);
const char *config_check_level(const char *text);

/* config_auth.c */
bool config_auth_type_known(const char *text);
/* What only the whole entry can tell: reports what is missing and what does not belong. */
void config_check_auth(const struct server_config *c, uint32_t socket, uint32_t method, const char *name, size_t line,
                       struct config_report *r);
void config_check_join(const struct server_config *c, uint32_t socket, uint32_t channel, const char *name, size_t line,
                       struct config_report *r);
void config_check_refusals(const struct server_config *c, uint32_t socket, const char *name, size_t line,
                           struct config_report *r);
void config_check_origin(const struct server_config *c, uint32_t socket, const char *name, size_t line,
                         struct config_report *r);

#endif
