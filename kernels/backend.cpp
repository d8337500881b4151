#include "kernels/backend.h"

#include <array>
#include <stdexcept>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/reference/reference_backend.h"

namespace spqr {
namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<Backend> (*make)(const BackendOptions& options);
  bool (*present)();
};

bool always() {
  return true;
}

bool cuda_is_present() {
  return cuda_absence().empty();
}

// best first
constexpr std::array kBackends = {Entry{"cuda", make_cuda_backend, cuda_is_present},
                                  Entry{"cpu", make_cpu_backend, always},
                                  Entry{"reference", make_reference_backend, always}};

}  // namespace

std::string_view fastest_backend() {
  return cuda_is_real() ? "cuda" : "cpu";
}

std::unique_ptr<Backend> make_backend(std::string_view name, const BackendOptions& options) {
  if (options.threads < 0) {
    throw std::invalid_argument("threads is " + std::to_string(options.threads) +
                                ", expected a positive number, or 0 for one per core");
  }
  if (name == "auto") name = fastest_backend();
  std::string known = "auto";
  for (const Entry& entry : kBackends) {
    if (name == entry.name) return entry.make(options);
    known.append(", ").append(entry.name);
  }
  throw std::invalid_argument("there is no backend \"" + std::string(name) + "\", expected one of " + known);
}

std::vector<std::string> backend_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kBackends) {
    if (entry.present()) names.emplace_back(entry.name);
  }
  return names;
}

std::span<const std::string_view> known_backends() {
  static constexpr std::array kNames = {kBackends[0].name, kBackends[1].name, kBackends[2].name};
  return kNames;
}

}  // namespace spqr
