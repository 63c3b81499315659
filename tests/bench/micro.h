/*
 * micro.h: jansson's half of micro.c, apart because jansson and json.h both name their kinds JSON_STRING.
 */
#ifndef BEAMGATE_MICRO_H
#define BEAMGATE_MICRO_H

#include <stdbool.h>
#include <stddef.h>

/* Builds the tree of text and frees it. */
bool jansson_load(const char *text, size_t len);
/* Keeps the tree of text for jansson_dump(); jansson_forget() frees it. */
bool jansson_keep(const char *text, size_t len);
/* Writes the kept tree as compact text and frees that. */
bool jansson_dump(void);
void jansson_forget(void);

#endif
