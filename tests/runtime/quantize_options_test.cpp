#include "runtime/quantize_options.h"

#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>

namespace spqr {
namespace {

TEST_CASE("quantize options: defaults are SpQR 3-bit 16 x 16, threshold 0.2, act_order, damp 1") {
  const QuantizeSettings settings = resolve_quantize_options({});
  CHECK(settings.scheme == Scheme::spqr);
  CHECK(settings.options.format ==
        SpqrFormat{.bits = 3, .beta1 = 16, .beta2 = 16, .scale_bits = 3, .zero_bits = 3});
  CHECK(settings.options.outlier_threshold == 0.2);
  CHECK(settings.options.permutation == PermutationOrder::act_order);
  CHECK(settings.options.damp == 1.0);
  CHECK_FALSE(settings.target_bits.has_value());
  CHECK(settings.embedding == TableScheme{Scheme::f16, 16});
  CHECK(settings.calibration.samples == 128);
  CHECK(settings.calibration.length == 2048);
}

TEST_CASE("quantize options: presets are the table of the paper's settings") {
  const struct {
    const char* name;
    SpqrFormat format;
    double target;
    double share;
  } table[] = {{"near-lossless", {4, 16, 16, 3, 3}, 4.70, 0.0023},
               {"4bit", {3, 8, 64, 3, 3}, 3.95, 0.0023},
               {"3bit", {3, 16, 16, 3, 3}, 3.79, 0.0052}};
  for (const auto& row : table) {
    CAPTURE(row.name);
    const QuantizeSettings settings = resolve_quantize_options({{"preset", row.name}});
    CHECK(settings.options.format == row.format);
    CHECK(settings.target_bits == row.target);
    CHECK(settings.options.damp == 1.0);
    CHECK(settings.options.permutation == PermutationOrder::act_order);
    CHECK(settings.synthetic_outlier_share == row.share);
  }
}

TEST_CASE("quantize options: single options override a preset") {
  const QuantizeSettings settings = resolve_quantize_options(
      {{"preset", "3bit"}, {"beta2", "32"}, {"outlier-threshold", "0.1"}, {"permutation", "identity"}});
  CHECK(settings.options.format.beta1 == 16);
  CHECK(settings.options.format.beta2 == 32);
  CHECK_FALSE(settings.target_bits.has_value());
  CHECK(settings.options.outlier_threshold == 0.1);
  CHECK(settings.options.permutation == PermutationOrder::identity);
  CHECK(resolve_quantize_options({{"preset", "3bit"}, {"target-bits", "4.0"}}).target_bits == 4.0);
}

TEST_CASE("quantize options: GPTQ and RTN have a group a row unless told otherwise, and no outliers") {
  for (const char* scheme : {"gptq", "rtn"}) {
    const QuantizeSettings settings = resolve_quantize_options({{"scheme", scheme}, {"bits", "4"}});
    CHECK(settings.options.format.beta1 == SpqrFormat::kWholeRow);
    CHECK_FALSE(settings.options.format.quantized_statistics());
    CHECK(std::isinf(settings.options.outlier_threshold));
    CHECK(settings.options.permutation == PermutationOrder::identity);
    CHECK(settings.options.damp == 0.01);
    CHECK(resolve_quantize_options({{"scheme", scheme}, {"beta1", "128"}}).options.format.beta1 == 128);
  }
}

TEST_CASE("quantize options: embedding and head") {
  const QuantizeSettings settings =
      resolve_quantize_options({{"embedding-scheme", "rtn6"}, {"head-scheme", "spqr"}});
  CHECK(settings.embedding == TableScheme{Scheme::rtn, 6});
  CHECK(settings.head.scheme == Scheme::spqr);
  CHECK(settings.head_given);
  CHECK(name_of(settings.embedding) == "rtn6");
  // A dense scheme is one of the whole model.
  CHECK(resolve_quantize_options({{"scheme", "f32"}}).embedding.scheme == Scheme::f32);
}

TEST_CASE("quantize options: outliers of synthetic weights make up the bits asked for") {
  // 3 + 6 / 16 + 64 / 256 = 3.625 without outliers, 32 bits each.
  CHECK(resolve_quantize_options({{"target-bits", "3.945"}}).synthetic_outlier_share ==
        doctest::Approx(0.01));
}

TEST_CASE("quantize options: contradictions and wrong values are refused") {
  const GivenOptions refused[] = {{{"outlier-threshold", "0.2"}, {"target-bits", "4"}},
                                  {{"scheme", "gptq"}, {"scale-bits", "3"}},
                                  {{"scheme", "gptq"}, {"outlier-threshold", "0.2"}},
                                  {{"scheme", "rtn"}, {"damp", "1"}},
                                  {{"scheme", "rtn"}, {"preset", "3bit"}},
                                  {{"scheme", "f16"}, {"bits", "4"}},
                                  {{"scheme", "int4"}},
                                  {{"preset", "2bit"}},
                                  {{"bits", "9"}},
                                  {{"bits", "3.5"}},
                                  {{"bits", ""}},
                                  {{"beta1", "24"}},
                                  {{"beta1", "rows"}},
                                  {{"beta2", "48"}},
                                  {{"scale-bits", "12"}},
                                  {{"outlier-threshold", "-1"}},
                                  {{"outlier-threshold", "nan"}},
                                  {{"permutation", "random"}},
                                  {{"embedding-scheme", "rtn3"}},
                                  {{"calibration-samples", "0"}},
                                  {{"documents", "5-2"}}};
  for (const GivenOptions& given : refused) {
    CAPTURE(given.begin()->first);
    CAPTURE(given.begin()->second);
    CHECK_THROWS_AS(resolve_quantize_options(given), std::invalid_argument);
  }
}

}  // namespace
}  // namespace spqr
