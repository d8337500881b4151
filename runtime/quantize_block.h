// The linears of one block, group by group: where their inputs' statistics come from, and what is done with
// results.
#pragma once

#include <functional>
#include <string>

#include "models/model.h"
#include "runtime/block_calibrator.h"
#include "runtime/quantize_pipeline.h"

namespace spqr {

// Tensor that holds the permutation of a group's input: "model.layers.0.self_attn.q_proj.perm".
std::string perm_name(const LinearGroupSpec& group);

// Statistics of the input of a group, by its number in block_linears.
using InputOf = std::function<InputStatistics(std::size_t group)>;
// Receives a quantized module of a group.
using ModuleSink = std::function<void(const LinearGroupSpec& group, QuantizedModule module)>;

// From calibration: all groups of the block are watched in one pass when the first is asked for, before any
// weight changes; with true_sequential each one when it is asked for. Keeps references to all arguments.
InputOf calibrated_inputs(BlockCalibrator& calibrator, std::int64_t layer, BlockWeights& weights,
                          const QuantizeSettings& settings, QuantizeTimes& times);

// Quantizes the block's linears in order; `weights` are replaced by what the file will mean. `input` is empty
// for schemes that need none. keep_sensitivity: see quantize_linear.
void quantize_block(const ModelConfig& config, std::int64_t layer, BlockWeights& weights, Scheme scheme,
                    const QuantizeOptions& options, const InputOf& input, QuantizeTimes& times,
                    const ModuleSink& sink, bool keep_sensitivity = false);

}  // namespace spqr
