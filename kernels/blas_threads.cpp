#include "kernels/blas_threads.h"

#include <cblas.h>

namespace spqr {

SingleThreadedBlas::SingleThreadedBlas() : threads_before_(openblas_get_num_threads()) {
  if (threads_before_ != 1) openblas_set_num_threads(1);
}

SingleThreadedBlas::~SingleThreadedBlas() {
  if (threads_before_ != 1) openblas_set_num_threads(threads_before_);
}

}  // namespace spqr
