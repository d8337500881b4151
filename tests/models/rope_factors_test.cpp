// Scaling recovered from factors that are computed as llama.cpp's converter writes rope_freqs.weight
// (convert_hf_to_gguf.py, LlamaModel.generate_extra_tensors).
#include "models/rope_factors.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <random>
#include <vector>

#include "tests/models/files.h"

namespace spqr {
namespace {

struct Llama3 {
  double factor, low, high, original;
};

double base_frequency(const ModelConfig& model, std::size_t i) {
  return 1 / std::pow(model.rope_theta, 2.0 * static_cast<double>(i) / static_cast<double>(model.head_dim));
}

std::vector<float> converted(const ModelConfig& model, const Llama3& scaling) {
  const double low_wavelength = scaling.original / scaling.low;
  const double high_wavelength = scaling.original / scaling.high;
  std::vector<float> factors;
  for (std::size_t i = 0; i < static_cast<std::size_t>(model.head_dim / 2); ++i) {
    const double wavelength = 2 * std::numbers::pi / base_frequency(model, i);
    const double smooth = (scaling.original / wavelength - scaling.low) / (scaling.high - scaling.low);
    double value = 1 / ((1 - smooth) / scaling.factor + smooth);
    if (wavelength < high_wavelength) value = 1;
    if (wavelength > low_wavelength) value = scaling.factor;
    factors.push_back(static_cast<float>(value));
  }
  return factors;
}

ModelConfig model_of(std::int64_t head_dim, double theta) {
  ModelConfig model;
  model.head_dim = head_dim;
  model.rope_theta = theta;
  return model;
}

// The largest relative error of the frequencies that the scaling found gives.
double error_of(const std::vector<float>& factors, ModelConfig model) {
  const auto found = scaling_of_factors(factors, model);
  if (!found) return std::numeric_limits<double>::infinity();
  model.rope_scaling = *found;
  const std::vector<float> frequencies = rope_inverse_frequency(model);
  double largest = 0;
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double expected = base_frequency(model, i) / static_cast<double>(factors[i]);
    largest = std::max(largest, std::abs(static_cast<double>(frequencies[i]) / expected - 1));
  }
  return largest;
}

}  // namespace

TEST_CASE("factors of small heads, whatever number of frequencies the smooth band holds") {
  for (const double original : {32.0, 64.0, 100.0, 1000.0, 8192.0}) {
    for (const std::int64_t head_dim : {2, 4, 8, 16, 64, 128}) {
      for (const Llama3& scaling :
           {Llama3{8, 1, 4, original}, Llama3{32, 1, 4, original}, Llama3{8, 2, 3, original}}) {
        CAPTURE(head_dim);
        CAPTURE(original);
        CAPTURE(scaling.factor);
        const ModelConfig model = model_of(head_dim, 500000);
        CHECK(error_of(converted(model, scaling), model) < 1e-4);
      }
    }
  }
}

TEST_CASE("factors of any parameters of the llama3 scaling") {
  std::mt19937 random(1);
  const auto between = [&](double low, double high) {
    return std::exp(std::uniform_real_distribution<double>(std::log(low), std::log(high))(random));
  };
  for (int round = 0; round < 2000; ++round) {
    const ModelConfig model = model_of(2 * static_cast<std::int64_t>(between(2, 65)), between(100, 1e7));
    const double low = between(0.5, 8);
    const Llama3 scaling{between(1.5, 64), low, low * between(1.1, 8), std::round(between(8, 100000))};
    CAPTURE(model.head_dim);
    CAPTURE(model.rope_theta);
    CAPTURE(scaling.factor);
    CAPTURE(scaling.low);
    CAPTURE(scaling.high);
    CAPTURE(scaling.original);
    CHECK(error_of(converted(model, scaling), model) < 1.1e-4);
  }
}

TEST_CASE("factors of the golden model give the frequencies of its own configuration") {
  const std::string config = read_bytes(SPQR_FIXTURES "/golden/llama-gqa-llama3rope-tied/config.json");
  ModelConfig model = parse_config(config, "config.json");
  const std::vector<float> expected = rope_inverse_frequency(model);
  const auto found = scaling_of_factors(converted(model, {8, 1, 4, 32}), model);
  REQUIRE(found.has_value());
  CHECK(found->factor == 8);
  model.rope_scaling = *found;
  CHECK(rope_inverse_frequency(model) == expected);
}

TEST_CASE("parameters that are determined are found") {
  const ModelConfig model = model_of(128, 500000);
  const auto found = scaling_of_factors(converted(model, {8, 1, 4, 8192}), model);
  REQUIRE(found.has_value());
  CHECK(found->factor == 8);
  CHECK(found->low_freq_factor == 1);
  CHECK(found->high_freq_factor == 4);
  CHECK(found->original_max_position_embeddings == 8192);
  const std::vector<float> ones(64, 1.0F);
  CHECK(scaling_of_factors(ones, model)->type == RopeScaling::Type::none);
}

TEST_CASE("what no parameters give is not explained") {
  const ModelConfig model = model_of(16, 500000);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::vector<float>> bad = {{1, 2, 3, 4, 5, 6, 7, 8},    {8, 8, 8, 8, 1, 1, 1, 1},
                                               {1, 1, 8, 1, 8, 8, 8, 8},    {1, 1, 3, 3, 8, 8, 8, 8},
                                               {0, 1, 1, 1, 8, 8, 8, 8},    {1, 1, 1, 1, 8, 8, 8, nan},
                                               {1, 1, 1, 1, 8, 8, 8, 1e30F}};
  for (const auto& factors : bad) {
    CAPTURE(factors[2]);
    CHECK_FALSE(scaling_of_factors(factors, model).has_value());
  }
  CHECK_FALSE(scaling_of_factors({}, model).has_value());
}

}  // namespace spqr
