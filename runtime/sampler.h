// Chooses the next token from logits. Same seed, same choices: on any machine and with any number of threads.
#pragma once

#include <cstdint>
#include <deque>
#include <random>
#include <span>
#include <vector>

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
  // Tells of a token that is now part of the sequence, chosen here or not: penalties look at it.
  void accept(std::int32_t id);
  // Forgets what accept() was told: another sequence begins.
  void forget() { recent_.clear(); }

 private:
  struct Candidate {
    std::int32_t id;
    float logit;
  };
  void penalize(std::vector<Candidate>& candidates) const;
  double uniform();  // [0, 1)

  SamplerOptions options_;
  std::mt19937_64 random_;
  std::deque<std::int32_t> recent_;
  std::vector<Candidate> candidates_;
  std::vector<double> weights_;
};

}  // namespace spqr
