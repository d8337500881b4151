// Streams, events and graphs.
#include "kernels/cuda/emulation/streams.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace spqr::emulation {
namespace {

// What is recorded between cudaStreamBeginCapture and cudaStreamEndCapture; other streams take part once they
// wait for an event that was recorded in a stream that does.
struct Capture {
  cudaStream_t origin = nullptr;
  bool valid = true;
  std::vector<Work> work;
};

using Clock = std::chrono::steady_clock;

}  // namespace
}  // namespace spqr::emulation

struct CUstream_st {
  std::shared_ptr<spqr::emulation::Capture> capture;
};
struct CUevent_st {
  std::shared_ptr<spqr::emulation::Capture> capture;  // that it was recorded in
  spqr::emulation::Clock::time_point time;
};
struct CUgraph_st {
  std::vector<spqr::emulation::Work> work;
};
struct CUgraphExec_st {
  std::vector<spqr::emulation::Work> work;
};

namespace spqr::emulation {
namespace {

std::mutex mutex;
std::vector<std::weak_ptr<Capture>> captures;  // that may still go on
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t run(const std::vector<Work>& all) {
  for (const Work& work : all) {
    if (const cudaError_t status = work(); status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

bool active(const std::shared_ptr<Capture>& capture) {
  return capture != nullptr && capture->origin != nullptr;
}

}  // namespace

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t forbidden_while_capturing(cudaError_t error) {
  const std::scoped_lock lock(mutex);
  bool any = false;
  for (const std::weak_ptr<Capture>& weak : captures) {
    const std::shared_ptr<Capture> capture = weak.lock();
    if (!active(capture)) continue;
    capture->valid = false;
    any = true;
  }
  return any ? remember(error) : cudaSuccess;
}

cudaError_t enqueue(cudaStream_t stream, Work work) {
  if (stream == nullptr) {
    if (const cudaError_t status = forbidden_while_capturing(cudaErrorStreamCaptureImplicit);
        status != cudaSuccess)
      return status;
  } else if (active(stream->capture)) {
    if (!stream->capture->valid) return remember(cudaErrorStreamCaptureInvalidated);
    stream->capture->work.push_back(std::move(work));
    return cudaSuccess;
  }
  return remember(work());
}

}  // namespace spqr::emulation

using namespace spqr::emulation;

cudaError_t cudaGetLastError() {
  return std::exchange(last_error, cudaSuccess);
}
cudaError_t cudaPeekAtLastError() {
  return last_error;
}

// ---- streams

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream == nullptr) return forbidden_while_capturing(cudaErrorStreamCaptureUnsupported);
  if (!active(stream->capture)) return cudaSuccess;
  stream->capture->valid = false;
  return remember(cudaErrorStreamCaptureUnsupported);
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return cudaStreamSynchronize(stream);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (!active(event->capture)) return cudaSuccess;
  if (stream == nullptr) return forbidden_while_capturing(cudaErrorStreamCaptureImplicit);
  if (active(stream->capture) && stream->capture != event->capture) {
    stream->capture->valid = event->capture->valid = false;
    return remember(cudaErrorStreamCaptureInvalidated);
  }
  stream->capture = event->capture;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  return forbidden_while_capturing(cudaErrorStreamCaptureUnsupported);
}

// ---- events

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  event->capture = stream != nullptr && active(stream->capture) ? stream->capture : nullptr;
  event->time = Clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (event->capture == nullptr) return cudaSuccess;
  event->capture->valid = false;
  return remember(cudaErrorCapturedEvent);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return cudaEventSynchronize(event);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (start == nullptr || end == nullptr || start->time == Clock::time_point() ||
      end->time == Clock::time_point())
    return remember(cudaErrorInvalidResourceHandle);
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

// ---- graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr) return remember(cudaErrorStreamCaptureUnsupported);
  if (active(stream->capture)) return remember(cudaErrorInvalidValue);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream;
  const std::scoped_lock lock(mutex);
  std::erase_if(captures, [](const std::weak_ptr<Capture>& weak) { return weak.expired(); });
  captures.push_back(stream->capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (stream == nullptr || !active(stream->capture)) return remember(cudaErrorInvalidValue);
  if (stream->capture->origin != stream) return remember(cudaErrorStreamCaptureUnmatched);
  const std::shared_ptr<Capture> capture = std::exchange(stream->capture, nullptr);
  capture->origin = nullptr;
  if (!capture->valid) return remember(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st{std::move(capture->work)};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = cudaStreamCaptureStatusNone;
  if (stream == nullptr || !active(stream->capture)) return cudaSuccess;
  *status = stream->capture->valid ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  if (graph == nullptr) return remember(cudaErrorInvalidValue);
  *executable = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (executable == nullptr) return remember(cudaErrorInvalidValue);
  return enqueue(stream, [work = executable->work] { return run(work); });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
