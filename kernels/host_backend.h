// What backends that compute in host memory share: allocation, copies, and weights that stay where they are.
#pragma once

#include "kernels/backend.h"

namespace spqr {

class HostBackend : public Backend {
 public:
  Buffer allocate(std::size_t bytes) override;
  void upload(void* destination, const void* source, std::size_t bytes) override;
  void download(void* destination, const void* source, std::size_t bytes) override;
  void synchronize() override {}
  Linear place(const Linear& weight) override { return weight; }
  Norm place(const Norm& norm) override { return norm; }
  LinearGroup place(const LinearGroup& group) override { return group; }
  Rope place(const Rope& rope) override { return rope; }
  std::vector<TokenLogit> largest(Matrix logits, std::int64_t count) override;
};

}  // namespace spqr
