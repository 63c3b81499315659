/*
 * micro.h: the parts of micro.c that stand apart: jansson's, because jansson and json.h both name their kinds
 * JSON_STRING, and the rate limiter's.
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

/* Fills the limiters with their users; rate_forget() frees them. */
void rate_prepare(void);
void rate_forget(void);
/* One check each. */
void run_rate_none(void);
void run_rate_refuse(void);
void run_rate_thousand(void);
void run_rate_million(void);

#endif
