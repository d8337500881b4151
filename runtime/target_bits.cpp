#include "runtime/target_bits.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/stopwatch.h"

namespace spqr {
namespace {

constexpr const char* kBlockNote = "target-bits block";
constexpr const char* kThresholdNote = "target-bits threshold";
constexpr double kFirstThreshold = 0.2;

// Bits per weight of the blocks' linears where none of them has an outlier.
double bits_without_outliers(const ModelConfig& config, const SpqrFormat& format) {
  double bits = 0;
  double weights = 0;
  for (const LinearGroupSpec& group : block_linears(config, 0)) {
    for (const std::int64_t m : group.m) {
      const double size = static_cast<double>(m) * static_cast<double>(group.n);
      bits += size * bits_per_weight(format, group.n, 0);
      weights += size;
    }
  }
  return bits / weights;
}

std::vector<nlohmann::json> notes_of(const SpqrFileWriter& writer, const char* key) {
  std::vector<nlohmann::json> found;
  for (const auto& [name, json] : writer.notes()) {
    if (name == key) found.push_back(nlohmann::json::parse(json));
  }
  return found;
}

// A block calibrated already: its weights again as they were then.
void solve_again(const ThresholdTask& task, std::int64_t layer, BlockWeights& weights, double threshold) {
  QuantizeOptions options = task.settings.options;
  options.outlier_threshold = threshold;
  quantize_block(task.config, layer, weights, task.settings.scheme, options, stored_inputs(task.store, layer),
                 task.times, [&](const LinearGroupSpec&, const QuantizedModule& module) {
                   task.advance(1, module.report.module);
                 });
}

// Calibrates a block and returns the bits per weight it takes with `threshold`.
double calibrate(const ThresholdTask& task, std::int64_t layer, BlockWeights& weights, double threshold) {
  QuantizeOptions options = task.settings.options;
  options.outlier_threshold = threshold;
  const InputOf fresh = calibrated_inputs(task.calibrator, layer, weights, task.settings, task.times);
  const InputOf kept = [&](std::size_t group) {
    InputStatistics input = fresh(group);
    task.store.put(layer, group, input);
    return input;
  };
  std::vector<ModuleReport> reports;
  quantize_block(task.config, layer, weights, task.settings.scheme, options, kept, task.times,
                 [&](const LinearGroupSpec&, const QuantizedModule& module) {
                   reports.push_back(module.report);
                   task.advance(1, module.report.module);
                 });
  return averages(reports).bits;
}

// Returns a first guess of the model's threshold.
double sweep(const ThresholdTask& task, double base) {
  const std::vector<nlohmann::json> notes = notes_of(task.writer, kBlockNote);
  double threshold = kFirstThreshold;
  double sum = 0;
  for (std::int64_t layer = 0; layer < task.config.num_hidden_layers; ++layer) {
    BlockWeights weights(task.checkpoint);
    const bool known = static_cast<std::size_t>(layer) < notes.size();
    double next = 0;
    if (known) {
      const nlohmann::json& note = notes[static_cast<std::size_t>(layer)];
      solve_again(task, layer, weights, note.at("threshold"));
      next = note.at("next");
    } else {
      const double bits = calibrate(task, layer, weights, threshold);
      next = corrected_threshold(threshold, bits, base, *task.settings.target_bits);
      task.store.sync();
      task.writer.note(kBlockNote, nlohmann::json{{"threshold", threshold}, {"next", next}}.dump());
      task.writer.checkpoint();
    }
    sum += std::log(next);
    threshold = next;
    if (layer + 1 == task.config.num_hidden_layers && !task.activations_needed) break;
    const Stopwatch watch(task.times.propagate);
    task.calibrator.propagate(layer, weights);
  }
  return std::exp(sum / static_cast<double>(task.config.num_hidden_layers));
}

// Bits per weight of the whole model with one threshold.
double bits_at(const ThresholdTask& task, double threshold) {
  QuantizeOptions options = task.settings.options;
  options.outlier_threshold = threshold;
  double bits = 0;
  double weights = 0;
  for (std::int64_t layer = 0; layer < task.config.num_hidden_layers; ++layer) {
    BlockWeights block(task.checkpoint);
    const std::vector<LinearGroupSpec> groups = block_linears(task.config, layer);
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const Stopwatch watch(task.times.solve);
      const InputStatistics input = task.store.get(layer, g);
      for (std::size_t i = 0; i < groups[g].modules.size(); ++i) {
        const std::int64_t m = groups[g].m[i];
        const std::int64_t n = groups[g].n;
        const SpqrParts parts =
            quantize_spqr(block.matrix(groups[g].modules[i], m, n), m, n, input.hessian, options);
        const double size = static_cast<double>(m) * static_cast<double>(n);
        bits += size * bits_per_weight(options.format, n, static_cast<double>(parts.columns.size()) / size);
        weights += size;
        task.advance(1, fmt::format("trying threshold {:.4g}", threshold));
      }
    }
  }
  return bits / weights;
}

}  // namespace

void require_reachable(const ModelConfig& config, const QuantizeSettings& settings) {
  try {
    ThresholdSearch(*settings.target_bits, bits_without_outliers(config, settings.options.format),
                    kFirstThreshold);
  } catch (const std::invalid_argument& error) {
    if (!settings.target_of_preset) throw OptionsError(error.what());
    throw OptionsError(
        fmt::format("{}; that is what --preset {} aims at: give --target-bits or --outlier-threshold too",
                    error.what(), settings.preset));
  }
}

InputOf stored_inputs(const InputStore& store, std::int64_t layer) {
  return [&store, layer](std::size_t group) { return store.get(layer, group); };
}

bool has_threshold_notes(const SpqrFileWriter& writer) {
  const auto notes = writer.notes();
  return std::any_of(notes.begin(), notes.end(), [](const auto& note) { return note.first == kBlockNote; });
}

ThresholdSearch find_threshold(const ThresholdTask& task) {
  const double base = bits_without_outliers(task.config, task.settings.options.format);
  for (std::int64_t layer = 0; layer < task.config.num_hidden_layers; ++layer) {
    const std::vector<LinearGroupSpec> groups = block_linears(task.config, layer);
    for (std::size_t g = 0; g < groups.size(); ++g) task.store.reserve(layer, g, groups[g].n);
  }
  const double target = *task.settings.target_bits;
  const std::vector<nlohmann::json> known = notes_of(task.writer, kThresholdNote);
  if (!known.empty()) {
    if (task.activations_needed) sweep(task, base);
    ThresholdSearch search(target, base, known.front().at("threshold"));
    search.settle(known.front().at("bits"));
    return search;
  }
  ThresholdSearch search(target, base, sweep(task, base));
  while (!search.add(bits_at(task, search.next()))) {
  }
  task.writer.note(kThresholdNote,
                   nlohmann::json{{"threshold", search.best()}, {"bits", search.best_bits()}}.dump());
  task.writer.checkpoint();
  return search;
}

}  // namespace spqr
