/*
 * arg_spec.h: reads arg_types and arg_orders of a FunConfig (F-007, F-008, F-050..F-066). Part of fun_config;
 * what the specs mean for a request's values is the converter's affair.
 */
#ifndef BEAMGATE_ARG_SPEC_H
#define BEAMGATE_ARG_SPEC_H

#include "fun_config.h"

/* Compiles both terms into fc->args and fc->order, in fc's arena; slices point into the terms. Returns 0,
 * BG_ENOMEM, or BG_EINVAL with *detail saying to the service's author what is wrong. */
int arg_specs_compile(struct fun_config *fc, struct slice types, struct slice orders, struct buf *detail) MUST_CHECK;

#endif
