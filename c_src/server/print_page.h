/*
 * print_page.h: text for the screen of whoever calls: pages made of terms, and their way to the caller's group leader.
 */
#ifndef BEAMGATE_PRINT_PAGE_H
#define BEAMGATE_PRINT_PAGE_H

#include "rpc_functions.h"

enum {
    PAGE_BYTES_MAX = 4 * 1024 * 1024,
    PAGE_INSPECT_MAX = 4096 /* bytes of one value that is shown as Elixir writes it */
};

/* A text under construction; writers append, its own sticky failure is looked at once. */
struct page {
    struct server *server;
    struct buf text;
};

/* One line, or a part of one. */
void page_line(struct page *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
void page_add(struct page *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* inspect(term); and what Elixir puts for #{term}: texts and atoms without quotes. Empty terms are nil. */
void page_inspect(struct page *p, struct slice term);
void page_value(struct page *p, struct slice term);
/* Blanks until what was appended since `from` has width characters (String.pad_trailing). */
size_t page_mark(const struct page *p);
void page_pad(struct page *p, size_t from, unsigned width);
/* 12 B, 1.5 KB, 3.0 MB; what is no integer is "?". */
void page_bytes(struct page *p, struct slice term);
/* {TotalMs, _} as "3h 12m 4s". */
void page_uptime(struct page *p, struct slice term);
/* Milliseconds since 1970 as "2024-01-02 03:04:05.678Z". */
void page_time(struct page *p, struct slice term);

/* The value at a path of atom keys, "checks.vm.memory.total"; empty when there is none. */
struct slice page_get(struct slice map, const char *path);
bool page_is(struct slice map, const char *path, const char *atom);
/* Walks a proper list, also [] and what is no list at all. */
struct page_list {
    struct term_reader r;
    uint32_t left;
};
struct page_list page_list(struct slice list, uint32_t *count);
bool page_next(struct page_list *l, struct slice *item);
/* Walks a map in the order of its encoding. */
struct page_list page_map(struct slice map, uint32_t *count);
bool page_next_pair(struct page_list *l, struct slice *key, struct slice *value);

/* Asks a function of the rpc table; its value is appended to *out, which the caller has initialised. Another outcome
 * than RPC_RETURN is returned with its reason there. */
enum rpc_outcome page_ask(struct server *s, const struct rpc_call *call, const char *module, const char *function,
                          const struct slice *argv, unsigned argc, struct buf *out);

/* Sends the page to the caller's group leader and answers ok when that has printed it, as IO.puts; a caller that cannot
 * wait gets the text itself. Errors as IO.puts raises them: terminated when the group leader has gone, timeout after
 * 5 seconds. For the return of an rpc function. */
enum rpc_outcome page_print(struct page *p, const struct rpc_call *call, struct buf *out);

/* The same for a page that cannot be made yet: whoever waits for it, NULL when this caller cannot wait. gone(owner) is
 * called when nobody waits any more; it may be NULL. */
struct page_waiter;
struct page_waiter *page_wait(struct server *s, const struct rpc_call *call, void (*gone)(void *owner),
                              void *owner) MUST_CHECK;
/* Sends the page and answers when it is printed. w is not the caller's any more. */
void page_print_waiting(struct page_waiter *w, const struct page *p);
/* Before and after there can be any. Who still waits at the end is forgotten, and no gone() is called. */
void pages_start(struct server *s);
void pages_end(struct server *s);

#endif
