#include "runtime/quantize_block.h"

#include <fmt/core.h>

#include <memory>
#include <stdexcept>
#include <utility>

#include "runtime/stopwatch.h"

namespace spqr {
namespace {

// Second moments not yet used, group by group.
struct Watched {
  std::vector<SecondMoments> moments;
};

}  // namespace

std::string perm_name(const LinearGroupSpec& group) {
  return group.modules.front() + ".perm";
}

InputOf calibrated_inputs(BlockCalibrator& calibrator, std::int64_t layer, BlockWeights& weights,
                          const QuantizeSettings& settings, QuantizeTimes& times) {
  const auto watched = std::make_shared<Watched>();
  return [=, &calibrator, &weights, &settings, &times](std::size_t group) {
    if (settings.true_sequential) watched->moments.clear();
    if (watched->moments.empty()) {
      const Stopwatch watch(times.watch);
      const std::size_t last = settings.true_sequential ? group : calibrator.groups(layer) - 1;
      watched->moments = calibrator.watch(layer, weights, group, last);
    }
    const Stopwatch watch(times.prepare);
    SecondMoments& moments = watched->moments.at(settings.true_sequential ? 0 : group);
    InputStatistics input;
    const std::int64_t n = moments.n();
    input.h = moments.take();
    input.hessian = prepare_hessian(input.h, n, settings.options.permutation, settings.options.damp);
    return input;
  };
}

void quantize_block(const ModelConfig& config, std::int64_t layer, BlockWeights& weights, Scheme scheme,
                    const QuantizeOptions& options, const InputOf& input, QuantizeTimes& times,
                    const ModuleSink& sink, bool keep_sensitivity) {
  const std::vector<LinearGroupSpec> groups = block_linears(config, layer);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const LinearGroupSpec& group = groups[g];
    InputStatistics statistics;
    try {
      if (input) statistics = input(g);
    } catch (const QuantizeCancelled&) {
      throw;
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(fmt::format("input of {}: {}", group.modules.front(), error.what()));
    }
    for (std::size_t i = 0; i < group.modules.size(); ++i) {
      QuantizedModule module;
      {
        const Stopwatch watch(times.solve);
        module = quantize_linear(group.modules[i], weights.matrix(group.modules[i], group.m[i], group.n),
                                 group.m[i], group.n, scheme, options, input ? &statistics : nullptr,
                                 keep_sensitivity);
        count_permutation(module, group.modules.size());
      }
      sink(group, std::move(module));
    }
  }
}

}  // namespace spqr
