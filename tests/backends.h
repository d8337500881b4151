// Which backends tests are run on.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace spqr {

// All that are present, or of them the one that the environment variable SPQR_TEST_BACKEND names.
inline std::vector<std::string> tested_backends() {
  std::vector<std::string> names = backend_names();
  if (const char* only = std::getenv("SPQR_TEST_BACKEND"))
    std::erase_if(names, [&](const std::string& name) { return name != only; });
  return names;
}

}  // namespace spqr
