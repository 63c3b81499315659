/*
 * ctl_table.h: what `beamgate ctl` can do, as one const table for both of its ends, which are in one binary: the
 * gateway runs a command's step function, the client parses its arguments and prints what comes back. ctl.h has the
 * wire.
 */
#ifndef BEAMGATE_CTL_TABLE_H
#define BEAMGATE_CTL_TABLE_H

#include "buf.h"

struct ctl_job;

enum { CTL_ARGS_MAX = 8, CTL_OPTIONS_MAX = 8 };

/* What `beamgate ctl` exits with; docs/ctl.md and rel/beamgate-ctl.1 list them. */
enum ctl_exit {
    CTL_EXIT_OK = 0,
    CTL_EXIT_REFUSED = 1,     /* the gateway said no, or the answer is an error */
    CTL_EXIT_USAGE = 2,       /* the command line */
    CTL_EXIT_NO_GATEWAY = 3,  /* nobody answers on the socket */
    CTL_EXIT_PERMISSION = 4,  /* the socket is not for this user */
    CTL_EXIT_BROKEN = 5,      /* the answer ended before its end, or is none */
    CTL_EXIT_NOT_HEALTHY = 6  /* health: degraded or error */
};

enum ctl_step {
    CTL_MORE, /* call again in the next turn */
    CTL_WAIT, /* call again after ctl_wake() */
    CTL_DONE,
    CTL_FAILED /* job->error says why */
};

/* Appends whole lines to out. Bounded work; it is called again only when out has been written. */
typedef enum ctl_step ctl_step_fn(struct ctl_job *job, struct buf *out);

enum ctl_cell { CELL_TEXT, CELL_NUMBER, CELL_BYTES, CELL_DURATION_MS };

struct ctl_column {
    const char *title;
    const char *key; /* of the row's object; an array of texts is joined with blanks */
    enum ctl_cell cell;
    bool wide; /* may be cut to fit the terminal */
};

enum ctl_view {
    VIEW_TREE,  /* one value, as indented keys and values */
    VIEW_TABLE, /* rows, sorted by their first columns */
    VIEW_LINES, /* rows as they come, one a line */
    VIEW_RESPONSES /* rows are Responses: results as they come, errors to standard error */
};

struct ctl_command {
    const char *name;
    const char *usage;   /* arguments, as in "SERVICE TYPE" */
    const char *summary; /* one line */
    const char *help;    /* more, or NULL */
    unsigned min_args, max_args;
    const char *const *options; /* pairs: "version=V" or "all", then what it means; NULL ends. NULL: none */
    ctl_step_fn *step;
    const char *module, *function; /* of the row of the rpc table that it runs; NULL: it is made here */
    enum ctl_view view;
    const struct ctl_column *columns;
    unsigned columns_count;
    unsigned sort_columns;
    bool until_gone; /* the gateway's end is the end of the answer */
};

extern const struct ctl_command ctl_commands[];
extern const size_t ctl_commands_count;
const struct ctl_command *ctl_find(struct slice name);

/* argv[0] is "ctl". Returns the exit code. */
int ctl_main(int argc, char **argv);

#endif
