// y (+)= W x' + b for a packed weight: which kernel it is.
#include "kernels/cuda/operations.h"
#include "kernels/cuda/scratch_sizes.h"
#include "kernels/cuda/spqr_operations.h"

namespace spqr::cuda {

void spqr_linear(const Gpu& gpu, Matrix y, const Linear& weight, std::span<const std::uint32_t> perm,
                 Matrix x, Store store, ActivationType activations, void* scratch) {
  const SpqrProduct product = {std::get<SpqrMatrix>(weight.weight),
                               perm.empty() ? nullptr : perm.data(),
                               weight.bias.empty() ? nullptr : weight.bias.data(),
                               x,
                               y,
                               store};
  auto* bytes = static_cast<std::byte*>(scratch);
  if (x.rows <= kMatvecTokens) {
    spqr_matvec(gpu, product, bytes);
  } else {
    spqr_matmul(gpu, product, activations, bytes);
  }
}

}  // namespace spqr::cuda
