// Chooses the next token from logits. Same seed, same choices: on any machine and with any number of threads.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "kernels/backend.h"

namespace spqr {

struct SamplerOptions {
  float temperature = 0.8F;         // 0: the most likely token
  std::int32_t top_k = 40;          // 0, -1: all
  float top_p = 0.95F;              // 1: all
  float min_p = 0.05F;              // 0: all
  float repeat_penalty = 1.0F;      // 1: none
  std::int32_t repeat_last_n = 64;  // tokens that penalties look back; 0: none, -1: all
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  std::uint64_t seed = 0;
};

// Throws std::invalid_argument with a sentence naming the option as users type it.
void validate(const SamplerOptions& options);

class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);

  // The order is llama.cpp's: penalties, top-k, top-p, min-p, temperature. `banned` ids are never chosen.
  // Throws std::runtime_error where logits are no numbers.
  std::int32_t sample(std::span<const float> logits, std::span<const std::int32_t> banned = {});
  // The same choice from the `candidates_needed()` largest of these logits, in the order of Backend::largest,
  // or more.
  std::int32_t sample_largest(std::span<const TokenLogit> largest, std::span<const std::int32_t> banned = {});
  // As many of the largest logits as a choice depends on where so many ids are banned; nothing: on all.
  std::optional<std::int64_t> candidates_needed(std::size_t banned) const;
  // Tells of a token that is now part of the sequence, chosen here or not: penalties look at it.
  void accept(std::int32_t id);
  // Forgets what accept() was told: another sequence begins.
  void forget() { recent_.clear(); }

 private:
  bool penalizes() const;
  void penalize();  // candidates_, which are all there are
  void ban(std::span<const std::int32_t> banned);
  std::int32_t choose();  // one of candidates_
  double uniform();       // [0, 1)

  SamplerOptions options_;
  std::mt19937_64 random_;
  std::deque<std::int32_t> recent_;
  std::vector<TokenLogit> candidates_;
  std::vector<double> weights_;
};

}  // namespace spqr
