// What a .spqr file holds, in numbers: sizes and bits per weight by part, outliers, memory needed to run it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "models/config.h"
#include "models/spqr_file.h"
#include "runtime/memory_plan.h"

namespace spqr {

// Tensors that belong together: "attention", "q_proj", "norms", ...
struct PartSize {
  std::string name;
  std::int64_t matrices = 0;
  std::int64_t weights = 0;   // of the matrices
  std::int64_t outliers = 0;  // among them
  double formula_bits = 0;    // all weights together, by the paper's formula; of dense matrices their dtype's
  std::size_t bytes = 0;      // in the file: codes, outliers, row offsets, permutations, biases
  std::string stored_as;  // "3 bits, groups of 16 x 16, statistics of 3 bits", "F16"; several: joined by "; "

  double formula_bits_per_weight() const {
    return weights == 0 ? 0 : formula_bits / static_cast<double>(weights);
  }
  double stored_bits_per_weight() const {
    return weights == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
  }
  double outlier_share() const {
    return weights == 0 ? 0 : static_cast<double>(outliers) / static_cast<double>(weights);
  }
};

// One matrix.
struct ModuleSize {
  PartSize size;  // of a permutation that several share, its part
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::string perm;  // tensor name; empty: none
};

struct TokenizerSummary {
  std::string kind;  // "Hugging Face tokenizer", ...; "none"; or why it cannot be read
  std::int32_t vocab_size = 0;
  bool has_chat_template = false;
};

struct Inspection {
  ModelConfig config;
  TokenizerSummary tokenizer;
  std::vector<PartSize>
      parts;  // attention, mlp, embedding, head, norms, tokenizer, other; header and padding
  std::vector<PartSize> kinds;  // matrices of the blocks by the last part of their names
  PartSize blocks;              // all matrices of the blocks: what the paper counts as bits per weight
  PartSize whole;               // everything; bytes are the file's
  std::vector<ModuleSize> modules;
  std::int64_t context = 0;  // tokens that `memory` is for
  MemoryPlan memory;
};

// context: tokens of KV cache (f16); 0: the smaller of the model's maximum and 4096. Checks that the file has
// every matrix and vector that its configuration asks for. Throws std::runtime_error with a sentence.
Inspection inspect(const SpqrFile& file, std::int64_t context);

// One object; `tensors`: with a list of all tensors.
nlohmann::json to_json(const Inspection& inspection, const SpqrFile& file, bool tensors);
// The same for people.
std::string to_text(const Inspection& inspection, const SpqrFile& file, bool tensors);

}  // namespace spqr
