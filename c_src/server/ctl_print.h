/*
 * ctl_print.h: answers of the gateway for people: tables fitted to the terminal, trees of keys and values. No terminal
 * is ever sent a byte that it would obey: control characters are shown, not sent.
 */
#ifndef BEAMGATE_CTL_PRINT_H
#define BEAMGATE_CTL_PRINT_H

#include <jansson.h>

#include "ctl_table.h"

/* Columns that text takes on a terminal. text: as ctl_put_safe() wrote it. */
size_t ctl_width(struct slice text);
/* Appends text with everything that is not a printable character escaped: control characters, what changes the
 * direction of writing, invalid UTF-8. */
void ctl_put_safe(struct slice text, struct buf *out);
/* The same cut to at most width columns, with an ellipsis when something is missing. */
void ctl_put_cut(struct slice text, size_t width, struct buf *out);

/* A table of rows, which is an array of objects; sorted by the first sort_columns columns. width: of the terminal, 0:
 * no bound. Only columns that are wide are cut. */
void ctl_print_table(const struct ctl_command *cmd, json_t *rows, size_t width, struct buf *out);
/* One value, indented: objects as keys and values, lists with a dash. */
void ctl_print_tree(const json_t *value, struct buf *out);
/* One row in one line: key=value. */
void ctl_print_line(const json_t *row, struct buf *out);

#endif
