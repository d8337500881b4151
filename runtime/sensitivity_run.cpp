#include "runtime/sensitivity_run.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "models/checkpoint.h"
#include "runtime/block_calibrator.h"
#include "runtime/calibration.h"
#include "runtime/quantize_block.h"
#include "runtime/quantize_checks.h"
#include "runtime/tied_head.h"

namespace spqr {
namespace {

// The block that has the module.
std::int64_t layer_of(const ModelConfig& config, const std::string& module, const std::string& where) {
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (const LinearGroupSpec& group : block_linears(config, layer)) {
      if (std::find(group.modules.begin(), group.modules.end(), module) != group.modules.end()) return layer;
    }
  }
  throw std::runtime_error(fmt::format("{}: no block has a matrix '{}'; the first one's first is '{}'", where,
                                       module, block_linears(config, 0).front().modules.front()));
}

// Thrown by the sink once the module is there.
struct Found {};

}  // namespace

MeasuredSensitivity measure_sensitivity(const SensitivityJob& job,
                                        const std::function<void(const std::string&)>& tell,
                                        const std::function<bool()>& cancelled) {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(job.model, {job.tokenizer});
  QuantizeSettings settings = job.settings;
  MeasuredSensitivity result{parse_config(checkpoint->config_json(), job.model.string()), {}};
  settle_head(settings, result.config);
  const std::int64_t layer = layer_of(result.config, job.module, job.model.string());
  const auto tokenizer =
      fitting_tokenizer(*checkpoint, result.config, job.tokenizer.empty() ? job.model : job.tokenizer);
  CalibrationSet calibration =
      load_calibration(settings.calibration, settings.seed, tokenizer.get(), result.config.vocab_size,
                       result.config.max_position_embeddings);
  for (const std::string& warning : calibration.warnings) tell("warning: " + warning);
  const std::unique_ptr<Backend> backend = make_backend("cpu", {job.threads});
  BlockCalibrator calibrator(result.config, *backend, std::move(calibration.sequences), "", [&] {
    if (cancelled()) throw QuantizeCancelled("interrupted; nothing is left behind");
  });
  {
    const std::string name = embedding_module(result.config);
    const std::int64_t rows = result.config.vocab_size;
    const std::int64_t n = result.config.hidden_size;
    auto table = read_tensor(*checkpoint, name + ".weight", {rows, n});
    quantize_table(name, table, rows, n, settings.embedding, settings.options, nullptr);  // as a file has it
    calibrator.embed(table);
  }
  QuantizeTimes times;
  for (std::int64_t l = 0; l <= layer; ++l) {
    tell(fmt::format("block {} of {}", l, layer));
    BlockWeights weights(*checkpoint);
    std::optional<SensitivityMap> map;
    const ModuleSink sink = [&](const LinearGroupSpec&, QuantizedModule module) {
      if (module.report.module != job.module) return;
      map = std::move(module.sensitivity);
      throw Found();
    };
    try {
      quantize_block(result.config, l, weights, settings.scheme, settings.options,
                     calibrated_inputs(calibrator, l, weights, settings, times), times, sink, l == layer);
      calibrator.propagate(l, weights);
    } catch (const Found&) {
      result.map = std::move(*map);
    }
  }
  return result;
}

}  // namespace spqr
