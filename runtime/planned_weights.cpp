#include "runtime/planned_weights.h"

#include <algorithm>
#include <cstdint>

#include "runtime/module_quantizer.h"

namespace spqr {
namespace {

// Not null: empty views mean that there is nothing.
template <typename T>
std::span<const T> nowhere(std::int64_t count) {
  constexpr std::uintptr_t kNobodys = 64;
  return {reinterpret_cast<const T*>(kNobodys), static_cast<std::size_t>(count)};
}

class PlannedWeights final : public WeightSource {
 public:
  PlannedWeights(const ModelConfig& config, const QuantizeSettings& settings)
      : config_(config), settings_(settings) {
    for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      for (std::string& name : block_vectors(config, layer)) vectors_.push_back(std::move(name));
    }
    std::ranges::sort(vectors_);
  }

  LinearGroup linear_group(std::span<const std::string> modules, std::span<const std::int64_t> m,
                           std::int64_t n) override {
    if (modules[0] == embedding_module(config_)) return {{table(settings_.embedding, m[0], n)}, {}};
    if (modules[0] == kHeadModule) return {{table(settings_.head, m[0], n)}, {}};
    LinearGroup group;
    for (std::size_t i = 0; i < modules.size(); ++i) {
      const double share = settings_.scheme == Scheme::spqr ? settings_.synthetic_outlier_share : 0;
      Linear linear = weight(settings_.scheme, settings_.options.format, share, m[i], n);
      if (std::ranges::binary_search(vectors_, modules[i] + ".bias")) linear.bias = nowhere<float>(m[i]);
      group.members.push_back(std::move(linear));
    }
    if (needs_calibration(settings_.scheme) && settings_.options.permutation == PermutationOrder::act_order)
      group.perm = nowhere<std::uint32_t>(n);
    return group;
  }

  std::span<const float> vector(const std::string& /*name*/, std::int64_t size) override {
    return nowhere<float>(size);
  }

 private:
  Linear table(const TableScheme& table, std::int64_t m, std::int64_t n) const {
    const SpqrFormat packed = settings_.scheme == Scheme::spqr ? settings_.options.format : SpqrFormat();
    const double share = table.scheme == Scheme::spqr ? settings_.synthetic_outlier_share : 0;
    return weight(table.scheme, table_format(table, packed), share, m, n);
  }

  static Linear weight(Scheme scheme, const SpqrFormat& format, double share, std::int64_t m,
                       std::int64_t n) {
    if (is_dense(scheme)) return {TensorView{nowhere<std::byte>(0).data(), dense_dtype(scheme), {m, n}}, {}};
    SpqrMatrix matrix;
    matrix.format = format;
    matrix.m = m;
    matrix.n = n;
    matrix.dense = nowhere<std::byte>(static_cast<std::int64_t>(packed_bytes(format, m, n)));
    const auto outliers = static_cast<std::int64_t>(share * static_cast<double>(m) * static_cast<double>(n));
    if (outliers > 0) {
      matrix.row_offsets = nowhere<std::uint32_t>(m + 1);
      matrix.col_vals = nowhere<std::uint32_t>(outliers);
    }
    return {matrix, {}};
  }

  const ModelConfig& config_;
  const QuantizeSettings& settings_;
  std::vector<std::string> vectors_;  // of all blocks, sorted
};

}  // namespace

std::unique_ptr<WeightSource> planned_weights(const ModelConfig& config, const QuantizeSettings& settings) {
  return std::make_unique<PlannedWeights>(config, settings);
}

}  // namespace spqr
