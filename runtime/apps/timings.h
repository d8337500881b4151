// How fast a generation was.
#pragma once

#include "runtime/generate.h"
#include "runtime/session.h"

namespace spqr {

struct Speed {
  double prompt, decode, gb_per_s;  // tokens/s, tokens/s, 1e9 bytes/s read while decoding
};

Speed speed_of(const Session& session, const GenerateResult& result);

// One line, to standard error, and one for shifts of the context.
void print_timings(const Session& session, const GenerateResult& result);

}  // namespace spqr
