// What a person can ask of spqr-quantize, resolved from presets and single options, contradictions refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "kernels/quantize/quantize.h"
#include "runtime/text_input.h"

namespace spqr {

enum class Scheme : std::uint8_t { spqr, gptq, rtn, f16, bf16, f32 };
std::string_view name_of(Scheme scheme);

// True for schemes that solve with second moments of inputs, and so need calibration.
constexpr bool needs_calibration(Scheme scheme) {
  return scheme == Scheme::spqr || scheme == Scheme::gptq;
}
constexpr bool is_dense(Scheme scheme) {
  return scheme == Scheme::f16 || scheme == Scheme::bf16 || scheme == Scheme::f32;
}

// How the embedding or the head is stored: f16, bf16, f32; rtn with `bits` and groups of 32 along the input;
// spqr.
struct TableScheme {
  Scheme scheme = Scheme::f16;
  int bits = 16;  // of rtn
  bool operator==(const TableScheme&) const = default;
};
std::string name_of(const TableScheme& table);

enum class WindowOrder : std::uint8_t { sequential, random };

struct CalibrationSettings {
  std::filesystem::path file;  // text, .jsonl with "text", or token ids where there is no tokenizer
  DocumentRange documents;     // of a .jsonl file
  std::int64_t samples = 128;  // sequences
  std::int64_t length = 2048;  // tokens of each
  WindowOrder order = WindowOrder::sequential;
};

struct QuantizeSettings {
  Scheme scheme = Scheme::spqr;
  std::string preset;                 // its name; empty: none
  QuantizeOptions options;            // of every linear of the blocks
  std::optional<double> target_bits;  // average bits per weight; the threshold is searched for
  bool target_of_preset = false;      // nobody asked for it by itself
  double synthetic_outlier_share = 0.0052;
  bool true_sequential = false;
  bool keep_sensitivity = false;  // maps of it go into the file (runtime/sensitivity.h)
  TableScheme embedding;
  TableScheme head;
  bool head_given = false;  // false: a tied head is stored once, as the embedding
  CalibrationSettings calibration;
  std::uint64_t seed = 0;
};

// Options that do not go together, or not with the model.
class OptionsError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

// Long option names without dashes, and the values that were given for them; flags have an empty value.
using GivenOptions = std::map<std::string, std::string, std::less<>>;

// Throws OptionsError with a sentence for values out of range and options that contradict each other.
QuantizeSettings resolve_quantize_options(const GivenOptions& given);

}  // namespace spqr
