#include "kernels/blas_threads.h"

#include <cblas.h>

#include <mutex>

namespace spqr {
namespace {

// The setting is the process's: the first one alive changes it, the last one restores it.
std::mutex mutex;
int alive = 0;
int threads_before = 1;

}  // namespace

SingleThreadedBlas::SingleThreadedBlas() {
  const std::lock_guard lock(mutex);
  if (alive++ > 0) return;
  threads_before = openblas_get_num_threads();
  openblas_set_num_threads(1);
}

SingleThreadedBlas::~SingleThreadedBlas() {
  const std::lock_guard lock(mutex);
  if (--alive == 0) openblas_set_num_threads(threads_before);
}

}  // namespace spqr
