#include "runtime/stages.h"

namespace spqr {
namespace {

Buffer floats(Backend& backend, std::int64_t rows, std::int64_t cols) {
  return backend.allocate(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols) * sizeof(float));
}

}  // namespace

ModelConfig config_of(ModelConfig config, const ModelParts& parts) {
  config.num_hidden_layers = parts.layers;
  return config;
}

Stage::Stage(Backend& backend, const ModelConfig& config, WeightSource& source, const ModelParts& parts,
             const StageSizes& sizes)
    : backend_(backend),
      parts_(parts),
      model_(make_model(config, source, backend, sizes.batch, parts)),
      cache_(backend, config_of(config, parts), sizes.context, sizes.cache_types),
      x_(floats(backend, sizes.batch, config.hidden_size)) {
  if (parts.head) logits_ = floats(backend, sizes.logits_tokens, config.vocab_size);
}

Stage& Stages::of_block(std::int64_t layer) const {
  for (const auto& stage : stages_) {
    if (stage->has_block(layer)) return *stage;
  }
  throw std::logic_error("no stage has this block");
}

std::size_t Stages::bytes_per_token() const {
  std::size_t bytes = 0;
  for (const auto& stage : stages_) bytes += stage->model().bytes_per_token();
  return bytes;
}

void Stages::receive(std::size_t stage, std::int64_t tokens) {
  if (stage == 0) return;
  const Matrix from = stages_[stage - 1]->x(tokens);
  const Matrix to = stages_[stage]->x(tokens);
  moved_.resize(static_cast<std::size_t>(from.rows * from.cols));
  const std::size_t bytes = moved_.size() * sizeof(float);
  stages_[stage - 1]->backend().download(moved_.data(), from.data, bytes);
  stages_[stage]->backend().upload(to.data, moved_.data(), bytes);
}

void Stages::run(std::size_t index, std::span<const std::int32_t> ids, std::span<const Positions> at,
                 const StopCheck& stop) {
  const Stage& stage = *stages_[index];
  const Matrix x = stage.x(static_cast<std::int64_t>(ids.size()));
  if (index == 0) stage.model().embed(x, ids);
  std::vector<Segment> segments(at.size());
  for (std::int64_t i = 0; i < stage.parts().layers; ++i) {
    if (stop && stop()) throw Interrupted();
    const std::int64_t layer = stage.parts().first_layer + i;
    for (std::size_t s = 0; s < at.size(); ++s) segments[s] = {stage.cache(layer), at[s].first, at[s].tokens};
    stage.model().block(layer, x, segments);
  }
}

Matrix Stages::pass_to_last(std::span<const std::int32_t> ids, std::span<const Positions> at,
                            const StopCheck& stop) {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    receive(i, tokens);
    if (i + 1 < stages_.size()) run(i, ids, at, stop);
  }
  return last().x(tokens);
}

Matrix Stages::pass(std::span<const std::int32_t> ids, std::span<const Positions> at, const StopCheck& stop) {
  const Matrix x = pass_to_last(ids, at, stop);
  run(stages_.size() - 1, ids, at, stop);
  return x;
}

Matrix Stages::pass(std::span<const std::int32_t> ids, std::int64_t first, const StopCheck& stop) {
  const Positions at{first, static_cast<std::int64_t>(ids.size())};
  return pass(ids, {&at, 1}, stop);
}

Matrix Stages::pass_to_logits(std::span<const std::int32_t> ids, std::int64_t first, const StopCheck& stop) {
  const Positions at{first, static_cast<std::int64_t>(ids.size())};
  const Matrix x = pass_to_last(ids, {&at, 1}, stop);
  const Matrix row{x.data + (x.rows - 1) * x.cols, 1, x.cols};
  const auto step = [&] {
    run(stages_.size() - 1, ids, {&at, 1}, stop);
    head(row);
  };
  if (ids.size() == 1) {
    // A record that is run again asks nobody.
    check_ids(ids, last().model().config());
    if (stop && stop()) throw Interrupted();
    last().backend().decode(ids.front(), first, step);
  } else {
    step();
  }
  return last().logits(1);
}

Matrix Stages::head(Matrix x) const {
  const Matrix logits = last().logits(x.rows);
  last().model().head(logits, x);
  return logits;
}

}  // namespace spqr
