#include "kernels/cuda/step_graph.h"

#include "kernels/cuda/check.h"

namespace spqr::cuda {
namespace {

cudaGraph_t capture(const Gpu& gpu, const std::function<void()>& step) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(gpu.stream, cudaStreamCaptureModeThreadLocal), "recording a step");
  try {
    step();
  } catch (...) {
    if (cudaStreamEndCapture(gpu.stream, &graph) == cudaSuccess) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(gpu.stream, &graph), "recording a step");
  return graph;
}

}  // namespace

void StepGraph::record(const Gpu& gpu, const std::function<void()>& step) {
  forget();
  cudaGraph_t graph = capture(gpu, step);
  const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
  cudaGraphDestroy(graph);
  if (status != cudaSuccess) executable_ = nullptr;
  check(status, "recording a step");
}

void StepGraph::launch(const Gpu& gpu) const {
  check(cudaGraphLaunch(executable_, gpu.stream), "running a step");
}

void StepGraph::forget() {
  if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
  executable_ = nullptr;
}

}  // namespace spqr::cuda
