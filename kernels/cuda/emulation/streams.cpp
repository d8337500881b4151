// Streams, events and graphs.
#include "kernels/cuda/emulation/streams.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/cuda/emulation/emulation.h"
#include "kernels/cuda/emulation/memory.h"

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

// A place in a stream that an event stands for.
struct Marker {
  cudaStream_t stream = nullptr;
  bool reached = false;
  Clock::time_point time;
};

struct Queued {
  Work work;
  std::shared_ptr<Marker> waits_for;
  std::shared_ptr<Marker> reaches;
};

}  // namespace
}  // namespace spqr::emulation

struct CUstream_st {
  bool blocking = true;  // work in the default stream comes after what is queued here
  std::shared_ptr<spqr::emulation::Capture> capture;
  std::deque<spqr::emulation::Queued> queue;
};
struct CUevent_st {
  std::shared_ptr<spqr::emulation::Capture> capture;  // that it was recorded in
  std::shared_ptr<spqr::emulation::Marker> marker;
};
struct CUgraph_st {
  std::vector<spqr::emulation::Work> work;
};
struct CUgraphExec_st {
  std::vector<spqr::emulation::Work> work;
};

namespace spqr::emulation {
namespace {

std::recursive_mutex mutex;
std::vector<cudaStream_t> streams;             // all that there are
std::vector<std::weak_ptr<Capture>> captures;  // that may still go on
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t run(const Work& work) {
  const DeviceAccess access;
  return work();
}
cudaError_t run_all(const std::vector<Work>& all) {
  for (const Work& work : all) {
    if (const cudaError_t status = work(); status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

void reach(Marker* marker) {
  if (marker == nullptr) return;
  marker->reached = true;
  marker->time = Clock::now();
}

// Does what is queued in the stream, up to the marker or all of it; after an error, nothing of it.
cudaError_t drain(cudaStream_t stream, const Marker* until = nullptr) {
  const std::scoped_lock lock(mutex);
  cudaError_t status = cudaSuccess;
  while (!stream->queue.empty() && (until == nullptr || !until->reached)) {
    Queued next = std::move(stream->queue.front());
    stream->queue.pop_front();
    try {
      if (next.waits_for != nullptr && !next.waits_for->reached)
        drain(next.waits_for->stream, next.waits_for.get());
      if (next.work && status == cudaSuccess) status = run(next.work);
    } catch (...) {
      reach(next.reaches.get());
      for (const Queued& dropped : stream->queue) reach(dropped.reaches.get());
      stream->queue.clear();
      throw;
    }
    reach(next.reaches.get());
  }
  return remember(status);
}

cudaError_t drain_all(bool blocking_only) {
  const std::scoped_lock lock(mutex);
  for (const cudaStream_t stream : streams) {
    if (blocking_only && !stream->blocking) continue;
    if (const cudaError_t status = drain(stream); status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

bool active(const std::shared_ptr<Capture>& capture) {
  return capture != nullptr && capture->origin != nullptr;
}

cudaError_t wait_for(const Marker* marker) {
  if (marker == nullptr || marker->reached) return cudaSuccess;
  return drain(marker->stream, marker);
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

bool is_capturing(cudaStream_t stream) {
  return stream != nullptr && active(stream->capture);
}

cudaError_t enqueue(cudaStream_t stream, Work work) {
  if (stream == nullptr) {
    if (const cudaError_t status = forbidden_while_capturing(cudaErrorStreamCaptureImplicit);
        status != cudaSuccess)
      return status;
    if (const cudaError_t status = drain_all(true); status != cudaSuccess) return status;
    return remember(run(work));
  }
  if (active(stream->capture)) {
    if (!stream->capture->valid) return remember(cudaErrorStreamCaptureInvalidated);
    stream->capture->work.push_back(std::move(work));
    return cudaSuccess;
  }
  const std::scoped_lock lock(mutex);
  stream->queue.push_back({std::move(work), nullptr, nullptr});
  return strict() ? cudaSuccess : drain(stream);
}

cudaError_t finish_all() {
  return drain_all(false);
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
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  *stream = new CUstream_st;
  (*stream)->blocking = (flags & cudaStreamNonBlocking) == 0;
  const std::scoped_lock lock(mutex);
  streams.push_back(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  const std::scoped_lock lock(mutex);
  const cudaError_t status = drain(stream);
  std::erase(streams, stream);
  delete stream;
  return status;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream == nullptr) {
    const cudaError_t status = forbidden_while_capturing(cudaErrorStreamCaptureUnsupported);
    return status != cudaSuccess ? status : drain_all(true);
  }
  if (!active(stream->capture)) return drain(stream);
  stream->capture->valid = false;
  return remember(cudaErrorStreamCaptureUnsupported);
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return cudaStreamSynchronize(stream);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (!active(event->capture)) {
    if (is_capturing(stream)) {  // for work outside of the graph
      stream->capture->valid = false;
      return remember(cudaErrorStreamCaptureIsolation);
    }
    if (event->marker == nullptr || event->marker->reached) return cudaSuccess;
    if (stream == nullptr) return wait_for(event->marker.get());
    const std::scoped_lock lock(mutex);
    stream->queue.push_back({nullptr, event->marker, nullptr});
    return cudaSuccess;
  }
  if (stream == nullptr) return forbidden_while_capturing(cudaErrorStreamCaptureImplicit);
  if (active(stream->capture) && stream->capture != event->capture) {
    stream->capture->valid = event->capture->valid = false;
    return remember(cudaErrorStreamCaptureMerge);
  }
  stream->capture = event->capture;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  const cudaError_t status = forbidden_while_capturing(cudaErrorStreamCaptureUnsupported);
  return status != cudaSuccess ? status : finish_all();
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
  event->capture = is_capturing(stream) ? stream->capture : nullptr;
  if (event->capture != nullptr) return cudaSuccess;
  event->marker = std::make_shared<Marker>();
  event->marker->stream = stream;
  if (stream == nullptr) {
    reach(event->marker.get());
    return cudaSuccess;
  }
  const std::scoped_lock lock(mutex);
  stream->queue.push_back({nullptr, nullptr, event->marker});
  return strict() ? cudaSuccess : drain(stream);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (event->capture == nullptr) return wait_for(event->marker.get());
  event->capture->valid = false;
  return remember(cudaErrorCapturedEvent);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return cudaEventSynchronize(event);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (start == nullptr || end == nullptr || start->marker == nullptr || end->marker == nullptr)
    return remember(cudaErrorInvalidResourceHandle);
  if (!start->marker->reached || !end->marker->reached) return remember(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(end->marker->time - start->marker->time).count();
  return cudaSuccess;
}

// ---- graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (stream == nullptr) return remember(cudaErrorStreamCaptureUnsupported);
  if (active(stream->capture)) return remember(cudaErrorInvalidValue);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream;
  const std::scoped_lock lock(mutex);
  std::erase_if(captures, [](const std::weak_ptr<Capture>& weak) { return weak.expired(); });
  if (mode != cudaStreamCaptureModeRelaxed) captures.push_back(stream->capture);
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
  return enqueue(stream, [work = executable->work] { return run_all(work); });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
