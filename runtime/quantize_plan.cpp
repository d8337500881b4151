#include "runtime/quantize_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "models/model.h"
#include "runtime/block_calibrator.h"
#include "runtime/memory_plan.h"

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

// Of one block.
struct BlockSizes {
  std::size_t block = 0;            // weights of all its matrices
  std::size_t largest = 0;          // and of the largest
  std::size_t moments = 0;          // elements of the second moments of all its inputs
  std::size_t largest_moments = 0;  // and of the largest
  double bits = 0;                  // in the file
};

BlockSizes sizes_of(const ModelConfig& config, const QuantizeSettings& settings) {
  BlockSizes sizes;
  for (const LinearGroupSpec& group : block_linears(config, 0)) {
    for (const std::int64_t m : group.m) {
      sizes.block += elements(m, group.n);
      sizes.largest = std::max(sizes.largest, elements(m, group.n));
      sizes.bits += static_cast<double>(elements(m, group.n)) * file_bits(settings, group.n);
    }
    sizes.moments += elements(group.n, group.n);
    sizes.largest_moments = std::max(sizes.largest_moments, elements(group.n, group.n));
  }
  return sizes;
}

// table_size: bytes of an element of the embedding and the head.
std::size_t file_bytes(const ModelConfig& config, const BlockSizes& sizes, std::size_t table_size) {
  return static_cast<std::size_t>(static_cast<double>(config.num_hidden_layers) * sizes.bits / 8) +
         (config.tie_word_embeddings ? 1 : 2) * elements(config.vocab_size, config.hidden_size) * table_size;
}

}  // namespace

std::size_t QuantizePlan::memory() const {
  return weights + statistics + workspace + tables + (activations_on_disk ? 0 : activations);
}

std::size_t QuantizePlan::disk() const {
  return file + store + (activations_on_disk ? activations : 0);
}

QuantizePlan plan_quantization(const ModelConfig& config, const QuantizeJob& job, const Backend& backend,
                               std::int64_t tokens, std::int64_t length) {
  QuantizePlan plan;
  plan.activations_on_disk = job.activations_on_disk;
  const BlockSizes sizes = sizes_of(config, job.settings);
  const auto layers = static_cast<std::size_t>(config.num_hidden_layers);
  // A matrix being solved: a copy, working copies of its tiles, codes, the packed form.
  plan.weights = 4 * sizes.block + 12 * sizes.largest;
  plan.tables = 8 * elements(config.vocab_size, config.hidden_size);
  plan.file = file_bytes(config, sizes, job.settings.scheme == Scheme::f32 ? 4 : 2);
  if (tokens > 0) {
    // Factoring takes two squares in double precision beside H and the factor.
    plan.statistics = 4 * sizes.moments + 24 * sizes.largest_moments;
    plan.activations = 4 * elements(tokens, config.hidden_size);
    plan.workspace =
        BlockCalibrator::workspace(config, length) + backend.scratch_bytes(largest_shapes(config, length));
    if (job.settings.target_bits) plan.store = 4 * layers * sizes.moments;
  }
  return plan;
}

QuantizePlan plan_import(const ModelConfig& config, const SpqrFormat& format, std::size_t table_size) {
  QuantizeSettings settings;
  settings.scheme = Scheme::spqr;
  settings.options.format = format;
  const BlockSizes sizes = sizes_of(config, settings);
  QuantizePlan plan;
  // A matrix: its codes, the packed form, what the checkpoint and the file mean in f32, and for Falcon the
  // matrix that it is a part of.
  plan.weights = 12 * sizes.largest;
  plan.tables = (4 + table_size) * elements(config.vocab_size, config.hidden_size);
  plan.file = file_bytes(config, sizes, table_size);
  return plan;
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
  if (!error && plan.disk() > space.available) {
    throw std::runtime_error(fmt::format("{}: needs {} on disk, but only {} are free", directory.string(),
                                         human_bytes(plan.disk()), human_bytes(space.available)));
  }
}

}  // namespace spqr
