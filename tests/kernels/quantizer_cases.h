// Single matrices with the reference SpQR engine's result: tests/fixtures/quantizer, and more under
// SPQR_TEST_DATA.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kernels/quantize/quantize.h"

namespace spqr {

struct QuantizerCase {
  std::string name;
  QuantizeOptions options;
  std::int64_t m = 0;
  std::int64_t n = 0;
  double relative_error = 0.0;  // of the engine's result
  std::int64_t outliers = 0;
  std::vector<float> w;            // (m, n)
  std::vector<float> h;            // (n, n)
  std::vector<float> dequantized;  // (m, n), original order of columns
};

QuantizerCase read_quantizer_case(const std::filesystem::path& path);

// W as the parts mean it, written apart from the library's own: f32 (m, n), original order of columns.
std::vector<float> decode_parts(const SpqrParts& parts);

}  // namespace spqr
