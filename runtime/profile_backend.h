// A backend that times another one's operations: where a model's time goes.
#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "runtime/forwarding_backend.h"

namespace spqr {

// Seconds by operation: "linear" (linear_group and linear_add without norms), "norm" (rms_norm and
// layer_norm, those of linear_group too), and the others by their names.
using Profile = std::map<std::string_view, double>;
inline constexpr std::string_view kProfiledLinears = "linear";

// While it is switched on it waits for each operation, and norms are computed apart from the linears that
// read them; else it only forwards.
class ProfileBackend final : public ForwardingBackend {
 public:
  explicit ProfileBackend(std::unique_ptr<Backend> inner)
      : ForwardingBackend(*inner), owned_(std::move(inner)) {}

  void start();
  Profile stop();  // since start()

  void embed(Matrix x, const Linear& table, std::span<const std::int32_t> ids) override;
  void rms_norm(Matrix y, Matrix x, const Norm& norm) override;
  void layer_norm(Matrix y, Matrix x, const Norm& norm) override;
  void linear_group(std::span<const Matrix> ys, const LinearGroup& group, Matrix x,
                    const Norm* norm) override;
  void linear_add(Matrix x, const LinearGroup& weight, Matrix a) override;
  void rope_append(Matrix q, Matrix k, Matrix v, const Rope& rope, const KvLayer& cache,
                   std::int64_t first) override;
  void attention(Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
                 const AttentionShape& shape) override;
  void swiglu(Matrix h, Matrix gate, Matrix up) override;
  void gelu(Matrix h, Matrix x) override;
  void decode(std::int32_t id, std::int64_t first, const std::function<void()>& step) override;

 private:
  template <typename Operation>
  void time(std::string_view name, const Operation& operation);

  std::unique_ptr<Backend> owned_;
  bool on_ = false;
  Profile profile_;
};

}  // namespace spqr
