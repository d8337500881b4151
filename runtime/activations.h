// The hidden states of all calibration sequences between two blocks, in memory or in a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

namespace spqr {

class Activations {
 public:
  virtual ~Activations() = default;
  // Sequence `index`: (its tokens, hidden_size) f32. Throws std::runtime_error where a file cannot be written
  // or read.
  virtual void load(std::int64_t index, float* out) const = 0;
  virtual void store(std::int64_t index, const float* in) = 0;
};

// elements[i]: f32 values of sequence i. An empty path: in memory; else in a file at that path, which is
// removed at once from its directory and vanishes with the object.
std::unique_ptr<Activations> make_activations(const std::vector<std::int64_t>& elements,
                                              const std::filesystem::path& path);

}  // namespace spqr
