/*
 * vectors.h: test data from files: tests/data is looked up from the top of the repository, where make runs.
 */
#ifndef BEAMGATE_VECTORS_H
#define BEAMGATE_VECTORS_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "unit.h"

/* The whole file with a NUL behind it, or NULL when it does not exist. The caller frees it. */
static inline char *vector_read(const char *dir, const char *name, const char *ext, size_t *len)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s%s", dir, name, ext);
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    size_t cap = 1 << 20;
    char *text = malloc(cap);
    assert_non_null(text);
    *len = fread(text, 1, cap - 1, f);
    text[*len] = '\0';
    fclose(f);
    return text;
}

/* A text file without its last newline. */
static inline char *vector_text(const char *dir, const char *name, const char *ext)
{
    size_t len;
    char *text = vector_read(dir, name, ext, &len);
    if (text && len > 0 && text[len - 1] == '\n')
        text[len - 1] = '\0';
    return text;
}

/* The bytes of a file of hex digits and newlines. */
static inline uint8_t *vector_hex(const char *dir, const char *name, size_t *len)
{
    char *text = vector_read(dir, name, ".hex", len);
    if (!text)
        fail_msg("no %s/%s.hex", dir, name);
    uint8_t *bytes = malloc(*len / 2 + 1);
    size_t n = 0;
    unsigned byte;
    for (char *p = text; *p; p++)
        if (*p != '\n') {
            assert_int_equal(sscanf(p++, "%2x", &byte), 1);
            bytes[n++] = (uint8_t)byte;
        }
    free(text);
    *len = n;
    return bytes;
}

/* Calls fn with the name (without .hex) of each vector in dir; returns how many there were. */
static inline size_t vector_each(const char *dir, void (*fn)(const char *dir, const char *name))
{
    size_t n = 0;
    DIR *d = opendir(dir);
    if (!d)
        fail_msg("no directory %s", dir);
    for (struct dirent *ent; (ent = readdir(d));) {
        char *dot = strrchr(ent->d_name, '.');
        if (!dot || strcmp(dot, ".hex") != 0)
            continue;
        *dot = '\0';
        fn(dir, ent->d_name);
        n++;
    }
    closedir(d);
    return n;
}

#endif
