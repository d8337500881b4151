#include "kernels/cuda/upload.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/cuda/check.h"
#include "kernels/cuda/spqr_operations.h"
#include "kernels/spqr_layout.h"

namespace spqr::cuda {

Uploader::Uploader(const Gpu& gpu, std::function<void(std::size_t bytes)> uploaded)
    : gpu_(gpu), uploaded_(std::move(uploaded)) {
  for (Slot& slot : slots_) {
    void* pinned = nullptr;
    if (cudaMallocHost(&pinned, kPieceBytes) != cudaSuccess) {
      cudaGetLastError();
      throw std::runtime_error("the host has no memory to be pinned for copies to the GPU");
    }
    slot.pinned = static_cast<std::byte*>(pinned);
    check(cudaEventCreateWithFlags(&slot.sent, cudaEventDisableTiming), "making an event");
  }
}

Uploader::~Uploader() {
  cudaStreamSynchronize(gpu_.stream);
  for (const Slot& slot : slots_) {
    cudaEventDestroy(slot.sent);
    cudaFreeHost(slot.pinned);
  }
}

Uploader::Slot& Uploader::staged(const std::byte* source, std::size_t bytes) {
  Slot& slot = slots_[next_++ % slots_.size()];
  check(cudaEventSynchronize(slot.sent), "copying weights to the device");
  std::memcpy(slot.pinned, source, bytes);
  return slot;
}

void Uploader::sent(Slot& slot, std::size_t bytes) {
  check(cudaEventRecord(slot.sent, gpu_.stream), "copying weights to the device");
  total_ += bytes;
  if (uploaded_) uploaded_(total_);
}

void Uploader::copy(std::byte* destination, const void* source, std::size_t bytes) {
  const auto* from = static_cast<const std::byte*>(source);
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t piece = std::min(kPieceBytes, bytes - done);
    Slot& slot = staged(from + done, piece);
    check(cudaMemcpyAsync(destination + done, slot.pinned, piece, cudaMemcpyHostToDevice, gpu_.stream),
          "copying weights to the device");
    sent(slot, piece);
    done += piece;
  }
}

void Uploader::copy_packed(std::byte* destination, const SpqrMatrix& source, std::byte* staging) {
  const SpqrLayout layout(source.format, source.m, source.n);
  const std::int64_t strips = layout.strips();
  const auto offset = [&](std::int64_t strip) {
    return strip == strips ? layout.bytes() : static_cast<std::size_t>(layout.strip_offset(strip));
  };
  std::int64_t first = 0;
  while (first < strips) {
    std::int64_t end = first + 1;
    while (end < strips && offset(end + 1) - offset(first) <= kPieceBytes) ++end;
    const std::size_t bytes = offset(end) - offset(first);
    if (bytes > kPieceBytes) {
      throw std::runtime_error("a packed matrix of " + std::to_string(source.n) +
                               " columns is wider than the cuda backend takes");
    }
    Slot& slot = staged(source.dense.data() + offset(first), bytes);
    check(cudaMemcpyAsync(staging, slot.pinned, bytes, cudaMemcpyHostToDevice, gpu_.stream),
          "copying weights to the device");
    retile(gpu_, source, first, end - first, staging, destination);
    sent(slot, bytes);
    first = end;
  }
}

}  // namespace spqr::cuda
