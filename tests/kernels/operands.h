// Operands of operation tests: random values, and activations in a backend's memory.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "kernels/backend.h"
#include "kernels/cpu/isa.h"
#include "tests/backends.h"

namespace spqr {

// Half a unit in the last place of f32, relative: what one rounding changes.
inline constexpr double kUnit = 0x1p-24;

inline std::vector<float> random_vector(std::int64_t count, std::mt19937& random, float deviation = 1) {
  std::normal_distribution<float> distribution(0, deviation);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = distribution(random);
  return values;
}

// A matrix in a backend's memory.
class Activations {
 public:
  Activations(Backend& backend, std::int64_t rows, std::int64_t cols)
      : Activations(backend, rows, cols, std::vector<float>(static_cast<std::size_t>(rows * cols), NAN)) {}
  Activations(Backend& backend, std::int64_t rows, std::int64_t cols, const std::vector<float>& values)
      : backend_(backend),
        rows_(rows),
        cols_(cols),
        buffer_(backend.allocate(values.size() * sizeof(float))) {
    backend.upload(buffer_.data(), values.data(), values.size() * sizeof(float));
  }
  Matrix matrix() const { return buffer_.matrix(rows_, cols_); }
  std::vector<float> values() const {
    std::vector<float> values(static_cast<std::size_t>(rows_ * cols_));
    backend_.download(values.data(), buffer_.data(), values.size() * sizeof(float));
    return values;
  }

 private:
  Backend& backend_;
  std::int64_t rows_;
  std::int64_t cols_;
  Buffer buffer_;
};

// A result in double and what f32 arithmetic may differ from it by.
struct Expected {
  std::vector<double> values;
  std::vector<double> tolerances;
};

inline void check_close(const std::vector<float>& found, const Expected& expected, const std::string& what) {
  REQUIRE(found.size() == expected.values.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (std::abs(found[i] - expected.values[i]) <= expected.tolerances[i]) continue;
    FAIL(what, ", value ", i, ": ", found[i], " instead of ", expected.values[i], " +- ",
         expected.tolerances[i]);
  }
}

// Every backend, `cpu` with every instruction set that this machine has, in f32.
inline std::vector<std::pair<std::string, std::string>> all_backends() {
  std::vector<std::pair<std::string, std::string>> all;  // backend, instruction set
  for (const std::string& name : tested_backends()) {
    if (name != "cpu") {
      all.emplace_back(name, "auto");
      continue;
    }
    for (const Isa isa : present_isas()) all.emplace_back(name, name_of(isa));
  }
  return all;
}

// What `compute` returns is close to `expected` on every backend, and the same for any number of threads.
inline void check_backends(const std::string& what, const Expected& expected,
                           const std::function<std::vector<float>(Backend&)>& compute) {
  for (const auto& [name, isa] : all_backends()) {
    BackendOptions options{.threads = 1, .activations = ActivationType::f32, .isa = isa};
    const std::vector<float> found = compute(*make_backend(name, options));
    check_close(found, expected, fmt::format("{} ({}), {}", name, isa, what));
    // An emulated GPU takes its time, and has as many threads as it has.
    for (const int threads : name == "cuda" ? std::vector{1} : std::vector{2, 3}) {
      INFO(name, " (", isa, "), ", what, ", threads: ", threads);
      options.threads = threads;
      CHECK(compute(*make_backend(name, options)) == found);
    }
  }
}

}  // namespace spqr
