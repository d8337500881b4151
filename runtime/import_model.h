// A checkpoint that is SpQR already into a .spqr file, without quantizing again:
// docs/design/spqr-checkpoints.md.
#pragma once

#include <filesystem>

#include "models/spqr_checkpoint.h"
#include "runtime/quantize_options.h"
#include "runtime/quantize_pipeline.h"

namespace spqr {

struct ImportJob {
  std::filesystem::path model;
  std::filesystem::path out;
  SpqrCheckpointOptions options;
  GivenOptions given;  // of quantizing: they have to say what the checkpoint is
};

// Codes, statistics, outliers and permutations are the checkpoint's; all else keeps its type. relative_error
// of a report is what storing as f16 changed. Throws std::runtime_error, and OptionsError for
// options that contradict the checkpoint. `out` is complete afterwards, or as it was.
QuantizeSummary import_model(const ImportJob& job, QuantizeObserver& observer);

// Throws OptionsError naming the first option that quantizes, or says another format than this.
void require_agreement(const GivenOptions& given, const SpqrFormat& format);

}  // namespace spqr
