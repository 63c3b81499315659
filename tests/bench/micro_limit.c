/*
 * micro_limit.c: the limits' half of micro.c: what every message pays to be counted, in bytes and messages as ws_server.c
 * counts it, and what a connection pays at the gate among ten thousand addresses.
 */
#include "micro.h"

#include "gate.h"

enum { ADDRESSES = 10000, STEP_US = 3000 /* within the rates */ };

static struct metrics metrics;
static struct client_limits limits;
static struct gate *gate;
static struct token_bucket bytes, messages, joins;
static struct client_source standing[ADDRESSES];
static uint64_t now_us = 1000000;

static struct client_source source_of(uint32_t i)
{
    const struct ip_address a = {{0x20, 1, 0x0d, 0xb8, 0, 0, (uint8_t)(i >> 8), (uint8_t)i, [15] = 1}};
    struct client_source from = {.tls = false};
    client_source_set(&from, &a);
    return from;
}

void limit_prepare(void)
{
    limit_init(&limits, &metrics);
    gate = gate_new(&limits);
    assert_always(gate);
    for (uint32_t i = 0; i < ADDRESSES; i++) {
        standing[i] = source_of(i);
        assert_always(gate_enter(gate, &standing[i], now_us));
    }
}

void limit_forget(void)
{
    for (uint32_t i = 0; i < ADDRESSES; i++)
        gate_leave(gate, &standing[i], now_us);
    gate_free(gate);
}

void run_limit_message(void)
{
    now_us += STEP_US;
    uint64_t debt = token_bucket_take(&bytes, &limits.rate[LIMIT_BYTES], now_us, 136);
    debt += token_bucket_take(&messages, &limits.rate[LIMIT_MESSAGES], now_us, 1);
    assert_always(debt == 0);
}

void run_limit_join(void)
{
    now_us += 10 * STEP_US;
    assert_always(token_bucket_try(&joins, &limits.rate[LIMIT_JOINS], now_us));
}

void run_limit_gate(void)
{
    static uint32_t i;
    struct client_source from = standing[i++ * 7919 % ADDRESSES];
    now_us += STEP_US;
    assert_always(gate_pause_us(gate, now_us) == 0 && gate_enter(gate, &from, now_us));
    gate_leave(gate, &from, now_us);
}
