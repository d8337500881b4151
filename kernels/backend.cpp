#include "kernels/backend.h"

#include <array>
#include <stdexcept>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"

namespace spqr {
namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<Backend> (*make)(const BackendOptions& options);
};

constexpr std::array kBackends = {Entry{"cpu", make_cpu_backend},
                                  Entry{"reference", make_reference_backend}};  // best first

}  // namespace

std::unique_ptr<Backend> make_backend(std::string_view name, const BackendOptions& options) {
  if (options.threads < 0) {
    throw std::invalid_argument("threads is " + std::to_string(options.threads) +
                                ", expected a positive number, or 0 for one per core");
  }
  if (name == "auto") return kBackends.front().make(options);
  std::string known = "auto";
  for (const Entry& entry : kBackends) {
    if (name == entry.name) return entry.make(options);
    known.append(", ").append(entry.name);
  }
  throw std::invalid_argument("there is no backend \"" + std::string(name) + "\", expected one of " + known);
}

std::vector<std::string> backend_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kBackends) names.emplace_back(entry.name);
  return names;
}

}  // namespace spqr
