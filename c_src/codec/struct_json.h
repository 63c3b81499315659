/*
 * struct_json.h: how Elixir's own structs look in JSON. Private to the codec layer.
 */
#ifndef BEAMGATE_STRUCT_JSON_H
#define BEAMGATE_STRUCT_JSON_H

#include "json.h"
#include "term.h"

enum struct_form {
    STRUCT_OBJECT,  /* an object of its fields without __struct__ and __meta__ (E-231) */
    STRUCT_TEXT,    /* one string, written by struct_put_text() (E-229, E-230) */
    STRUCT_SET,     /* MapSet: an array of the keys of its field `map` (E-233) */
    STRUCT_RESPONSE /* its 7 keys (E-2321) */
};

/* What becomes of a struct whose module is `module` ("Elixir.Date"). */
enum struct_form struct_form(struct slice module);

/* Appends the string of a struct of form STRUCT_TEXT; `map` is the whole struct. BG_EINVAL when a field is missing
 * or not what the module keeps there (then out holds nothing new). */
int struct_put_text(struct slice module, struct slice map, struct buf *out);

/* The keys of a Response in the order clients have always seen them (V-14), and what a missing field means (F-110). */
enum { RESPONSE_FIELDS = 7 };
struct response_field {
    const char *key;
    const char *absent; /* JSON */
};
extern const struct response_field response_fields[RESPONSE_FIELDS];

#endif
