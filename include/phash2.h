/*
 * phash2.h: Erlang's portable hash (erlang:phash2), for node choices that must agree with those of the
 * Elixir gateways beside us (E-164, E-165, E-169).
 */
#ifndef BEAMGATE_PHASH2_H
#define BEAMGATE_PHASH2_H

#include "term.h"

/* The 32-bit hash of a term: phash2(T, N) is *hash % N, phash2(T) the lowest 27 bits. Takes checked terms of what JSON
 * can carry, and atoms and tuples. BG_EINVAL for pids, ports, references, functions and bitstrings; BG_ELIMIT when
 * nested deeper than TERM_DEPTH_DEFAULT. */
int phash2_term(struct slice term, uint32_t *hash) MUST_CHECK;
/* The same for a binary of these bytes. */
uint32_t phash2_binary(struct slice bytes);

#endif
