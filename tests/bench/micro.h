/*
 * micro.h: the parts of micro.c that stand apart: jansson's, because jansson and json.h both name their kinds
 * JSON_STRING, the rate limiter's, the limits', the tokens', the request
 * pipeline's and the incoming calls'.
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

/* Fills the gate with its addresses; limit_forget() empties it. */
void limit_prepare(void);
void limit_forget(void);
/* One message counted, one join, one connection in and out. */
void run_limit_message(void);
void run_limit_join(void);
void run_limit_gate(void);

/* Makes gateways with 10, 100 and 10,000 functions; pipeline_forget() frees them. */
void pipeline_prepare(void);
void pipeline_forget(void);
/* One whole request each, from payload to both frames of its answer. */
void run_pipeline_echo_10(void);
void run_pipeline_echo_100(void);
void run_pipeline_echo_10000(void);
void run_pipeline_any_of_10000(void);
void run_pipeline_checked(void);
void run_pipeline_checked_limited(void);
void run_pipeline_echo_in_flight(void);
/* One stage each. */
void run_stage_decode(void);
void run_stage_find_10(void);
void run_stage_find_100(void);
void run_stage_find_10000(void);
void run_stage_permission(void);
void run_stage_rate_limit(void);
void run_stage_args_one(void);
void run_stage_args_five(void);
void run_stage_answer(void);

/* Makes the callee of incoming calls; rpc_forget() frees it. */
void rpc_prepare(void);
void rpc_forget(void);
/* One call, from its packet to the two of its answer. */
void run_rpc_count(void);

/* Reads tokens and keys of the tests; token_forget() frees them. */
void token_prepare(void);
void token_forget(void);
/* One token verified each. */
void run_token_signed(void);
void run_token_xchacha(void);
void run_token_gcm(void);
void run_token_hs256(void);
void run_token_rs256(void);
void run_token_es256(void);
void run_token_eddsa(void);

#endif
