// Where tests find their data.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>

namespace spqr {

// The folder tests/fixtures, or what stands for it where the environment variable SPQR_FIXTURES says so:
// tests may run on a machine that they were not built on.
inline std::filesystem::path fixtures() {
  const char* elsewhere = std::getenv("SPQR_FIXTURES");
  return elsewhere != nullptr ? elsewhere : SPQR_FIXTURES;
}

// Data that may not be redistributed: path of `relative` under SPQR_TEST_DATA; without it, prints "skipped:
// ..." and returns nullopt.
inline std::optional<std::filesystem::path> test_data(const std::string& relative) {
  const char* root = std::getenv("SPQR_TEST_DATA");
  if (root != nullptr && std::filesystem::exists(std::filesystem::path(root) / relative)) {
    return std::filesystem::path(root) / relative;
  }
  std::cout << "skipped: needs " << relative << " under SPQR_TEST_DATA\n";
  return std::nullopt;
}

}  // namespace spqr
