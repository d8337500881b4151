// Causal softmax attention over the KV cache, a block of queries against a block of keys at a time with a
// running maximum and sum, so that scores never leave the cache.   Source: arXiv 2205.14135 (FlashAttention).
// A task is one kv head and some tokens: the query heads that share the kv head are rows of one matrix
// product. Keys and values are cut into panels once a task. Where there would be fewer tasks than threads
// the keys are split too, and what comes of their parts is put together at the end ("flash decoding").
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/operations.h"
#include "kernels/half.h"
#include "kernels/threads.h"

namespace spqr::cpu {
namespace {

// Tokens of a task at most, and rows that are enough for a matrix product.
constexpr std::int64_t kQueryTokens = 96;
constexpr std::int64_t kTaskRows = 192;
constexpr std::int64_t kKeys = 128;
// Tokens whose weighted sums end at the same key: the first of them see as many keys fewer, for nothing.
constexpr std::int64_t kSumTokens = 24;
// With fewer query rows than this a matrix product costs more than dot products do: keys would have to be
// transposed. Fewer keys at once then stay in the first-level cache, widened.
constexpr std::int64_t kFewRows = 12;
constexpr std::int64_t kFewRowsFloats = 4096;
// With fewer tasks than this keys are split, into so many parts of at least so many keys.
constexpr std::int64_t kEnoughTasks = 64;
constexpr std::int64_t kMostSplits = 16;
constexpr std::int64_t kSplitKeys = 512;

std::int64_t first_visible(const AttentionShape& shape, std::int64_t position) {
  return shape.sliding_window > 0 ? std::max<std::int64_t>(0, position + 1 - shape.sliding_window) : 0;
}

struct Task {
  const VectorKernels& kernels;
  const KvLayer& cache;
  const AttentionShape& shape;
  std::int64_t kv_head;
  std::int64_t heads_per_kv;
  std::int64_t first_position;  // of the task's first token
  std::int64_t tokens;
  std::int64_t first_key, end_key;  // that it looks at

  std::int64_t keys_at_once() const {
    return rows() < kFewRows ? std::clamp<std::int64_t>(kFewRowsFloats / shape.head_dim / 16 * 16, 16, kKeys)
                             : kKeys;
  }
  std::int64_t rows() const { return tokens * heads_per_kv; }
  std::int64_t position(std::int64_t row) const { return first_position + row / heads_per_kv; }
  std::int64_t head(std::int64_t row) const { return kv_head * heads_per_kv + row % heads_per_kv; }
  std::int64_t first_visible(std::int64_t position) const {
    return spqr::cpu::first_visible(shape, position);
  }
};

// A task's part of its thread's memory.
struct Scratch {
  float *queries, *output;  // (rows, head_dim)
  float* scores;            // (rows, kKeys)
  float* widened;           // (kKeys, head_dim)
  float* panels;            // of keys or values
  float *maxima, *sums;     // (rows)

  static std::int64_t floats(std::int64_t rows, std::int64_t head_dim) {
    return 2 * rows * head_dim + rows * kKeys + kKeys * head_dim + panels_floats(head_dim) + 2 * rows;
  }
  static std::int64_t panels_floats(std::int64_t head_dim) {
    return std::max(panel_floats(head_dim, kKeys), panel_floats(kKeys, head_dim));
  }
  Scratch(float* memory, std::int64_t rows, std::int64_t head_dim)
      : queries(memory),
        output(queries + rows * head_dim),
        scores(output + rows * head_dim),
        widened(scores + rows * kKeys),
        panels(widened + kKeys * head_dim),
        maxima(panels + panels_floats(head_dim)),
        sums(maxima + rows) {}
};

// Rows begin .. begin + count of the kv head as f32: the cache itself, or a widened copy in `scratch`.
const float* widen(const Task& task, const CachedRows& rows, std::int64_t begin, std::int64_t count,
                   float* scratch) {
  const std::byte* from = task.cache.row(rows, task.kv_head, begin);
  if (rows.type == CacheType::f32) return reinterpret_cast<const float*>(from);
  if (rows.type == CacheType::f16) {
    task.kernels.widen_f16(reinterpret_cast<const std::uint16_t*>(from), count * task.cache.head_dim,
                           scratch);
  } else {
    task.kernels.widen_q8_0(from, count, task.cache.head_dim, scratch);
  }
  return scratch;
}

// scores (rows, kKeys) = queries keys^T for the keys begin .. begin + count, as far as rows see them
void score(const Task& task, const Scratch& scratch, const float* keys, std::int64_t begin,
           std::int64_t count) {
  const std::int64_t d = task.shape.head_dim;
  if (task.rows() < kFewRows) {
    for (std::int64_t r = 0; r < task.rows(); ++r) {
      task.kernels.dot_rows(keys, count, scratch.queries + r * d, scratch.scores + r * kKeys, d);
    }
    return;
  }
  const Panels panels = pack_transposed(task.kernels, scratch.panels, keys, d, count);
  constexpr std::int64_t kKeysAtOnce = 2 * kPanelCols;
  for (std::int64_t key = 0; key < count; key += kKeysAtOnce) {
    const std::int64_t blind =
        std::max<std::int64_t>(0, begin + key - task.first_position) * task.heads_per_kv;
    if (blind >= task.rows()) break;
    multiply(task.kernels.multiply_panels, {scratch.scores + blind * kKeys + key, kKeys},
             {scratch.queries + blind * d, d}, task.rows() - blind,
             columns(panels, key, std::min(kKeysAtOnce, count - key)), {0, d}, Store::overwrite);
  }
}

void accumulate_few(const Task& task, const Scratch& scratch, const float* values, std::int64_t count) {
  constexpr std::int64_t kProductRows = 3;  // one or two keep too few sums on their way
  const std::int64_t d = task.shape.head_dim;
  if (task.rows() >= kProductRows && d % kPanelCols == 0) {
    task.kernels.multiply_panels({.a = scratch.scores,
                                  .stride_a = kKeys,
                                  .panels = values,
                                  .panel_stride = kPanelCols,
                                  .panel_step = d,
                                  .depth = count,
                                  .c = scratch.output,
                                  .stride_c = d,
                                  .rows = task.rows(),
                                  .cols = d,
                                  .add = true});
    return;
  }
  for (std::int64_t r = 0; r < task.rows(); ++r)
    task.kernels.add_rows(scratch.scores + r * kKeys, values, count, scratch.output + r * d, d);
}

// output += scores values for the same keys
void accumulate(const Task& task, const Scratch& scratch, const float* values, std::int64_t begin,
                std::int64_t count) {
  const std::int64_t d = task.shape.head_dim;
  if (task.rows() < kFewRows) {
    accumulate_few(task, scratch, values, count);
    return;
  }
  const Panels panels = pack(scratch.panels, values, count, d);
  for (std::int64_t t = 0; t < task.tokens; t += kSumTokens) {
    const std::int64_t tokens = std::min(kSumTokens, task.tokens - t);
    const std::int64_t seen = std::min(count, task.first_position + t + tokens - begin);
    if (seen <= 0) continue;
    const std::int64_t row = t * task.heads_per_kv;
    multiply(task.kernels.multiply_panels, {scratch.output + row * d, d},
             {scratch.scores + row * kKeys, kKeys}, tokens * task.heads_per_kv, panels, {0, seen},
             Store::add);
  }
}

// Scales a row's scores of the keys begin .. begin + count and adds what their positions add; returns the
// largest.
float scale_scores(const Task& task, float* scores, std::int64_t row, std::int64_t begin,
                   std::int64_t count) {
  const Matrix& alibi = task.shape.alibi;
  if (alibi.data == nullptr) return task.kernels.scale_max(task.shape.scale, scores, count);
  const float* added = alibi.data + task.head(row) * alibi.cols + begin;
  return task.kernels.scale_add_max(task.shape.scale, added, scores, count);
}

// Turns the raw scores of keys begin .. begin + count into weights relative to the running maximum.
void soften(const Task& task, const Scratch& scratch, std::int64_t begin, std::int64_t count) {
  const VectorKernels& kernels = task.kernels;
  const std::int64_t d = task.shape.head_dim;
  for (std::int64_t r = 0; r < task.rows(); ++r) {
    float* scores = scratch.scores + r * kKeys;
    const std::int64_t position = task.position(r);
    const std::int64_t from = std::clamp<std::int64_t>(task.first_visible(position) - begin, 0, count);
    const std::int64_t to = std::clamp<std::int64_t>(position + 1 - begin, from, count);
    std::fill(scores, scores + from, 0.0F);
    std::fill(scores + to, scores + count, 0.0F);
    if (from == to) continue;
    float& maximum = scratch.maxima[r];
    float& sum = scratch.sums[r];
    const float found = scale_scores(task, scores + from, r, begin + from, to - from);
    if (found > maximum) {
      const float shrink = std::exp(maximum - found);
      sum *= shrink;
      kernels.scale(shrink, scratch.output + r * d, d);
      maximum = found;
    }
    sum += kernels.exp_sum(maximum, scores + from, to - from);
  }
}

// The task's rows: output as weighted sums, with maxima and sums to go with them.
void attend(const Task& task, const Scratch& scratch, const float* q, std::int64_t width) {
  const std::int64_t d = task.shape.head_dim;
  std::fill_n(scratch.output, task.rows() * d, 0.0F);
  std::fill_n(scratch.maxima, task.rows(), -std::numeric_limits<float>::infinity());
  std::fill_n(scratch.sums, task.rows(), 0.0F);
  const std::int64_t row_floats = task.heads_per_kv * d;  // the kv head's query heads lie side by side
  for (std::int64_t t = 0; t < task.tokens; ++t) {
    std::memcpy(scratch.queries + t * row_floats, q + t * width + task.kv_head * row_floats,
                static_cast<std::size_t>(row_floats) * sizeof(float));
  }
  const std::int64_t keys = task.keys_at_once();
  for (std::int64_t p = task.first_key; p < task.end_key; p += keys) {
    const std::int64_t count = std::min(keys, task.end_key - p);
    score(task, scratch, widen(task, task.cache.k, p, count, scratch.widened), p, count);
    soften(task, scratch, p, count);
    accumulate(task, scratch, widen(task, task.cache.v, p, count, scratch.widened), p, count);
  }
}

void store_rows(const Task& task, const Scratch& scratch, float* out, std::int64_t width) {
  const std::int64_t d = task.shape.head_dim;
  for (std::int64_t r = 0; r < task.rows(); ++r) {
    task.kernels.scale(1.0F / scratch.sums[r], scratch.output + r * static_cast<std::size_t>(d), d);
  }
  const std::int64_t row_floats = task.heads_per_kv * d;
  for (std::int64_t t = 0; t < task.tokens; ++t) {
    std::memcpy(out + t * width + task.kv_head * row_floats, scratch.output + t * row_floats,
                static_cast<std::size_t>(row_floats) * sizeof(float));
  }
}

// How rows and visible keys are cut, whatever the number of threads.
struct Tasks {
  std::int64_t tokens_at_once;
  std::int64_t blocks, kv_heads, splits;  // a task is one of each

  Tasks(std::int64_t tokens, std::int64_t kv_head_count, std::int64_t heads_per_kv)
      : tokens_at_once(std::clamp<std::int64_t>(kTaskRows / heads_per_kv, 1, kQueryTokens)),
        kv_heads(kv_head_count) {
    if (tokens_at_once > kSumTokens) tokens_at_once -= tokens_at_once % kSumTokens;
    blocks = (tokens + tokens_at_once - 1) / tokens_at_once;
    splits = std::clamp<std::int64_t>((kEnoughTasks + blocks * kv_heads - 1) / (blocks * kv_heads), 1,
                                      kMostSplits);
  }
  std::int64_t count() const { return blocks * kv_heads * splits; }
  // Of each split but the last; the number of splits becomes that of those which have some.
  std::int64_t cut(std::int64_t keys) {
    const std::int64_t part = (keys + splits - 1) / splits;
    const std::int64_t each = splits == 1 ? keys : std::max(kSplitKeys, (part + kKeys - 1) / kKeys * kKeys);
    splits = (keys + each - 1) / each;
    return each;
  }
};

// What tasks of different splits leave for their rows, which are numbered head by head of the kv heads.
struct Partial {
  std::int64_t splits, head_dim;
  float *outputs, *maxima, *sums;  // (rows, splits, head_dim), (rows, splits) twice

  static std::int64_t floats(std::int64_t rows, std::int64_t splits, std::int64_t head_dim) {
    return rows * splits * (head_dim + 2);
  }
  Partial(float* memory, std::int64_t rows, std::int64_t split_count, std::int64_t dim)
      : splits(split_count),
        head_dim(dim),
        outputs(memory),
        maxima(outputs + rows * splits * dim),
        sums(maxima + rows * splits) {}

  // first_row: the task's.
  void keep(const Task& task, const Scratch& scratch, std::int64_t first_row, std::int64_t split) const {
    for (std::int64_t r = 0; r < task.rows(); ++r) {
      const std::int64_t at = (first_row + r) * splits + split;
      std::memcpy(outputs + at * head_dim, scratch.output + r * head_dim,
                  static_cast<std::size_t>(head_dim) * sizeof(float));
      maxima[at] = scratch.maxima[r];
      sums[at] = scratch.sums[r];
    }
  }

  // out (head_dim) of a row; what is kept of it is overwritten.
  void combine(const VectorKernels& kernels, std::int64_t row, float* out) const {
    float* weights = maxima + row * splits;
    const float maximum = *std::max_element(weights, weights + splits);
    float sum = 0;
    for (std::int64_t s = 0; s < splits; ++s) {
      weights[s] = std::exp(weights[s] - maximum);
      sum += weights[s] * sums[row * splits + s];
    }
    std::fill_n(out, head_dim, 0.0F);
    kernels.add_rows(weights, outputs + row * splits * head_dim, splits, out, head_dim);
    kernels.scale(1.0F / sum, out, head_dim);
  }
};

}  // namespace

std::int64_t attention_floats(const LargestShapes& largest) {
  if (largest.heads == 0) return 0;
  const Tasks tasks(largest.tokens, largest.heads / largest.heads_per_kv, largest.heads_per_kv);
  return Scratch::floats(std::min(tasks.tokens_at_once, largest.tokens) * largest.heads_per_kv,
                         largest.head_dim);
}

std::int64_t attention_shared_floats(const LargestShapes& largest) {
  if (largest.heads == 0) return 0;
  std::int64_t most = 0;
  for (std::int64_t tokens = 1; tokens <= largest.tokens; ++tokens) {
    const Tasks tasks(tokens, largest.heads / largest.heads_per_kv, largest.heads_per_kv);
    if (tasks.splits == 1) break;  // and for more tokens too
    most = std::max(most, Partial::floats(tokens * largest.heads, tasks.splits, largest.head_dim));
  }
  return most;
}

void attention(const Execution& run, Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
               const AttentionShape& shape) {
  const std::int64_t heads_per_kv = shape.heads / cache.kv_heads;
  const std::int64_t kv_rows = q.rows * heads_per_kv;
  Tasks tasks(q.rows, cache.kv_heads, heads_per_kv);
  const std::int64_t first_key = first_visible(shape, first);
  const std::int64_t keys = tasks.cut(first + q.rows - first_key);
  const std::int64_t rows = q.rows * shape.heads;
  run.memory.reserve(attention_floats({q.rows, 0, shape.heads, heads_per_kv, shape.head_dim}));
  const bool split = tasks.splits > 1;
  float* shared = split ? grown(run.shared, Partial::floats(rows, tasks.splits, shape.head_dim)) : nullptr;
  const Partial partial(shared, rows, tasks.splits, shape.head_dim);
  parallel_for(tasks.count(), [&](std::int64_t i) {
    const std::int64_t part = i % tasks.splits;
    const std::int64_t kv_head = i / tasks.splits % cache.kv_heads;
    const std::int64_t block =
        tasks.blocks - 1 - i / tasks.splits / cache.kv_heads;  // the last see most keys
    const std::int64_t token = block * tasks.tokens_at_once;
    const std::int64_t tokens = std::min(tasks.tokens_at_once, q.rows - token);
    const std::int64_t begin = first_key + part * keys;
    const Task task{.kernels = run.kernels.vectors,
                    .cache = cache,
                    .shape = shape,
                    .kv_head = kv_head,
                    .heads_per_kv = heads_per_kv,
                    .first_position = first + token,
                    .tokens = tokens,
                    .first_key = std::max(begin, first_visible(shape, first + token)),
                    .end_key = std::min(first + token + tokens, begin + keys)};
    const Scratch scratch(run.memory.mine(), task.rows(), shape.head_dim);
    attend(task, scratch, q.data + token * q.cols, q.cols);
    if (split) return partial.keep(task, scratch, kv_head * kv_rows + token * heads_per_kv, part);
    store_rows(task, scratch, out.data + token * out.cols, out.cols);
  });
  if (!split) return;
  const auto combine = [&](std::int64_t row) {
    const std::int64_t token = row % kv_rows / heads_per_kv;
    const std::int64_t head = row / kv_rows * heads_per_kv + row % heads_per_kv;
    partial.combine(run.kernels.vectors, row, out.data + token * out.cols + head * shape.head_dim);
  };
  constexpr std::int64_t kWorthFloats = 100'000;
  parallel_for(rows, combine, rows * tasks.splits * shape.head_dim > kWorthFloats);
}

}  // namespace spqr::cpu
