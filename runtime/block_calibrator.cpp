#include "runtime/block_calibrator.h"

#include <algorithm>
#include <utility>

namespace spqr {
namespace {

constexpr CacheTypes kCacheTypes{CacheType::f32, CacheType::f32};

ModelConfig one_layer(ModelConfig config) {
  config.num_hidden_layers = 1;
  return config;
}

std::int64_t longest(const std::vector<std::vector<std::int32_t>>& sequences) {
  std::size_t length = 0;
  for (const auto& sequence : sequences) length = std::max(length, sequence.size());
  return static_cast<std::int64_t>(length);
}

std::vector<std::int64_t> elements(const std::vector<std::vector<std::int32_t>>& sequences,
                                   std::int64_t width) {
  std::vector<std::int64_t> counts;
  for (const auto& sequence : sequences) counts.push_back(static_cast<std::int64_t>(sequence.size()) * width);
  return counts;
}

std::size_t floats(std::int64_t count) {
  return static_cast<std::size_t>(count) * sizeof(float);
}

}  // namespace

BlockCalibrator::BlockCalibrator(const ModelConfig& config, Backend& backend,
                                 std::vector<std::vector<std::int32_t>> sequences,
                                 const std::filesystem::path& activations_file,
                                 std::function<void()> after_sequence)
    : config_(config),
      backend_(backend),
      sequences_(std::move(sequences)),
      after_sequence_(std::move(after_sequence)),
      longest_(longest(sequences_)),
      activations_(make_activations(elements(sequences_, config.hidden_size), activations_file)),
      cache_(backend, one_layer(config), longest_, kCacheTypes),
      x_(backend.allocate(floats(longest_ * config.hidden_size))) {}

std::size_t BlockCalibrator::workspace(const ModelConfig& config, std::int64_t length) {
  // The block's own scratch, its KV cache, the hidden states of one sequence and their norm.
  return workspace_bytes(config, length) + KvCache::bytes(one_layer(config), length, kCacheTypes) +
         2 * floats(length * config.hidden_size);
}

void BlockCalibrator::embed(std::span<const float> table) {
  const std::int64_t width = config_.hidden_size;
  std::vector<float> x;
  for (std::size_t s = 0; s < sequences_.size(); ++s) {
    x.clear();
    for (const std::int32_t id : sequences_[s]) {
      const float* row = table.data() + id * width;
      x.insert(x.end(), row, row + width);
    }
    activations_->store(static_cast<std::int64_t>(s), x.data());
  }
}

std::unique_ptr<Model> BlockCalibrator::make_block(std::int64_t layer, BlockWeights& weights) {
  return make_model(config_, weights, backend_, longest_,
                    {.embedding = false, .head = false, .first_layer = layer, .layers = 1});
}

void BlockCalibrator::for_each_sequence(bool store, const std::function<void(Matrix)>& body) {
  for (std::int64_t s = 0; s < sequences(); ++s) {
    const auto tokens = static_cast<std::int64_t>(sequences_[static_cast<std::size_t>(s)].size());
    const Matrix x = x_.matrix(tokens, config_.hidden_size);
    activations_->load(s, x.data);
    backend_.rewind();
    body(x);
    if (store) activations_->store(s, x.data);
    after_sequence_();
  }
}

std::vector<SecondMoments> BlockCalibrator::watch(std::int64_t layer, BlockWeights& weights,
                                                  std::size_t first, std::size_t last) {
  const std::vector<LinearGroupSpec> groups = block_linears(config_, layer);
  std::vector<SecondMoments> moments;
  for (std::size_t g = first; g <= last; ++g) moments.emplace_back(groups[g].n);
  std::vector<SecondMoments*> watched(last + 1, nullptr);
  for (std::size_t g = first; g <= last; ++g) watched[g] = &moments[g - first];
  const std::unique_ptr<Model> model = make_block(layer, weights);
  backend_.watch(std::move(watched));
  try {
    for_each_sequence(false, [&](Matrix x) { model->block(layer, x, cache_.layer(0), 0); });
  } catch (...) {
    backend_.stop();
    throw;
  }
  backend_.stop();
  return moments;
}

void BlockCalibrator::propagate(std::int64_t layer, BlockWeights& weights) {
  const std::unique_ptr<Model> model = make_block(layer, weights);
  for_each_sequence(true, [&](Matrix x) { model->block(layer, x, cache_.layer(0), 0); });
}

SecondMoments BlockCalibrator::watch_head(const Norm& norm) {
  SecondMoments moments(config_.hidden_size);
  for_each_sequence(false, [&](Matrix x) {
    backend_.normalize(x, x, norm);
    moments.add(x.data, x.rows);
  });
  return moments;
}

}  // namespace spqr
