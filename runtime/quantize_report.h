// What a quantization says of itself: in the file, on the terminal, as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/calibration.h"
#include "runtime/module_quantizer.h"
#include "runtime/quantize_options.h"

namespace spqr {

// Averages over the linears of the blocks, weighted by their sizes.
struct QuantizeAverages {
  double bits = 0;         // by the formula
  double stored_bits = 0;  // bytes of packed matrices
  double outlier_share = 0;
  std::optional<double> relative_error{};  // mean over matrices; none where one has none
};
QuantizeAverages averages(const std::vector<ModuleReport>& reports);
nlohmann::json to_json(const QuantizeAverages& average);

// Every option that decides what is in the file: not threads, not where activations are kept.
nlohmann::json to_json(const SpqrFormat& format);
nlohmann::json to_json(const QuantizeSettings& settings);

// Where calibration text came from and what of it was chosen.
nlohmann::json to_json(const CalibrationSettings& settings, const CalibrationSet& set);

// "model.layers.0.self_attn.q_proj  576 x 576  error 1.23e-02  outliers 1.82 %  4.207 bits"
std::string line_of(const ModuleReport& report);

}  // namespace spqr
