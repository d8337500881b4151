#include "runtime/quantize_options.h"

#include <fmt/core.h>

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

namespace spqr {
namespace {

constexpr std::array<std::pair<std::string_view, Scheme>, 6> kSchemes{{{"spqr", Scheme::spqr},
                                                                       {"gptq", Scheme::gptq},
                                                                       {"rtn", Scheme::rtn},
                                                                       {"f16", Scheme::f16},
                                                                       {"bf16", Scheme::bf16},
                                                                       {"f32", Scheme::f32}}};

constexpr std::array<std::pair<std::string_view, std::int64_t>, 6> kBeta1{
    {{"8", 8}, {"16", 16}, {"32", 32}, {"64", 64}, {"128", 128}, {"row", SpqrFormat::kWholeRow}}};
constexpr std::array<std::pair<std::string_view, int>, 4> kBeta2{
    {{"8", 8}, {"16", 16}, {"32", 32}, {"64", 64}}};
constexpr std::array<std::pair<std::string_view, int>, 8> kStatisticsBits{
    {{"2", 2}, {"3", 3}, {"4", 4}, {"5", 5}, {"6", 6}, {"7", 7}, {"8", 8}, {"16", SpqrFormat::kUnquantized}}};

struct Preset {
  std::string_view name;
  int bits;
  std::int64_t beta1;
  int beta2;
  double target_bits;
  double synthetic_outlier_share;
};
constexpr std::array<Preset, 3> kPresets{{{"near-lossless", 4, 16, 16, 4.70, 0.0023},
                                          {"4bit", 3, 8, 64, 3.95, 0.0023},
                                          {"3bit", 3, 16, 16, 3.79, 0.0052}}};

[[noreturn]] void refuse(const std::string& sentence) {
  throw OptionsError(sentence);
}

// Reads options by name, each at most once.
class Given {
 public:
  explicit Given(const GivenOptions& options) : options_(options) {}

  bool has(std::string_view name) const { return options_.find(name) != options_.end(); }
  const std::string& text(std::string_view name) const { return options_.find(name)->second; }

  template <typename T>
  T number(std::string_view name, T low, T high) const {
    const std::string& value = text(name);
    T result{};
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
    if (error != std::errc() || end != value.data() + value.size() || !(result >= low && result <= high)) {
      refuse(fmt::format("--{} is '{}', expected {} .. {}", name, value, low, high));
    }
    return result;
  }

  template <typename T>
  void read(std::string_view name, T& target, T low, T high) const {
    if (has(name)) target = number<T>(name, low, high);
  }

  // One of the names of `choices`.
  template <typename T, std::size_t count>
  T choice(std::string_view name, const std::array<std::pair<std::string_view, T>, count>& choices) const {
    const std::string& value = text(name);
    std::string known;
    for (const auto& [key, result] : choices) {
      if (value == key) return result;
      known += known.empty() ? std::string(key) : fmt::format(", {}", key);
    }
    refuse(fmt::format("--{} is '{}', expected one of {}", name, value, known));
  }

  void refuse_with(std::string_view what, std::initializer_list<std::string_view> names) const {
    for (std::string_view name : names) {
      if (has(name)) refuse(fmt::format("--{} cannot be used with {}", name, what));
    }
  }

 private:
  const GivenOptions& options_;
};

TableScheme parse_table(const Given& given, std::string_view option) {
  const std::string& value = given.text(option);
  if (value == "f16") return {Scheme::f16, 16};
  if (value == "bf16") return {Scheme::bf16, 16};
  if (value == "f32") return {Scheme::f32, 32};
  if (value == "spqr") return {Scheme::spqr, 0};
  for (const int bits : {8, 6, 5, 4}) {
    if (value == fmt::format("rtn{}", bits)) return {Scheme::rtn, bits};
  }
  refuse(fmt::format("--{} is '{}', expected f16, bf16, f32, rtn8, rtn6, rtn5, rtn4 or spqr", option, value));
}

const Preset& find_preset(const std::string& name) {
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return preset;
  }
  refuse(fmt::format("--preset is '{}', expected near-lossless, 4bit or 3bit", name));
}

// What holds before presets and single options: SpQR 3-bit 16 x 16, GPTQ and RTN as the paper compares with.
void set_defaults(QuantizeSettings& settings) {
  QuantizeOptions& options = settings.options;
  if (settings.scheme == Scheme::gptq || settings.scheme == Scheme::rtn) {
    options.format = {.bits = 4,
                      .beta1 = SpqrFormat::kWholeRow,
                      .beta2 = 16,
                      .scale_bits = SpqrFormat::kUnquantized,
                      .zero_bits = SpqrFormat::kUnquantized};
    options.outlier_threshold = std::numeric_limits<double>::infinity();
    options.permutation = PermutationOrder::identity;
    options.damp = 0.01;
  }
  if (is_dense(settings.scheme)) {
    const TableScheme same{settings.scheme, settings.scheme == Scheme::f32 ? 32 : 16};
    settings.embedding = same;
    settings.head = same;
  }
}

void apply_preset(const Given& given, QuantizeSettings& settings) {
  if (!given.has("preset")) return;
  if (settings.scheme != Scheme::spqr) {
    refuse(fmt::format("--preset cannot be used with --scheme {}: presets are SpQR's",
                       name_of(settings.scheme)));
  }
  const Preset& preset = find_preset(given.text("preset"));
  settings.preset = preset.name;
  settings.options.format.bits = preset.bits;
  settings.options.format.beta1 = preset.beta1;
  settings.options.format.beta2 = preset.beta2;
  settings.target_bits = preset.target_bits;
  settings.target_of_preset = true;
  settings.synthetic_outlier_share = preset.synthetic_outlier_share;
}

void refuse_contradictions(const Given& given, Scheme scheme) {
  const std::string what = fmt::format("--scheme {}", name_of(scheme));
  if (scheme == Scheme::gptq || scheme == Scheme::rtn) {
    given.refuse_with(what + ", whose statistics are not quantized", {"beta2", "scale-bits", "zero-bits"});
    given.refuse_with(what + ", which has no outliers",
                      {"outlier-threshold", "target-bits", "simplified-outliers"});
  }
  if (scheme == Scheme::rtn) {
    given.refuse_with(what + ", which looks at weights only", {"permutation", "damp", "round-zero"});
  }
  if (is_dense(scheme)) {
    given.refuse_with(what,
                      {"bits", "beta1", "beta2", "scale-bits", "zero-bits", "round-zero", "outlier-threshold",
                       "target-bits", "permutation", "damp", "simplified-outliers"});
  }
  if (scheme == Scheme::rtn || is_dense(scheme)) {
    given.refuse_with(what + ", which needs no calibration", {"true-sequential", "keep-sensitivity"});
  }
  if (given.has("outlier-threshold") && given.has("target-bits")) {
    refuse("--outlier-threshold and --target-bits exclude each other: the second searches for the first");
  }
}

void read_format(const Given& given, QuantizeSettings& settings) {
  QuantizeOptions& options = settings.options;
  given.read("bits", options.format.bits, 2, 8);
  if (given.has("beta1")) options.format.beta1 = given.choice("beta1", kBeta1);
  if (given.has("beta2")) options.format.beta2 = given.choice("beta2", kBeta2);
  if (given.has("scale-bits")) options.format.scale_bits = given.choice("scale-bits", kStatisticsBits);
  if (given.has("zero-bits")) options.format.zero_bits = given.choice("zero-bits", kStatisticsBits);
  if (given.has("scale-bits") && !given.has("zero-bits"))
    options.format.zero_bits = options.format.scale_bits;
  if (given.has("zero-bits") && !given.has("scale-bits"))
    options.format.scale_bits = options.format.zero_bits;
  try {
    validate(options.format);
  } catch (const std::invalid_argument& error) {
    refuse(error.what());
  }
}

void read_solver(const Given& given, QuantizeSettings& settings) {
  QuantizeOptions& options = settings.options;
  options.round_zero = given.has("round-zero");
  options.simplified_outliers = given.has("simplified-outliers");
  if (given.has("outlier-threshold")) {
    const double infinity = std::numeric_limits<double>::infinity();
    options.outlier_threshold = given.number<double>("outlier-threshold", 0, infinity);
    settings.target_bits.reset();
  }
  if (given.has("target-bits")) {
    settings.target_bits = given.number<double>("target-bits", 2, 40);
    settings.target_of_preset = false;
  }
  if (given.has("permutation")) {
    options.permutation = given.choice(
        "permutation",
        std::array<std::pair<std::string_view, PermutationOrder>, 2>{
            {{"act_order", PermutationOrder::act_order}, {"identity", PermutationOrder::identity}}});
  }
  given.read("damp", options.damp, 0.0, 1e6);
}

void read_calibration(const Given& given, QuantizeSettings& settings) {
  CalibrationSettings& calibration = settings.calibration;
  if (given.has("calibration")) {
    calibration.file = given.text("calibration");
  } else {
    for (const char* of_a_file :
         {"documents", "calibration-samples", "calibration-length", "calibration-order"}) {
      if (given.has(of_a_file)) refuse(fmt::format("--{} is given without --calibration FILE", of_a_file));
    }
  }
  if (given.has("documents")) {
    try {
      calibration.documents = parse_document_range(given.text("documents"));
    } catch (const std::invalid_argument& error) {
      refuse(error.what());
    }
  }
  given.read<std::int64_t>("calibration-samples", calibration.samples, 1, 1 << 20);
  given.read<std::int64_t>("calibration-length", calibration.length, 1, 1 << 20);
  if (given.has("calibration-order")) {
    calibration.order = given.choice(
        "calibration-order", std::array<std::pair<std::string_view, WindowOrder>, 2>{
                                 {{"sequential", WindowOrder::sequential}, {"random", WindowOrder::random}}});
  }
}

// Outliers that make synthetic weights take the bits asked for.
void derive_synthetic_share(const Given& given, QuantizeSettings& settings) {
  if (std::isinf(settings.options.outlier_threshold)) settings.synthetic_outlier_share = 0;
  if (!given.has("target-bits") || settings.options.format.beta1 == SpqrFormat::kWholeRow) return;
  const double dense = bits_per_weight(settings.options.format, 1, 0);
  settings.synthetic_outlier_share = (*settings.target_bits - dense) / 32;
}

}  // namespace

std::string_view name_of(Scheme scheme) {
  for (const auto& [name, value] : kSchemes) {
    if (value == scheme) return name;
  }
  return "";
}

std::string name_of(const TableScheme& table) {
  if (table.scheme == Scheme::rtn) return fmt::format("rtn{}", table.bits);
  return std::string(name_of(table.scheme));
}

QuantizeSettings resolve_quantize_options(const GivenOptions& options) {
  const Given given(options);
  QuantizeSettings settings;
  if (given.has("scheme")) settings.scheme = given.choice("scheme", kSchemes);
  set_defaults(settings);
  apply_preset(given, settings);
  refuse_contradictions(given, settings.scheme);
  if (!is_dense(settings.scheme)) read_format(given, settings);
  read_solver(given, settings);
  settings.true_sequential = given.has("true-sequential");
  settings.keep_sensitivity = given.has("keep-sensitivity");
  if (given.has("embedding-scheme")) settings.embedding = parse_table(given, "embedding-scheme");
  settings.head_given = given.has("head-scheme");
  if (settings.head_given) settings.head = parse_table(given, "head-scheme");
  read_calibration(given, settings);
  given.read<std::uint64_t>("seed", settings.seed, 0, std::numeric_limits<std::uint64_t>::max());
  derive_synthetic_share(given, settings);
  return settings;
}

}  // namespace spqr
