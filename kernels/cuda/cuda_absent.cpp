// What builds with SPQR_CUDA=OFF have in place of the CUDA backend.
#include <stdexcept>

#include "kernels/cuda/cuda_backend.h"

namespace spqr {

const std::string& cuda_absence() {
  static const std::string reason = "this program was built without CUDA (SPQR_CUDA=OFF)";
  return reason;
}

bool cuda_is_real() {
  return false;
}

std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& /*options*/) {
  throw std::runtime_error("there is no cuda backend here: " + cuda_absence());
}

}  // namespace spqr
