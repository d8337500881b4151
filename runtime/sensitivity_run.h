// The sensitivity of one matrix of a checkpoint, without a packed file: blocks are quantized up to its own.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "models/config.h"
#include "runtime/quantize_options.h"
#include "runtime/sensitivity.h"

namespace spqr {

struct SensitivityJob {
  std::filesystem::path model;      // checkpoint
  std::filesystem::path tokenizer;  // as in QuantizeJob
  std::string module;
  QuantizeSettings settings;  // of a calibrated scheme, with a threshold, not target bits
  int threads = 0;            // 0: one per core
};

struct MeasuredSensitivity {
  ModelConfig config;
  SensitivityMap map;
};

// tell: a sentence for people now and then; cancelled: true ends it with QuantizeCancelled. Throws
// std::runtime_error with a sentence.
MeasuredSensitivity measure_sensitivity(const SensitivityJob& job,
                                        const std::function<void(const std::string&)>& tell,
                                        const std::function<bool()>& cancelled);

}  // namespace spqr
