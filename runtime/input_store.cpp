#include "runtime/input_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace spqr {

InputStore::InputStore(std::filesystem::path path, bool keep) : path_(std::move(path)) {
  file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | (keep ? 0 : O_TRUNC), 0600);
  if (file_ < 0) {
    throw std::runtime_error(fmt::format("{}: cannot be created: {}", path_.string(), std::strerror(errno)));
  }
}

InputStore::~InputStore() {
  if (file_ >= 0) ::close(file_);
}

void InputStore::remove() {
  if (file_ >= 0) ::close(file_);
  file_ = -1;
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

void InputStore::reserve(std::int64_t layer, std::size_t group, std::int64_t n) {
  places_[{layer, group}] = {end_, n};
  end_ += n * (n + 3) * static_cast<std::int64_t>(sizeof(float));
}

const InputStore::Place& InputStore::place(std::int64_t layer, std::size_t group) const {
  return places_.at({layer, group});
}

void InputStore::transfer(void* data, std::size_t bytes, std::int64_t offset, bool write) const {
  auto* at = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t moved = write ? ::pwrite(file_, at, bytes, offset) : ::pread(file_, at, bytes, offset);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) {
      throw std::runtime_error(fmt::format("{}: Hessians cannot be {}: {}", path_.string(),
                                           write ? "written" : "read",
                                           moved < 0 ? std::strerror(errno) : "the file ends early"));
    }
    at += moved;
    offset += moved;
    bytes -= static_cast<std::size_t>(moved);
  }
}

// One square holds both: U above and on the diagonal, H below it; then H's diagonal, the order, the dead
// columns.
void InputStore::put(std::int64_t layer, std::size_t group, const InputStatistics& input) {
  const auto [offset, n] = place(layer, group);
  const Hessian& hessian = input.hessian;
  const auto size = static_cast<std::size_t>(n);
  std::vector<float> values(size * (size + 3));
  float* diagonal = values.data() + size * size;
  for (std::size_t i = 0; i < size; ++i) {
    std::copy_n(input.h.data() + i * size, i, values.data() + i * size);
    std::copy_n(hessian.inverse_factor.data() + i * size + i, size - i, values.data() + i * size + i);
    diagonal[i] = input.h[i * size + i];
    // Columns are at most 65536: exact in f32.
    diagonal[size + i] = hessian.perm.empty() ? -1.0F : static_cast<float>(hessian.perm[i]);
    diagonal[2 * size + i] = static_cast<float>(hessian.dead[i]);
  }
  transfer(values.data(), values.size() * sizeof(float), offset, true);
}

InputStatistics InputStore::get(std::int64_t layer, std::size_t group) const {
  const auto [offset, n] = place(layer, group);
  const auto size = static_cast<std::size_t>(n);
  std::vector<float> values(size * (size + 3));
  transfer(values.data(), values.size() * sizeof(float), offset, false);
  InputStatistics input;
  input.h.resize(size * size);
  Hessian& hessian = input.hessian;
  hessian.n = n;
  hessian.inverse_factor.assign(size * size, 0.0F);
  hessian.dead.resize(size);
  const float* diagonal = values.data() + size * size;
  for (std::size_t i = 0; i < size; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      input.h[i * size + j] = values[i * size + j];
      input.h[j * size + i] = values[i * size + j];
    }
    input.h[i * size + i] = diagonal[i];
    std::copy_n(values.data() + i * size + i, size - i, hessian.inverse_factor.data() + i * size + i);
    if (diagonal[size] >= 0) hessian.perm.push_back(static_cast<std::uint32_t>(diagonal[size + i]));
    hessian.dead[i] = static_cast<std::uint8_t>(diagonal[2 * size + i]);
  }
  return input;
}

void InputStore::sync() {
  if (::fdatasync(file_) != 0) {
    throw std::runtime_error(fmt::format("{}: cannot be written: {}", path_.string(), std::strerror(errno)));
  }
}

}  // namespace spqr
