// Checkpoints of other tools whose matrices are SpQR already, to be taken over without quantizing again:
//   what the reference implementation's --save wrote (Vahe1994/SpQR: modelutils.py, spqr_engine.py)
//   Hugging Face directories with quant_method "spqr" (its inference_lib, and transformers)
// docs/design/spqr-checkpoints.md says what is in them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/spqr_matrix.h"
#include "models/checkpoint.h"

namespace spqr {

// What an outlier of such a checkpoint does to the dense value at its place.
enum class OutlierRule : std::uint8_t { replace, add };

// A matrix as the checkpoint has it: statistics in its own precision, `values` by the checkpoint's rule.
struct SavedMatrix {
  SpqrParts parts;
  OutlierRule rule = OutlierRule::replace;
};

// tensors() are those that are not packed.
class SpqrCheckpoint : public Checkpoint {
 public:
  // Of all packed matrices.
  virtual const SpqrFormat& packed_format() const = 0;
  virtual bool is_packed(const std::string& module) const = 0;
  // A packed matrix (m, n) by its module's name, "model.layers.0.self_attn.q_proj". Throws std::runtime_error
  // naming file and what does not fit.
  virtual SavedMatrix matrix(const std::string& module, std::int64_t m, std::int64_t n) const = 0;
};

struct SpqrCheckpointOptions {
  CheckpointOptions checkpoint;
  // Directory with the config.json and tokenizer of the model, which the reference implementation does not
  // save with it; empty: they are in the checkpoint's own.
  std::filesystem::path base;
  // Of Hugging Face directories; directories of the reference implementation replace.
  OutlierRule outliers = OutlierRule::replace;
};

// By what is in the directory.
bool is_reference_directory(const std::filesystem::path& path);
bool is_packed_directory(const std::filesystem::path& path);
inline bool is_spqr_checkpoint(const std::filesystem::path& path) {
  return is_reference_directory(path) || is_packed_directory(path);
}

std::unique_ptr<SpqrCheckpoint> open_spqr_checkpoint(const std::filesystem::path& path,
                                                     const SpqrCheckpointOptions& options);
// Each kind.
std::unique_ptr<SpqrCheckpoint> open_reference_directory(const std::filesystem::path& path,
                                                         const SpqrCheckpointOptions& options);
std::unique_ptr<SpqrCheckpoint> open_packed_directory(const std::filesystem::path& path,
                                                      const SpqrCheckpointOptions& options);

// The matrix as a .spqr file has it: codes as they are, statistics as f16 (which they mostly are), every
// outlier as what it adds to the dense value that the file decodes to. Throws std::invalid_argument for what
// f16 cannot hold.
PackedMatrix pack(const SavedMatrix& matrix);

// What the checkpoint means: W, f32 (m, n), in the original column order.
std::vector<float> dequantize(const SavedMatrix& matrix);

}  // namespace spqr
