/*
 * micro_jansson.c: what a library that builds a tree needs for the bytes that micro.c transcodes in one pass.
 */
#include "micro.h"

#include <jansson.h>
#include <stdlib.h>

static json_t *kept;

bool jansson_load(const char *text, size_t len)
{
    json_t *tree = json_loadb(text, len, 0, NULL);
    bool ok = tree != NULL;
    json_decref(tree);
    return ok;
}

bool jansson_keep(const char *text, size_t len)
{
    kept = json_loadb(text, len, 0, NULL);
    return kept != NULL;
}

bool jansson_dump(void)
{
    char *text = json_dumps(kept, JSON_COMPACT);
    bool ok = text != NULL;
    free(text);
    return ok;
}

void jansson_forget(void)
{
    json_decref(kept);
    kept = NULL;
}
