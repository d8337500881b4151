#include "runtime/session.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

namespace spqr {

Session::Session(const SessionOptions& options)
    : begin_(std::chrono::steady_clock::now()),
      available_(available_memory()),
      file_(SpqrFile::open(options.model, {.mmap = true, .verify = false})),
      logits_tokens_(options.logits_tokens) {
  ModelConfig config = parse_config(file_.info().config_json, options.model.string());
  if (options.beyond_maximum)
    config.max_position_embeddings = std::max(config.max_position_embeddings, options.context);
  const std::int64_t context = std::min(options.context, config.max_position_embeddings);
  // No larger than what can be asked of it, or small contexts would pay for large batches.
  batch_ = std::min(options.batch, context > 0 ? context : config.max_position_embeddings);
  backend_ = make_backend(options.backend, {options.threads, options.activations, options.isa});
  if (options.wrap_backend) backend_ = options.wrap_backend(std::move(backend_));
  plan_ = plan_memory(
      memory_needs(config, file_.file_bytes(), *backend_, options.cache_types, batch_, logits_tokens_),
      context, config.max_position_embeddings, available_);
  // Only now that there is room for it: a mapped file is not read before it is used.
  if (!options.mmap) file_ = SpqrFile::open(options.model, {.mmap = false, .verify = options.verify});
  if (options.mmap && options.verify) file_.verify();
  if (options.mlock) file_.lock();
  weights_ = spqr::make_weight_source(file_);
  model_ = make_model(config, *weights_, *backend_, batch_, {});
  cache_ = std::make_unique<KvCache>(*backend_, config, plan_.context, options.cache_types);
  if (!file_.info().tokenizer_files.empty()) tokenizer_ = load_tokenizer(file_.info().tokenizer_files);
  const auto floats = [&](std::int64_t rows, std::int64_t cols) {
    return backend_->allocate(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols) *
                              sizeof(float));
  };
  activations_ = floats(batch_, config.hidden_size);
  logits_ = floats(logits_tokens_, config.vocab_size);
  host_logits_.resize(static_cast<std::size_t>(logits_tokens_ * config.vocab_size));
  load_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

void Session::rewind(std::int64_t tokens) {
  if (tokens < 0 || tokens > length()) {
    throw std::invalid_argument(
        fmt::format("cannot rewind to {} tokens, the sequence has {}", tokens, length()));
  }
  cache_->set_length(tokens);
  ids_.resize(static_cast<std::size_t>(tokens));
}

std::span<const std::int32_t> Session::rewind_to(std::span<const std::int32_t> ids) {
  if (ids.empty()) return ids;
  const auto held = static_cast<std::size_t>(std::ranges::mismatch(ids_, ids).in1 - ids_.begin());
  const std::size_t common = std::min(held, ids.size() - 1);
  rewind(static_cast<std::int64_t>(common));
  return ids.subspan(common);
}

void Session::adopt(std::vector<std::int32_t> ids) {
  cache_->set_length(static_cast<std::int64_t>(ids.size()));
  ids_ = std::move(ids);
}

void Session::run_blocks(std::span<const std::int32_t> ids, const StopCheck& stop,
                         const std::function<void(Matrix x, std::int64_t first, bool last)>& each) {
  const auto total = static_cast<std::int64_t>(ids.size());
  if (total > context() - length()) {
    throw std::out_of_range(
        fmt::format("{} tokens after {} do not fit a context of {}", total, length(), context()));
  }
  for (std::int64_t first = 0; first < total; first += batch_) {
    const std::int64_t tokens = std::min(batch_, total - first);
    const Matrix x = activations_.matrix(tokens, config().hidden_size);
    const auto batch = ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(tokens));
    model_->embed(x, batch);
    for (std::int64_t l = 0; l < config().num_hidden_layers; ++l) {
      if (stop && stop()) throw Interrupted();
      model_->block(l, x, cache_->layer(l), length());
    }
    cache_->set_length(length() + tokens);
    ids_.insert(ids_.end(), batch.begin(), batch.end());
    each(x, first, first + tokens == total);
  }
}

std::span<const float> Session::forward(std::span<const std::int32_t> ids, const StopCheck& stop) {
  if (ids.empty()) throw std::invalid_argument("no tokens to evaluate");
  const std::int64_t vocab = config().vocab_size;
  run_blocks(ids, stop, [&](Matrix x, std::int64_t, bool last) {
    if (!last) return;
    const Matrix row{x.data + (x.rows - 1) * x.cols, 1, x.cols};
    model_->head(logits_.matrix(1, vocab), row);
    backend_->download(host_logits_.data(), logits_.data(), static_cast<std::size_t>(vocab) * sizeof(float));
  });
  return {host_logits_.data(), static_cast<std::size_t>(vocab)};
}

void Session::visit_logits(std::span<const std::int32_t> ids,
                           const std::function<void(Matrix logits, std::int64_t first)>& visit,
                           const StopCheck& stop) {
  const std::int64_t vocab = config().vocab_size;
  run_blocks(ids, stop, [&](Matrix x, std::int64_t first, bool) {
    for (std::int64_t t = 0; t < x.rows; t += logits_tokens_) {
      const std::int64_t rows = std::min(logits_tokens_, x.rows - t);
      model_->head(logits_.matrix(rows, vocab), {x.data + t * x.cols, rows, x.cols});
      backend_->download(host_logits_.data(), logits_.data(),
                         static_cast<std::size_t>(rows * vocab) * sizeof(float));
      visit({host_logits_.data(), rows, vocab}, first + t);
    }
  });
}

}  // namespace spqr
