// Token after token, until something says stop.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/sampler.h"
#include "runtime/session.h"

namespace spqr {

struct GenerateOptions {
  std::int64_t max_tokens = -1;  // -1: until the model ends or the context is full
  bool ignore_eos = false;
  std::vector<std::string> stop{};  // text that ends generation; it is not part of the result
  std::vector<std::int32_t> end{};  // tokens that do, beside the model's own
  bool context_shift = false;       // full context: forget the older half and go on
  bool show_special = false;        // special tokens are part of the text
};

enum class FinishReason : std::uint8_t { length, eos, stop, context, interrupted };
std::string_view name_of(FinishReason reason);

struct GenerateResult {
  std::vector<std::int32_t> ids;  // what was generated
  std::string text;  // of it, without stop strings; without a tokenizer the ids, each with a space
  FinishReason reason = FinishReason::length;
  std::int64_t prompt_tokens = 0;  // evaluated; fewer than given after an interrupt
  std::int64_t shifts = 0;         // how often the context was shifted
  double prompt_seconds = 0;
  double decode_seconds = 0;             // of all tokens after the first
  std::int64_t decode_passes = 0;        // in these seconds
  std::int64_t decode_cache_tokens = 0;  // of the KV cache, read by them all together
};

// What is called while generating. `text` gets whole UTF-8 characters (or ids, without a tokenizer) and
// returns whether to go on; `interrupted` is asked before each token and between the blocks of the model.
// `make_room` is asked when the context is full, with what was generated so far, for a shorter sequence to go
// on from, which ends in that; empty: generation stops.
struct GenerateCallbacks {
  std::function<bool(std::string_view)> text;
  StopCheck interrupted;
  std::function<std::vector<std::int32_t>(std::span<const std::int32_t> generated)> make_room;
};

// Throws std::runtime_error if the prompt is empty or does not fit the context.
void require_room(const Session& session, std::span<const std::int32_t> prompt);

// Appends `prompt` to the session's sequence and generates; penalties look at all of it. Throws as
// require_room() does.
GenerateResult generate(Session& session, Sampler& sampler, std::span<const std::int32_t> prompt,
                        const GenerateOptions& options, const GenerateCallbacks& callbacks);

// Holds back text that may be the beginning of a stop string.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);
  // Text that may be shown now. After a stop string was seen, matched() is true and nothing more comes.
  std::string push(std::string_view text);
  std::string finish();
  bool matched() const { return matched_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool matched_ = false;
};

}  // namespace spqr
