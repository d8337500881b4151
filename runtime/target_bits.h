// The outlier threshold that gives a model a number of bits per weight, found without a second calibration.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "runtime/block_calibrator.h"
#include "runtime/input_store.h"
#include "runtime/quantize_block.h"
#include "runtime/threshold_search.h"

namespace spqr {

// What the search works on; all of it outlives the search.
struct ThresholdTask {
  const Checkpoint& checkpoint;
  const ModelConfig& config;
  const QuantizeSettings& settings;
  BlockCalibrator& calibrator;
  SpqrFileWriter& writer;  // keeps notes, for --resume
  InputStore& store;
  QuantizeTimes& times;
  bool activations_needed;                                             // behind the last block, for the head
  std::function<void(double units, const std::string& what)> advance;  // may throw
};

// Throws OptionsError where no threshold gives settings.target_bits.
void require_reachable(const ModelConfig& config, const QuantizeSettings& settings);

// Calibrates block by block with thresholds that come near, keeping the inputs' statistics; then looks for
// the one threshold that gives settings.target_bits to the whole model, by solving its matrices again. Leaves
// the statistics in the store.
ThresholdSearch find_threshold(const ThresholdTask& task);

// True if a run that was interrupted left statistics to go on from.
bool has_threshold_notes(const SpqrFileWriter& writer);

// Statistics of a block's inputs as they were stored.
InputOf stored_inputs(const InputStore& store, std::int64_t layer);

// Passes over all matrices that the search is expected to take, for progress.
inline constexpr double kExpectedTrials = 3;

}  // namespace spqr
