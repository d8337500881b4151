// The operations of one decoded token as one CUDA graph.
#pragma once

#include <functional>

#include "kernels/cuda/gpu.h"

namespace spqr::cuda {

class StepGraph {
 public:
  StepGraph() = default;
  ~StepGraph() { forget(); }
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  bool is_recorded() const { return executable_ != nullptr; }
  // What `step` queues in the stream is recorded and not run. What it throws is passed on, with nothing
  // recorded.
  void record(const Gpu& gpu, const std::function<void()>& step);
  void launch(const Gpu& gpu) const;
  void forget();

 private:
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace spqr::cuda
