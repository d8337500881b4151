#include "runtime/generate.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>

#include "runtime/stopwatch.h"

namespace spqr {
namespace {

// What the model says of the next token: all logits, or where they stay on a device the largest of them.
struct Prediction {
  std::span<const float> logits;
  std::vector<TokenLogit> largest;
};

// Everything of one generation that changes from token to token.
class Generation {
 public:
  Generation(Session& session, Sampler& sampler, const GenerateOptions& options,
             const GenerateCallbacks& callbacks)
      : session_(session), sampler_(sampler), options_(options), callbacks_(callbacks), stop_(options.stop) {
    eos_ = session.tokenizer() != nullptr ? session.tokenizer()->eos_ids()
                                          : generation_eos_ids(session.file().info().tokenizer_files);
    const auto& configured = session.config().eos_token_ids;
    eos_.insert(eos_.end(), configured.begin(), configured.end());
    eos_.insert(eos_.end(), options.end.begin(), options.end.end());
  }

  GenerateResult run(std::span<const std::int32_t> prompt) {
    if (const Tokenizer* tokenizer = session_.tokenizer()) {
      // Only after nothing but BOS does a text begin, and may drop a leading space.
      const bool at_start = prompt.size() == 1 && prompt.front() == tokenizer->bos_id();
      decoder_.emplace(*tokenizer, options_.show_special, at_start);
    }
    sampler_.forget();
    for (const std::int32_t id : session_.ids()) sampler_.accept(id);
    for (const std::int32_t id : prompt) sampler_.accept(id);
    try {
      decode(read_prompt(prompt));
    } catch (const Interrupted&) {
      result_.reason = FinishReason::interrupted;
    }
    emit(decoder_ ? stop_.push(decoder_->finish()) : "");
    emit(stop_.finish());
    return std::move(result_);
  }

 private:
  Prediction read_prompt(std::span<const std::int32_t> prompt) {
    const Stopwatch watch(result_.prompt_seconds);
    const std::int64_t before = session_.length();
    try {
      Prediction prediction = predict(prompt);
      result_.prompt_tokens = session_.length() - before;
      return prediction;
    } catch (const Interrupted&) {
      result_.prompt_tokens = session_.length() - before;
      throw;
    }
  }

  std::span<const std::int32_t> banned() const {
    return options_.ignore_eos ? std::span<const std::int32_t>(eos_) : std::span<const std::int32_t>{};
  }

  // Of what follows `ids`, which become part of the sequence.
  Prediction predict(std::span<const std::int32_t> ids) {
    const auto needed = sampler_.candidates_needed(banned().size());
    if (session_.keeps_logits() && needed) {
      const std::int64_t count = std::min(*needed, session_.config().vocab_size);
      if (count <= Backend::kMostCandidates)
        return {{}, session_.forward_to_largest(ids, count, callbacks_.interrupted)};
    }
    return {session_.forward(ids, callbacks_.interrupted), {}};
  }

  std::int32_t choose(const Prediction& prediction) {
    return prediction.largest.empty() ? sampler_.sample(prediction.logits, banned())
                                      : sampler_.sample_largest(prediction.largest, banned());
  }

  void decode(Prediction prediction) {
    const Stopwatch watch(result_.decode_seconds);
    while (true) {
      if (const auto reason = must_stop()) {
        result_.reason = *reason;
        break;
      }
      const std::int32_t id = choose(prediction);
      if (is_eos(id)) {
        result_.reason = FinishReason::eos;
        break;
      }
      sampler_.accept(id);
      result_.ids.push_back(id);
      if (!show(id)) break;
      if (static_cast<std::int64_t>(result_.ids.size()) == options_.max_tokens)
        continue;  // its logits are not needed
      if (session_.length() == session_.context()) {
        const std::vector<std::int32_t> kept = shortened(id);
        if (kept.empty()) {
          result_.reason = FinishReason::context;
          break;
        }
        session_.rewind(0);
        ++result_.shifts;
        prediction = predict(kept);
      } else {
        prediction = predict(std::span(&id, 1));
      }
      ++result_.decode_passes;
      result_.decode_cache_tokens += session_.length();
    }
  }

  bool is_eos(std::int32_t id) const { return std::find(eos_.begin(), eos_.end(), id) != eos_.end(); }

  std::optional<FinishReason> must_stop() const {
    if (callbacks_.interrupted && callbacks_.interrupted()) return FinishReason::interrupted;
    if (options_.max_tokens >= 0 && static_cast<std::int64_t>(result_.ids.size()) >= options_.max_tokens)
      return FinishReason::length;
    return std::nullopt;
  }

  // Shows a token's text; false: generation ends, result_.reason says why.
  bool show(std::int32_t id) {
    if (!decoder_) return emit(fmt::format("{} ", id)) || interrupted();
    if (!emit(stop_.push(decoder_->push(id)))) return interrupted();
    if (!stop_.matched()) return true;
    result_.reason = FinishReason::stop;
    return false;
  }

  bool interrupted() {
    result_.reason = FinishReason::interrupted;
    return false;
  }

  bool emit(const std::string& text) {
    if (text.empty()) return true;
    result_.text += text;
    return !callbacks_.text || callbacks_.text(text);
  }

  // What to go on from where the context is full, `last` being the newest token; empty: nothing. It is
  // evaluated anew: exact, if not free.
  std::vector<std::int32_t> shortened(std::int32_t last) const {
    if (options_.context_shift) return later_half(last);
    return callbacks_.make_room ? callbacks_.make_room(result_.ids) : std::vector<std::int32_t>();
  }

  // The first token (BOS) and the later half of the sequence with `last` behind it.
  std::vector<std::int32_t> later_half(std::int32_t last) const {
    const std::span<const std::int32_t> ids = session_.ids();  // as many as the context holds
    const std::size_t keep = std::max<std::size_t>(1, ids.size() / 2);
    const bool bos =
        keep > 1 && session_.tokenizer() != nullptr && ids.front() == session_.tokenizer()->bos_id();
    std::vector<std::int32_t> kept;
    if (bos) kept.push_back(ids.front());
    const auto latest = ids.last(keep - kept.size() - 1);
    kept.insert(kept.end(), latest.begin(), latest.end());
    kept.push_back(last);
    return kept;
  }

  Session& session_;
  Sampler& sampler_;
  const GenerateOptions& options_;
  const GenerateCallbacks& callbacks_;
  StopMatcher stop_;
  std::optional<StreamDecoder> decoder_;
  std::vector<std::int32_t> eos_;
  GenerateResult result_;
};

}  // namespace

std::string_view name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::length:
      return "length";
    case FinishReason::eos:
      return "eos";
    case FinishReason::stop:
      return "stop";
    case FinishReason::context:
      return "context";
    case FinishReason::interrupted:
      return "interrupted";
  }
  return "?";
}

void require_room(const Session& session, std::span<const std::int32_t> prompt) {
  if (prompt.empty()) throw std::runtime_error("the prompt has no tokens; give one with -p or -f");
  const std::int64_t room = session.context() - session.length();
  if (static_cast<std::int64_t>(prompt.size()) > room) {
    throw std::runtime_error(fmt::format(
        "the prompt has {} tokens, the context room for {}; give -c a larger context", prompt.size(), room));
  }
}

GenerateResult generate(Session& session, Sampler& sampler, std::span<const std::int32_t> prompt,
                        const GenerateOptions& options, const GenerateCallbacks& callbacks) {
  require_room(session, prompt);
  return Generation(session, sampler, options, callbacks).run(prompt);
}

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, "");
}

std::string StopMatcher::push(std::string_view text) {
  if (matched_) return "";
  held_ += text;
  // The stop string that ends first, the longest of those that end there: the same however text is cut into
  // pieces.
  std::size_t first = std::string::npos;
  std::size_t end = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t at = held_.find(stop);
    if (at == std::string::npos || std::pair(at + stop.size(), at) > std::pair(end, first)) continue;
    first = at;
    end = at + stop.size();
  }
  if (first != std::string::npos) {
    matched_ = true;
    return std::exchange(held_, "").substr(0, first);
  }
  // The longest end of held_ that begins a stop string stays.
  std::size_t keep = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t length = std::min(stop.size() - 1, held_.size()); length > keep; --length) {
      if (std::string_view(held_).substr(held_.size() - length) == std::string_view(stop).substr(0, length))
        keep = length;
    }
  }
  std::string shown = held_.substr(0, held_.size() - keep);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopMatcher::finish() {
  return matched_ ? "" : std::exchange(held_, "");
}

}  // namespace spqr
