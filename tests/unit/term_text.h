/*
 * term_text.h: terms for tests, written as Elixir writes them: term_of(&b, "%{name: \"x\", list: [1, :a]}").
 * Knows nil true false, :atom :"quoted", Alias.Name, "binary", 'charlist' (STRING_EXT), integers, floats, lists,
 * keyword lists, improper lists, tuples and maps. Recursive, and aborts on what it does not know: for our own text
 * only.
 */
#ifndef BEAMGATE_TERM_TEXT_H
#define BEAMGATE_TERM_TEXT_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "term.h"
#include "unit.h"

static inline void text_blank(const char **p)
{
    while (isspace((unsigned char)**p) || **p == ',')
        ++*p;
}

static inline bool text_word_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '@' || c == '?' || c == '.' || c == '!';
}

static inline struct slice text_word(const char **p)
{
    const char *start = *p;
    while (text_word_char(**p))
        ++*p;
    return slice_make(start, (size_t)(*p - start));
}

static inline struct slice text_quoted(const char **p, char quote)
{
    const char *start = ++*p;
    while (**p && **p != quote)
        ++*p;
    assert_true(**p == quote);
    return slice_make(start, (size_t)((*p)++ - start));
}

static inline void text_term(const char **p, struct buf *b);

/* `key: ` or `key => ` before a value; an atom key is written, and true returned, for the short form. */
static inline bool text_short_key(const char **p, struct buf *b)
{
    const char *q = *p;
    struct slice word = text_word(&q);
    if (word.len == 0 || q[0] != ':' || q[1] != ' ')
        return false;
    term_put_atom_slice(b, word);
    *p = q + 1;
    return true;
}

static inline void text_list(const char **p, struct buf *b)
{
    struct buf items;
    uint32_t n = 0;
    bool tail = false;
    buf_init(&items, 0);
    for (++*p; text_blank(p), **p != ']'; n++) {
        struct buf pair;
        buf_init(&pair, 0);
        term_put_tuple(&pair, 2);
        if (**p == '|') {
            ++*p;
            text_blank(p);
            tail = true;
            n--;
        } else if (text_short_key(p, &pair)) {
            buf_add_slice(&items, buf_slice(&pair));
            text_blank(p);
        }
        buf_fini(&pair);
        text_term(p, &items);
    }
    ++*p;
    term_put_list(b, n);
    buf_add_slice(b, buf_slice(&items));
    if (n > 0 && !tail)
        term_put_nil(b);
    buf_fini(&items);
}

static inline void text_tuple(const char **p, struct buf *b)
{
    struct buf items;
    uint32_t n = 0;
    buf_init(&items, 0);
    for (++*p; text_blank(p), **p != '}'; n++)
        text_term(p, &items);
    ++*p;
    term_put_tuple(b, n);
    buf_add_slice(b, buf_slice(&items));
    buf_fini(&items);
}

static inline void text_map(const char **p, struct buf *b)
{
    struct buf items;
    uint32_t n = 0;
    buf_init(&items, 0);
    for (*p += 2; text_blank(p), **p != '}'; n++) {
        if (!text_short_key(p, &items)) {
            text_term(p, &items);
            text_blank(p);
            assert_true((*p)[0] == '=' && (*p)[1] == '>');
            *p += 2;
        }
        text_blank(p);
        text_term(p, &items);
    }
    ++*p;
    term_put_map(b, n);
    buf_add_slice(b, buf_slice(&items));
    buf_fini(&items);
}

static inline void text_charlist(const char **p, struct buf *b)
{
    struct slice s = text_quoted(p, '\'');
    buf_putc(b, 107); /* STRING_EXT */
    buf_putc(b, (int)(s.len >> 8));
    buf_putc(b, (int)(s.len & 0xff));
    buf_add_slice(b, s);
}

static inline void text_numeral(const char **p, struct buf *b)
{
    char *end_int, *end_float;
    long long i = strtoll(*p, &end_int, 10);
    double d = strtod(*p, &end_float);
    assert_true(end_int != *p);
    if (end_float > end_int)
        term_put_float(b, d);
    else
        term_put_int(b, i);
    *p = end_float > end_int ? end_float : end_int;
}

static inline void text_term(const char **p, struct buf *b)
{
    text_blank(p);
    if (**p == '[') {
        text_list(p, b);
    } else if (**p == '{') {
        text_tuple(p, b);
    } else if (**p == '%') {
        text_map(p, b);
    } else if (**p == '"') {
        term_put_binary(b, text_quoted(p, '"'));
    } else if (**p == '\'') {
        text_charlist(p, b);
    } else if (**p == ':') {
        ++*p;
        term_put_atom_slice(b, **p == '"' ? text_quoted(p, '"') : text_word(p));
    } else if (isupper((unsigned char)**p)) {
        char name[256];
        struct slice word = text_word(p);
        snprintf(name, sizeof(name), "Elixir.%.*s", (int)word.len, word.ptr);
        term_put_atom(b, name);
    } else if (isalpha((unsigned char)**p)) {
        term_put_atom_slice(b, text_word(p));
    } else {
        text_numeral(p, b);
    }
}

/* Replaces b's content by the term and returns it. */
static inline struct slice term_of(struct buf *b, const char *text)
{
    size_t used = 0;
    buf_reset(b);
    text_term(&text, b);
    text_blank(&text);
    assert_int_equal(*text, '\0');
    assert_true(buf_ok(b));
    assert_int_equal(term_check(b->data, b->len, TERM_DEPTH_DEFAULT, &used, NULL), BG_OK);
    assert_int_equal(used, b->len);
    return buf_slice(b);
}

/* A valid FunConfig with some keys changed: pairs of key and text, ended by NULL; the text NULL leaves the key out.
 * Keys that the base does not have are added. */
static inline struct slice config_term_v(struct buf *b, va_list ap)
{
    static const char *const base[][2] = {{"request_type", "\"get_user\""},
                                          {"service", "\"user\""},
                                          {"nodes", "[:svc@localhost]"},
                                          {"choose_node_mode", ":random"},
                                          {"timeout", "5000"},
                                          {"mfa", "{MyApp.Users, :get, []}"},
                                          {"arg_types", "nil"},
                                          {"arg_orders", "nil"},
                                          {"response_type", ":sync"},
                                          {"request_info", "false"},
                                          {"check_permission", "false"},
                                          {"permission_callback", "nil"},
                                          {"version", "nil"},
                                          {"disabled", "false"},
                                          {"retry", "nil"},
                                          {"before_execute", "nil"},
                                          {"after_execute", "nil"},
                                          {"hook_timeout", "5000"}};
    const char *key[32], *value[32];
    size_t n = 0;
    for (; n < ARRAY_SIZE(base); n++) {
        key[n] = base[n][0];
        value[n] = base[n][1];
    }
    for (const char *k; (k = va_arg(ap, const char *));) {
        size_t i = 0;
        while (i < n && strcmp(key[i], k) != 0)
            i++;
        key[i] = k;
        value[i] = va_arg(ap, const char *);
        n += i == n;
    }
    char text[16384];
    size_t at = (size_t)snprintf(text, sizeof(text), "%%{__struct__: PhoenixGenApi.Structs.FunConfig, ");
    for (size_t i = 0; i < n; i++)
        if (value[i])
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%s: %s, ", key[i], value[i]);
    assert_true(at < sizeof(text) - 2);
    strcat(text, "}");
    return term_of(b, text);
}

static inline struct slice config_term(struct buf *b, ...)
{
    va_list ap;
    va_start(ap, b);
    struct slice t = config_term_v(b, ap);
    va_end(ap);
    return t;
}

#endif
