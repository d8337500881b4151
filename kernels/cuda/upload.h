// Weights from mapped files to the device: through two pieces of pinned memory, so that one is read from the
// file while the other is on the bus, and packed matrices on to a kernel that brings them into the device's
// layout.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/scratch_sizes.h"
#include "kernels/spqr_matrix.h"

namespace spqr::cuda {

class Uploader {
 public:
  // Bytes that go to the device at once; copy_packed() needs so many of device memory beside the destination.
  static constexpr std::size_t kPieceBytes = kUploadPieceBytes;

  // uploaded: told of the bytes that have been sent since the beginning; may be empty.
  Uploader(const Gpu& gpu, std::function<void(std::size_t bytes)> uploaded);
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  // Queues the copy; `source` has been read on return.
  void copy(std::byte* destination, const void* source, std::size_t bytes);
  // The same for the dense part of a packed matrix. `staging` (kPieceBytes): device memory that nothing else
  // in the stream uses meanwhile. Throws std::runtime_error where 64 rows of the matrix are more than that.
  void copy_packed(std::byte* destination, const SpqrMatrix& source, std::byte* staging);

 private:
  struct Slot {
    std::byte* pinned = nullptr;
    cudaEvent_t sent = nullptr;
  };
  // A piece of pinned memory with a copy of `bytes` of source, which no copy is under way from.
  Slot& staged(const std::byte* source, std::size_t bytes);
  void sent(Slot& slot, std::size_t bytes);

  Gpu gpu_;
  std::function<void(std::size_t bytes)> uploaded_;
  std::array<Slot, 2> slots_;
  std::size_t next_ = 0;
  std::size_t total_ = 0;
};

}  // namespace spqr::cuda
