#include "runtime/session.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "runtime/memory_plan.h"

namespace spqr {
namespace {

ModelConfig session_config(const SpqrFile& file, const SessionOptions& options) {
  ModelConfig config = parse_config(file.info().config_json, options.model.string());
  if (options.beyond_maximum)
    config.max_position_embeddings = std::max(config.max_position_embeddings, options.context);
  return config;
}

StageSizes session_sizes(const ModelConfig& config, const SessionOptions& options) {
  const std::int64_t context = std::min(options.context, config.max_position_embeddings);
  return {.context = context,
          // No larger than what can be asked of it, or small contexts would pay for large batches.
          .batch = std::min(options.batch, context > 0 ? context : config.max_position_embeddings),
          .logits_tokens = options.logits_tokens,
          .cache_types = options.cache_types};
}

}  // namespace

Session::Session(const SessionOptions& options)
    : begin_(std::chrono::steady_clock::now()),
      available_(available_memory()),
      file_(SpqrFile::open(options.model, {.mmap = true, .verify = false})),
      config_(session_config(file_, options)),
      sizes_(session_sizes(config_, options)) {
  plan(options);
  // Only now that there is room for it: a mapped file is not read before it is used.
  if (!options.mmap) file_ = SpqrFile::open(options.model, {.mmap = false, .verify = options.verify});
  if (options.mmap && options.verify) file_.verify();
  if (options.mlock) file_.lock();
  load();
  if (!file_.info().tokenizer_files.empty()) tokenizer_ = load_tokenizer(file_.info().tokenizer_files);
  host_logits_.resize(static_cast<std::size_t>(sizes_.logits_tokens * config_.vocab_size));
  load_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

std::unique_ptr<Backend> Session::make(const SessionOptions& options, std::string_view name) {
  BackendOptions asked{options.threads, options.activations, options.isa};
  if (options.uploaded) {
    asked.uploaded = [this, uploaded = options.uploaded](std::size_t bytes) {
      uploaded(bytes, plan_.stages.back().weights);
    };
  }
  auto backend = make_backend(name, asked);
  return options.wrap_backend ? options.wrap_backend(std::move(backend)) : std::move(backend);
}

void Session::plan(const SessionOptions& options) {
  const bool no_gpu = options.gpu_layers == 0 && options.backend != "reference";
  auto backend = make(options, no_gpu ? "cpu" : options.backend);
  const auto parts = cut_model(config_, backend->free_memory() ? options.gpu_layers : std::nullopt);
  if (parts.size() > 1) backends_.push_back(make(options, "cpu"));
  backends_.push_back(std::move(backend));
  std::vector<StagePlace> places;
  for (std::size_t i = 0; i < parts.size(); ++i)
    places.push_back(place_on(*backends_[i], parts[i], available_));
  const auto source = spqr::make_weight_source(file_);
  const PlannedModel model{config_, *source, file_.file_bytes(), sizes_};
  plan_ = plan_model(model, places);
  if (const std::string refusal = refusal_of(plan_, model); !refusal.empty())
    throw std::runtime_error(refusal);
  sizes_.context = plan_.context;
}

void Session::load() {
  weights_ = spqr::make_weight_source(file_);
  for (std::size_t i = 0; i < backends_.size(); ++i) {
    const StagePlan& planned = plan_.stages[i];
    Backend& backend = *backends_[i];
    keeps_logits_ = backend.free_memory().has_value();
    const LargestShapes largest = largest_shapes(config_, sizes_.batch);
    if (keeps_logits_) backend.reserve(planned.reserved() - backend.scratch_bytes(largest), largest);
    stages_.add(std::make_unique<Stage>(backend, config_, *weights_, planned.place.parts, sizes_));
  }
}

std::string Session::backend_name() const {
  std::string name;
  for (const auto& backend : backends_) name.append(name.empty() ? "" : "+").append(backend->name());
  return name;
}

void Session::rewind(std::int64_t tokens) {
  if (tokens < 0 || tokens > length()) {
    throw std::invalid_argument(
        fmt::format("cannot rewind to {} tokens, the sequence has {}", tokens, length()));
  }
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
  if (static_cast<std::int64_t>(ids.size()) > context()) {
    throw std::invalid_argument(
        fmt::format("a KV cache for {} tokens cannot hold {}: the context is full", context(), ids.size()));
  }
  ids_ = std::move(ids);
}

void Session::for_batches(std::span<const std::int32_t> ids,
                          const std::function<void(std::span<const std::int32_t> batch)>& pass,
                          const std::function<void(std::int64_t first)>& done) {
  const auto total = static_cast<std::int64_t>(ids.size());
  if (total > context() - length()) {
    throw std::out_of_range(
        fmt::format("{} tokens after {} do not fit a context of {}", total, length(), context()));
  }
  for (std::int64_t first = 0; first < total; first += sizes_.batch) {
    const std::int64_t tokens = std::min(sizes_.batch, total - first);
    const auto batch = ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(tokens));
    pass(batch);
    ids_.insert(ids_.end(), batch.begin(), batch.end());
    if (done) done(first);
  }
}

Matrix Session::evaluate(std::span<const std::int32_t> ids, const StopCheck& stop) {
  if (ids.empty()) throw std::invalid_argument("no tokens to evaluate");
  for_batches(ids, [&](std::span<const std::int32_t> batch) {
    if (batch.data() + batch.size() == ids.data() + ids.size()) {
      stages_.pass_to_logits(batch, length(), stop);
    } else {
      stages_.pass(batch, length(), stop);
    }
  });
  return stages_.last().logits(1);
}

std::span<const float> Session::forward(std::span<const std::int32_t> ids, const StopCheck& stop) {
  const Matrix logits = evaluate(ids, stop);
  const auto vocab = static_cast<std::size_t>(logits.cols);
  stages_.last().backend().download(host_logits_.data(), logits.data, vocab * sizeof(float));
  return {host_logits_.data(), vocab};
}

std::vector<TokenLogit> Session::forward_to_largest(std::span<const std::int32_t> ids, std::int64_t count,
                                                    const StopCheck& stop) {
  const Matrix logits = evaluate(ids, stop);
  return stages_.last().backend().largest(logits, count);
}

void Session::visit_logits(std::span<const std::int32_t> ids,
                           const std::function<void(Matrix logits, std::int64_t first)>& visit,
                           const StopCheck& stop) {
  Matrix x;
  const auto pass = [&](std::span<const std::int32_t> batch) { x = stages_.pass(batch, length(), stop); };
  for_batches(ids, pass, [&](std::int64_t first) {
    visit_head(x, [&](Matrix logits, std::int64_t row) { visit(logits, first + row); });
  });
}

void Session::visit_head(Matrix x, const std::function<void(Matrix logits, std::int64_t first)>& visit) {
  for (std::int64_t t = 0; t < x.rows; t += sizes_.logits_tokens) {
    const std::int64_t rows = std::min(sizes_.logits_tokens, x.rows - t);
    const Matrix logits = stages_.head({x.data + t * x.cols, rows, x.cols});
    stages_.last().backend().download(host_logits_.data(), logits.data,
                                      static_cast<std::size_t>(rows * logits.cols) * sizeof(float));
    visit({host_logits_.data(), rows, logits.cols}, t);
  }
}

void Session::visit_branches(std::span<const Branch> branches, std::span<const std::int64_t> wanted,
                             const std::function<void(Matrix logits, std::int64_t first)>& visit,
                             const StopCheck& stop) {
  const BranchTape tape(branches, context());
  rewind(0);
  std::size_t seen = 0;  // of wanted
  for (std::int64_t first = 0; first < tape.tokens(); first += sizes_.batch) {
    const std::int64_t tokens = std::min(sizes_.batch, tape.tokens() - first);
    const Matrix x = stages_.pass(tape.ids(first, tokens), tape.positions(first, tokens), stop);
    std::vector<std::int64_t> rows;
    for (std::size_t i = seen; i < wanted.size() && wanted[i] < first + tokens; ++i)
      rows.push_back(wanted[i] - first);
    if (rows.empty()) continue;
    const auto before = static_cast<std::int64_t>(seen);
    visit_head(gather(x, rows), [&](Matrix logits, std::int64_t row) { visit(logits, before + row); });
    seen += rows.size();
  }
}

Matrix Session::gather(Matrix x, std::span<const std::int64_t> rows) {
  Backend& backend = stages_.last().backend();
  const auto cols = static_cast<std::size_t>(x.cols);
  host_rows_.resize(static_cast<std::size_t>(x.rows) * cols);
  backend.download(host_rows_.data(), x.data, host_rows_.size() * sizeof(float));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    // Rows move up: none is overwritten before it has been moved.
    std::copy_n(host_rows_.begin() + rows[i] * x.cols, cols,
                host_rows_.begin() + static_cast<std::ptrdiff_t>(i * cols));
  }
  backend.upload(x.data, host_rows_.data(), rows.size() * cols * sizeof(float));
  return {x.data, static_cast<std::int64_t>(rows.size()), x.cols};
}

}  // namespace spqr
