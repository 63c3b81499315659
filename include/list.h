/*
 * list.h: intrusive doubly linked list. A member node that is in no list points to itself, so
 * list_remove() may be called twice and list_linked() tells.
 */
#ifndef BEAMGATE_LIST_H
#define BEAMGATE_LIST_H

#include "base.h"

struct list {
    struct list *next;
    struct list *prev;
};

/* For a head: the list is empty. For a member: it is in no list. Before anything else is done with either. */
static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

/* Whether a member is in a list. */
static inline bool list_linked(const struct list *node)
{
    return node->next != node;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

/* Puts node, which is in no list, at the end. */
static inline void list_append(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* Takes node out of the list it is in; harmless when it is in none. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Takes the first node off the list, or returns NULL when it is empty. */
static inline struct list *list_pop(struct list *head)
{
    if (list_empty(head))
        return NULL;
    struct list *first = head->next;
    list_remove(first);
    return first;
}

/* Walks a list whose current node may be removed by the body. */
#define list_each_safe(it, nxt, head) \
    for ((it) = (head)->next, (nxt) = (it)->next; (it) != (head); (it) = (nxt), (nxt) = (it)->next)

#endif
