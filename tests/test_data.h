// Data that may not be redistributed: found through the environment variable SPQR_TEST_DATA.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>

namespace spqr {

// Path of `relative` under SPQR_TEST_DATA; without it, prints "skipped: ..." and returns nullopt.
inline std::optional<std::filesystem::path> test_data(const std::string& relative) {
  const char* root = std::getenv("SPQR_TEST_DATA");
  if (root != nullptr && std::filesystem::exists(std::filesystem::path(root) / relative)) {
    return std::filesystem::path(root) / relative;
  }
  std::cout << "skipped: needs " << relative << " under SPQR_TEST_DATA\n";
  return std::nullopt;
}

}  // namespace spqr
