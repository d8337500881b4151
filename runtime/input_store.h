// Statistics of inputs kept on disk, so that matrices can be solved again with another threshold.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <utility>

#include "runtime/module_quantizer.h"

namespace spqr {

// Statistics of the inputs of all groups in a file: of each, n (n + 3) values. Throws std::runtime_error
// where the file cannot be written or read.
class InputStore {
 public:
  // keep: go on with the file that is there.
  InputStore(std::filesystem::path path, bool keep);
  ~InputStore();
  InputStore(const InputStore&) = delete;
  InputStore& operator=(const InputStore&) = delete;

  // Places are given out in the order of calls to reserve(), which depends on the model only.
  void reserve(std::int64_t layer, std::size_t group, std::int64_t n);
  void put(std::int64_t layer, std::size_t group, const InputStatistics& input);
  InputStatistics get(std::int64_t layer, std::size_t group) const;
  std::int64_t bytes() const { return end_; }
  // All of it is on disk when this returns.
  void sync();
  // Removes the file; further calls are errors.
  void remove();

 private:
  struct Place {
    std::int64_t offset = 0;
    std::int64_t n = 0;
  };
  const Place& place(std::int64_t layer, std::size_t group) const;
  void transfer(void* data, std::size_t bytes, std::int64_t offset, bool write) const;

  std::filesystem::path path_;
  int file_ = -1;
  std::int64_t end_ = 0;
  std::map<std::pair<std::int64_t, std::size_t>, Place> places_;
};

}  // namespace spqr
