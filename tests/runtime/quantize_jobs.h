// Quantization jobs on the small story model, as several tests run them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "models/spqr_file.h"
#include "runtime/quantize_pipeline.h"

namespace spqr {

// Keeps warnings; asks to stop once `modules_until_stop` matrices are written.
class TestObserver final : public QuantizeObserver {
 public:
  void warn(const std::string& text) override { warnings.push_back(text); }
  void module(const ModuleReport&) override { ++modules; }
  bool cancelled() override { return modules >= modules_until_stop; }

  std::vector<std::string> warnings;
  int modules = 0;
  int modules_until_stop = std::numeric_limits<int>::max();
};

// tests/fixtures/llama2c/stories260K.bin with its tokenizer, calibrated on 6 sequences of 100 tokens.
QuantizeJob stories_job(const std::filesystem::path& out, const GivenOptions& options);

QuantizeSummary quantize(const QuantizeJob& job);
// Logits (tokens, vocab_size) of `ids`, all at once, with the cpu backend and an f32 cache.
std::vector<float> logits_of(const SpqrFile& file, const std::vector<std::int32_t>& ids);
// Stops it after so many matrices. Fails the test if it does not stop.
void quantize_interrupted(const QuantizeJob& job, int modules);

}  // namespace spqr
