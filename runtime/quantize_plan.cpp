#include "runtime/quantize_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "models/model.h"
#include "runtime/block_calibrator.h"
#include "runtime/memory_plan.h"
#include "runtime/module_quantizer.h"
#include "runtime/sensitivity.h"

namespace spqr {
namespace {

std::size_t elements(std::int64_t m, std::int64_t n) {
  return static_cast<std::size_t>(m) * static_cast<std::size_t>(n);
}

// Bits per weight in the file, roughly: outliers are not known yet.
double file_bits(const QuantizeSettings& settings, std::int64_t n) {
  if (settings.scheme == Scheme::f32) return 32;
  if (is_dense(settings.scheme)) return 16;
  const double expected = settings.target_bits ? *settings.target_bits : 0;
  return std::max(expected, bits_per_weight(settings.options.format, n, 0.01)) + 0.1;
}

double table_bits(const TableScheme& table, const QuantizeSettings& settings, std::int64_t n) {
  if (table.scheme == Scheme::spqr && settings.scheme == Scheme::spqr) return file_bits(settings, n);
  if (is_dense(table.scheme)) return table.scheme == Scheme::f32 ? 32 : 16;
  return bits_per_weight(table_format(table, SpqrFormat()), n, 0.01);
}

// What the header says of a matrix (tensors, checksums, packing, report) and of a vector; and of the rest,
// the model's configuration and how it was quantized.
constexpr std::size_t kPackedEntry = 1150;
constexpr std::size_t kDenseEntry = 500;
constexpr std::size_t kVectorEntry = 200;
constexpr std::size_t kHeaderRest = 8192;

// Of one block.
struct BlockSizes {
  std::size_t block = 0;            // weights of all its matrices
  std::size_t largest = 0;          // and of the largest
  std::size_t moments = 0;          // elements of the second moments of all its inputs
  std::size_t largest_moments = 0;  // and of the largest
  std::size_t matrices = 0;
  double bits = 0;              // in the file
  std::size_t sensitivity = 0;  // bytes of maps
};

BlockSizes sizes_of(const ModelConfig& config, const QuantizeSettings& settings) {
  BlockSizes sizes;
  for (const LinearGroupSpec& group : block_linears(config, 0)) {
    for (const std::int64_t m : group.m) {
      ++sizes.matrices;
      sizes.block += elements(m, group.n);
      sizes.largest = std::max(sizes.largest, elements(m, group.n));
      sizes.bits += static_cast<double>(elements(m, group.n)) * file_bits(settings, group.n);
      if (settings.keep_sensitivity) sizes.sensitivity += sensitivity_bytes(m, group.n);
    }
    sizes.moments += elements(group.n, group.n);
    sizes.largest_moments = std::max(sizes.largest_moments, elements(group.n, group.n));
  }
  return sizes;
}

// Of the .spqr file.
void plan_file(const ModelConfig& config, const QuantizeSettings& settings, const BlockSizes& sizes,
               QuantizePlan& plan) {
  const auto layers = static_cast<std::size_t>(config.num_hidden_layers);
  const std::int64_t n = config.hidden_size;
  double bits = table_bits(settings.embedding, settings, n);
  if (!config.tie_word_embeddings) bits += table_bits(settings.head, settings, n);
  bits *= static_cast<double>(elements(config.vocab_size, n));
  bits += static_cast<double>(layers) * sizes.bits;
  plan.file = static_cast<std::size_t>(bits / 8) + layers * sizes.sensitivity;
  const std::size_t entry = is_dense(settings.scheme) ? kDenseEntry : kPackedEntry;
  plan.header = kHeaderRest + 2 * kPackedEntry +
                layers * (sizes.matrices * (entry + (settings.keep_sensitivity ? 3 * kVectorEntry : 0)) +
                          block_vectors(config, 0).size() * kVectorEntry);
}

}  // namespace

std::size_t QuantizePlan::memory() const {
  return weights + statistics + workspace + tables + (activations_on_disk ? 0 : activations);
}

std::size_t QuantizePlan::disk() const {
  const std::size_t written = header > 0 ? SpqrFileWriter::most_on_disk(file, header) : file;
  return written + store + (activations_on_disk ? activations : 0);
}

QuantizePlan plan_quantization(const ModelConfig& config, const QuantizeSettings& settings,
                               const Backend& backend, std::int64_t tokens, std::int64_t length) {
  QuantizePlan plan;
  const BlockSizes sizes = sizes_of(config, settings);
  const auto layers = static_cast<std::size_t>(config.num_hidden_layers);
  // A matrix being solved: a copy, working copies of its tiles, codes, the packed form.
  plan.weights = 4 * sizes.block + 12 * sizes.largest;
  plan.tables = 8 * elements(config.vocab_size, config.hidden_size);
  plan_file(config, settings, sizes, plan);
  if (tokens > 0) {
    // Factoring takes two squares in double precision beside H and the factor.
    plan.statistics = 4 * sizes.moments + 24 * sizes.largest_moments;
    plan.activations = 4 * elements(tokens, config.hidden_size);
    const LargestShapes largest = largest_shapes(config, length);
    plan.workspace = BlockCalibrator::workspace(config, length) + backend.scratch_bytes(largest) +
                     SecondMoments::scratch_bytes(largest.in_features, length);
    if (settings.target_bits) plan.store = 4 * layers * sizes.moments;
  }
  return plan;
}

QuantizePlan plan_import(const ModelConfig& config, const SpqrFormat& format, std::size_t table_size) {
  QuantizeSettings settings;
  settings.scheme = Scheme::spqr;
  settings.options.format = format;
  settings.embedding = settings.head = {table_size == sizeof(float) ? Scheme::f32 : Scheme::f16};
  const BlockSizes sizes = sizes_of(config, settings);
  QuantizePlan plan;
  // A matrix: its codes, the packed form, what the checkpoint and the file mean in f32, and for Falcon the
  // matrix that it is a part of.
  plan.weights = 12 * sizes.largest;
  plan.tables = (4 + table_size) * elements(config.vocab_size, config.hidden_size);
  plan_file(config, settings, sizes, plan);
  return plan;
}

QuantizePlan plan_synthetic(const ModelConfig& config, const QuantizeSettings& settings) {
  const BlockSizes sizes = sizes_of(config, settings);
  QuantizePlan plan;
  // A matrix: its codes, or its bytes, and the packed form.
  plan.weights = 4 * sizes.largest;
  plan.tables = 4 * elements(config.vocab_size, config.hidden_size);
  plan_file(config, settings, sizes, plan);
  return plan;
}

void add_tokenizer(QuantizePlan& plan, const TokenizerFiles& files) {
  for (const auto& [name, bytes] : files) plan.file += bytes.size();
}

std::string describe(const QuantizePlan& plan) {
  return fmt::format(
      "plan: {} of memory (weights {}, activations {}{}, second moments {}, passes {}, tables {}), {} of "
      "disk",
      human_bytes(plan.memory()), human_bytes(plan.weights), human_bytes(plan.activations),
      plan.activations_on_disk ? " on disk" : "", human_bytes(plan.statistics), human_bytes(plan.workspace),
      human_bytes(plan.tables), human_bytes(plan.disk()));
}

void require_room(const QuantizePlan& plan, const std::filesystem::path& out) {
  const std::size_t memory = available_memory();
  if (memory > 0 && plan.memory() > memory) {
    throw std::runtime_error(fmt::format(
        "needs {} of memory, but only {} are available{}", human_bytes(plan.memory()), human_bytes(memory),
        plan.activations == 0      ? ""
        : plan.activations_on_disk ? "; fewer --calibration-samples take less"
                                   : "; --activations-on-disk or fewer --calibration-samples take less"));
  }
  std::error_code error;
  const std::filesystem::path directory = out.has_parent_path() ? out.parent_path() : ".";
  const std::filesystem::space_info space = std::filesystem::space(directory, error);
  if (error) return;
  std::uintmax_t free = space.available;
  for (const char* left : {".partial", ".hessians"}) {
    const std::uintmax_t size = std::filesystem::file_size(out.string() + left, error);
    if (!error) free += size;
  }
  if (plan.disk() > free) {
    throw std::runtime_error(fmt::format("{}: needs {} on disk, but only {} are free", directory.string(),
                                         human_bytes(plan.disk()), human_bytes(free)));
  }
}

}  // namespace spqr
