// A checkpoint into a .spqr file, block by block. How and why: docs/design/quantization-pipeline.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/module_quantizer.h"
#include "runtime/quantize_options.h"
#include "runtime/quantize_report.h"

namespace spqr {

struct QuantizeJob {
  std::filesystem::path model;      // checkpoint
  std::filesystem::path out;        // .spqr file
  std::filesystem::path tokenizer;  // replaces or supplies the model's; empty: its own
  QuantizeSettings settings;
  int threads = 0;                   // 0: one per core
  bool activations_on_disk = false;  // beside `out`
  bool resume = false;               // go on with what an interrupted run left
};

// The user asked to stop. What is resumable is kept.
class QuantizeCancelled : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Told what happens, on the thread that quantizes.
class QuantizeObserver {
 public:
  virtual ~QuantizeObserver() = default;
  virtual void warn(const std::string&) {}
  virtual void tell(const std::string&) {}  // plan and phases, one sentence each
  // `done` of `total` units of work that take about the same time; `what` is going on.
  virtual void progress(double /*done*/, double /*total*/, const std::string& /*what*/) {}
  virtual void module(const ModuleReport&) {}
  virtual bool cancelled() { return false; }
};

// Wall-clock seconds of each kind of work.
struct QuantizeTimes {
  double watch = 0;      // forward passes of unquantized blocks, with second moments
  double prepare = 0;    // factoring Hessians
  double solve = 0;      // solving, packing and measuring matrices
  double propagate = 0;  // forward passes of quantized blocks
  double write = 0;
  double total = 0;
};

struct QuantizeSummary {
  std::vector<ModuleReport> modules;
  QuantizeAverages average;
  double outlier_threshold = 0;  // the one used; of scheme spqr
  std::int64_t calibration_tokens = 0;
  std::uintmax_t file_bytes = 0;
  QuantizeTimes times;
};

// Throws std::runtime_error, or OptionsError, with a sentence, and QuantizeCancelled. `out` is complete
// afterwards, or as it was.
QuantizeSummary quantize_model(const QuantizeJob& job, QuantizeObserver& observer);

// For --json: averages, threshold, sizes, times, results per matrix.
nlohmann::json to_json(const QuantizeSummary& summary);

}  // namespace spqr
