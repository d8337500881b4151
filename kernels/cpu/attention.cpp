// Causal softmax attention over the KV cache, a block of queries against a block of keys at a time with a
// running maximum and sum, so that scores never leave the cache.   Source: arXiv 2205.14135 (FlashAttention).
// A task is one kv head and kQueryTokens tokens: the query heads that share the kv head are rows of one
// matrix product. Keys and values are cut into panels once a task. Reads the visible part of the cache once
// per task; tasks are shared among threads and do not depend on their number.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/operations.h"
#include "kernels/half.h"
#include "kernels/threads.h"

namespace spqr::cpu {
namespace {

constexpr std::int64_t kQueryTokens = 96;
constexpr std::int64_t kKeys = 128;
// Tokens whose weighted sums end at the same key: the first of them see as many keys fewer, for nothing.
constexpr std::int64_t kSumTokens = 24;
// With fewer query rows than this a matrix product costs more than dot products do.
constexpr std::int64_t kFewRows = 8;

struct Task {
  const VectorKernels& kernels;
  const KvLayer& cache;
  const AttentionShape& shape;
  std::int64_t kv_head;
  std::int64_t heads_per_kv;
  std::int64_t first_position;  // of the task's first token
  std::int64_t tokens;

  std::int64_t rows() const { return tokens * heads_per_kv; }
  std::int64_t position(std::int64_t row) const { return first_position + row / heads_per_kv; }
  std::int64_t head(std::int64_t row) const { return kv_head * heads_per_kv + row % heads_per_kv; }
  std::int64_t first_visible(std::int64_t position) const {
    return shape.sliding_window > 0 ? std::max<std::int64_t>(0, position + 1 - shape.sliding_window) : 0;
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
    f16_to_f32(reinterpret_cast<const std::uint16_t*>(from), scratch,
               static_cast<std::size_t>(count * task.cache.head_dim));
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
  for (std::int64_t key = 0; key < count; key += kPanelCols) {
    const std::int64_t blind =
        std::max<std::int64_t>(0, begin + key - task.first_position) * task.heads_per_kv;
    if (blind >= task.rows()) break;
    multiply(task.kernels.multiply_panels, {scratch.scores + blind * kKeys + key, kKeys},
             {scratch.queries + blind * d, d}, task.rows() - blind,
             columns(panels, key, std::min(kPanelCols, count - key)), {0, d}, Store::overwrite);
  }
}

// output += scores values for the same keys
void accumulate(const Task& task, const Scratch& scratch, const float* values, std::int64_t begin,
                std::int64_t count) {
  const std::int64_t d = task.shape.head_dim;
  if (task.rows() < kFewRows) {
    for (std::int64_t r = 0; r < task.rows(); ++r) {
      task.kernels.add_rows(scratch.scores + r * kKeys, values, count, scratch.output + r * d, d);
    }
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

void attend(const Task& task, const Scratch& scratch, float* out, const float* q, std::int64_t width) {
  const std::int64_t d = task.shape.head_dim;
  std::fill_n(scratch.output, task.rows() * d, 0.0F);
  std::fill_n(scratch.maxima, task.rows(), -std::numeric_limits<float>::infinity());
  std::fill_n(scratch.sums, task.rows(), 0.0F);
  const std::int64_t row_floats = task.heads_per_kv * d;  // the kv head's query heads lie side by side
  const std::int64_t offset = task.kv_head * row_floats;
  for (std::int64_t t = 0; t < task.tokens; ++t) {
    std::memcpy(scratch.queries + t * row_floats, q + t * width + offset,
                static_cast<std::size_t>(row_floats) * sizeof(float));
  }
  const std::int64_t end = task.first_position + task.tokens;
  for (std::int64_t p = task.first_visible(task.first_position); p < end; p += kKeys) {
    const std::int64_t count = std::min(kKeys, end - p);
    score(task, scratch, widen(task, task.cache.k, p, count, scratch.widened), p, count);
    soften(task, scratch, p, count);
    accumulate(task, scratch, widen(task, task.cache.v, p, count, scratch.widened), p, count);
  }
  for (std::int64_t r = 0; r < task.rows(); ++r) {
    task.kernels.scale(1.0F / scratch.sums[r], scratch.output + r * static_cast<std::size_t>(d), d);
  }
  for (std::int64_t t = 0; t < task.tokens; ++t) {
    std::memcpy(out + t * width + offset, scratch.output + t * row_floats,
                static_cast<std::size_t>(row_floats) * sizeof(float));
  }
}

}  // namespace

std::int64_t attention_floats(std::int64_t tokens, std::int64_t heads_per_kv, std::int64_t head_dim) {
  return Scratch::floats(std::min(kQueryTokens, tokens) * heads_per_kv, head_dim);
}

void attention(const Execution& run, Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
               const AttentionShape& shape) {
  const std::int64_t heads_per_kv = shape.heads / cache.kv_heads;
  const std::int64_t blocks = (q.rows + kQueryTokens - 1) / kQueryTokens;
  run.memory.reserve(attention_floats(q.rows, heads_per_kv, shape.head_dim));
  parallel_for(blocks * cache.kv_heads, [&](std::int64_t i) {
    const std::int64_t token = (blocks - 1 - i / cache.kv_heads) * kQueryTokens;  // the last see most keys
    const std::int64_t tokens = std::min(kQueryTokens, q.rows - token);
    const Task task{run.kernels.vectors, cache,         shape, i % cache.kv_heads,
                    heads_per_kv,        first + token, tokens};
    attend(task, Scratch(run.memory.mine(), task.rows(), shape.head_dim), out.data + token * out.cols,
           q.data + token * q.cols, q.cols);
  });
}

}  // namespace spqr::cpu
