// The weights of one block in memory as f32, read from a checkpoint and replaced as they are quantized.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "models/checkpoint.h"
#include "models/model.h"

namespace spqr {

// Views handed out stay valid while it lives, and see what replaces the values.
class BlockWeights final : public WeightSource {
 public:
  explicit BlockWeights(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  LinearGroup linear_group(std::span<const std::string> modules, std::span<const std::int64_t> m,
                           std::int64_t n) override;
  std::span<const float> vector(const std::string& name, std::int64_t size) override;

  // (m, n) f32, reading it first if it was not asked for yet.
  std::span<float> matrix(const std::string& module, std::int64_t m, std::int64_t n);

 private:
  std::vector<float>& tensor(const std::string& name, const std::vector<std::int64_t>& shape);

  const Checkpoint& checkpoint_;
  std::map<std::string, std::vector<float>, std::less<>> tensors_;
};

// Reads a tensor of a checkpoint as f32. Throws std::runtime_error where it is missing, has another shape or
// holds values that are not finite.
std::vector<float> read_tensor(const Checkpoint& checkpoint, const std::string& name,
                               const std::vector<std::int64_t>& shape);

}  // namespace spqr
