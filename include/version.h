/*
 * version.h: precedence of version texts (Semantic Versioning 2.0.0, §11).
 */
#ifndef BEAMGATE_VERSION_H
#define BEAMGATE_VERSION_H

#include "base.h"

/* <0, 0 or >0 as a goes below, level with or above b (E-032 want). Build metadata does not count; a pre-release is
 * below its release; text that is no version is below any that is, and level with other such text. */
int version_compare(struct slice a, struct slice b);

#endif
