#include "runtime/apps/timings.h"

#include <fmt/core.h>

#include <algorithm>

#include "runtime/apps/command_line.h"

namespace spqr {

Speed speed_of(const Session& session, const GenerateResult& result) {
  const double bytes =
      static_cast<double>(result.decode_passes) * static_cast<double>(session.bytes_per_token()) +
      static_cast<double>(result.decode_cache_tokens) * static_cast<double>(session.cache_bytes_per_token());
  const double seconds = std::max(result.decode_seconds, 1e-9);
  return {static_cast<double>(result.prompt_tokens) / std::max(result.prompt_seconds, 1e-9),
          static_cast<double>(result.decode_passes) / seconds, bytes / seconds / 1e9};
}

void print_timings(const Session& session, const GenerateResult& result) {
  const Speed speed = speed_of(session, result);
  print_error(
      fmt::format("\nload {:.0f} ms | prompt {} tokens, {:.1f} tokens/s | decode {} tokens, {:.1f} tokens/s, "
                  "{:.1f} GB/s\n",
                  1000 * session.load_seconds(), result.prompt_tokens, speed.prompt, result.ids.size(),
                  speed.decode, speed.gb_per_s));
  if (result.shifts > 0)
    print_error(fmt::format("the context was full {} times and was shifted\n", result.shifts));
}

}  // namespace spqr
