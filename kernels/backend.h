// The one seam between a model's maths and the machine: memory and about a dozen operations.
// All activations are f32, row-major, a row per token, in the backend's own memory (Buffer). Operations may
// be queued; synchronize() or download() waits. `reference` is scalar with double accumulation and defines
// every operation; `cpu` and others are compared with it. Calls on one backend come from one thread at a
// time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/activation_type.h"
#include "kernels/cache_type.h"
#include "kernels/linear.h"
#include "kernels/tensor.h"

namespace spqr {

// Memory of a backend, released with it. 64-byte aligned.
class Buffer {
 public:
  Buffer() = default;
  Buffer(void* data, std::size_t bytes, void (*release)(void*)) : data_(data, release), bytes_(bytes) {}
  void* data() const { return data_.get(); }
  std::size_t bytes() const { return bytes_; }
  Matrix matrix(std::int64_t rows, std::int64_t cols) const {
    return {static_cast<float*>(data()), rows, cols};
  }

 private:
  std::unique_ptr<void, void (*)(void*)> data_{nullptr, nullptr};
  std::size_t bytes_ = 0;
};

// Keys or values of one layer: (kv_heads, capacity) rows of head_dim values; position p of the sequence is at
// row p.
struct CachedRows {
  std::byte* data = nullptr;
  CacheType type = CacheType::f16;
};

// One layer of the KV cache.
struct KvLayer {
  CachedRows k, v;
  std::int64_t kv_heads = 0;
  std::int64_t capacity = 0;
  std::int64_t head_dim = 0;

  std::int64_t row_bytes(const CachedRows& rows) const { return cache_row_bytes(rows.type, head_dim); }
  std::byte* row(const CachedRows& rows, std::int64_t kv_head, std::int64_t position) const {
    return rows.data + (kv_head * capacity + position) * row_bytes(rows);
  }
};

// Rotary embedding, half-split pairs (i, i + head_dim / 2) as in Hugging Face. inverse_frequency (head_dim /
// 2) f32; angle = position * inverse_frequency[i]. Empty: nothing is rotated.
struct Rope {
  std::span<const float> inverse_frequency;
};

struct AttentionShape {
  std::int64_t heads = 0;  // query heads; query head h reads kv head h / (heads / kv_heads)
  std::int64_t head_dim = 0;
  float scale = 1;  // of the scores, normally 1 / sqrt(head_dim)
  std::int64_t sliding_window =
      0;  // a token sees itself and the sliding_window - 1 before it; 0: all before it
  // (heads, positions), in the backend's memory: alibi[h][p] is added to the scaled score of cache row p, for
  // all rows that are visible. No data: nothing is added. What tells positions apart where nothing is
  // rotated: ALiBi, arXiv 2108.12409.
  Matrix alibi = {};
};

// The largest that a model asks of the operations at once.
struct LargestShapes {
  std::int64_t tokens = 0;
  std::int64_t in_features = 0;   // n of a linear
  std::int64_t heads = 0;         // query heads; 0: there is no attention
  std::int64_t heads_per_kv = 0;  // that share a kv head
  std::int64_t head_dim = 0;
  std::int64_t vocabulary = 0;  // logits of a token
};

struct TokenLogit {
  std::int32_t id = 0;
  float logit = 0;
};

class CountingBackend;

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  // Bytes that the operations take beside their arguments, at most, for all threads together.
  virtual std::size_t scratch_bytes(const LargestShapes& largest) const = 0;

  // Bytes that are free of this backend's own memory; nothing: it works in the host's.
  virtual std::optional<std::size_t> free_memory() const { return std::nullopt; }
  // Bytes per second that reading this memory reaches, measured now; nothing: it works in the host's, or
  // there is too little to measure with.
  virtual std::optional<double> read_bandwidth() { return std::nullopt; }
  // A backend that takes the same memory for the same calls of allocate() and place(), and has none and
  // computes nothing: what calls take is known before they are made. Null where free_memory() is nothing.
  virtual std::unique_ptr<CountingBackend> counting() const { return nullptr; }
  // Takes its own memory at once: `bytes` for what allocate() and place() will give out, as counting() has
  // counted them, and scratch_bytes(largest). Without it memory is taken call by call. Throws std::bad_alloc.
  virtual void reserve(std::size_t /*bytes*/, const LargestShapes& /*largest*/) {}

  // Throws std::bad_alloc where there is no memory. Contents are undefined.
  virtual Buffer allocate(std::size_t bytes) = 0;
  virtual void upload(void* destination, const void* source, std::size_t bytes) = 0;
  virtual void download(void* destination, const void* source, std::size_t bytes) = 0;
  virtual void synchronize() = 0;

  // Makes weights usable by this backend. The CPU backends use host memory in place and return their
  // argument; the caller keeps the host memory alive for as long as the model.
  virtual Linear place(const Linear& weight) = 0;
  virtual Norm place(const Norm& norm) = 0;
  virtual LinearGroup place(const LinearGroup& group) = 0;
  virtual Rope place(const Rope& rope) = 0;

  // x (tokens, hidden): row t becomes row ids[t] of table (vocab, hidden).
  virtual void embed(Matrix x, const Linear& table, std::span<const std::int32_t> ids) = 0;

  // y = norm(x), row by row. y may be x.   per_head: a row is a sequence of vectors of norm.weight.size()
  // each, normalised one by one (Qwen3's q_norm and k_norm).
  virtual void rms_norm(Matrix y, Matrix x, const Norm& norm) = 0;

  // y = norm(x) with a mean and a bias, row by row. x (tokens, norm.weight.size()); y may be x.
  virtual void layer_norm(Matrix y, Matrix x, const Norm& norm) = 0;

  // Whichever of the two it is.
  void normalize(Matrix y, Matrix x, const Norm& norm) {
    norm.is_layer_norm() ? layer_norm(y, x, norm) : rms_norm(y, x, norm);
  }

  // ys[i] = W_i norm(x) + b_i for every member of the group; norm may be null. x (tokens, n), ys[i] (tokens,
  // m_i).
  virtual void linear_group(std::span<const Matrix> ys, const LinearGroup& group, Matrix x,
                            const Norm* norm) = 0;

  // x += W a + b; `weight` has one member.   x (tokens, m), a (tokens, n)
  virtual void linear_add(Matrix x, const LinearGroup& weight, Matrix a) = 0;

  // Rotates q (tokens, heads * head_dim) and k (tokens, kv_heads * head_dim) in place for positions
  // first .. first + tokens - 1 and stores k and v at these rows of the cache.
  virtual void rope_append(Matrix q, Matrix k, Matrix v, const Rope& rope, const KvLayer& cache,
                           std::int64_t first) = 0;

  // out (tokens, heads * head_dim) = causal softmax attention of q over cache rows 0 .. first + t for token
  // t.
  virtual void attention(Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
                         const AttentionShape& shape) = 0;

  // h = silu(gate) * up, elementwise; h may be gate.
  virtual void swiglu(Matrix h, Matrix gate, Matrix up) = 0;

  // h = x Phi(x), elementwise, with the distribution function of the normal distribution: the exact GELU, not
  // the one with tanh; h may be x.
  virtual void gelu(Matrix h, Matrix x) = 0;

  // The `count` largest of logits (1, n), the largest first, of equal ones the one with the smaller id; NaN
  // counts as larger than all. Waits for them. 1 <= count <= min(n, kMostCandidates).
  static constexpr std::int64_t kMostCandidates = 128;
  virtual std::vector<TokenLogit> largest(Matrix logits, std::int64_t count) = 0;

  // Runs `step`: the operations of a forward pass of one token `id` at position `first` of the sequence,
  // which are the same ones on the same memory at every call but for these two numbers. A backend may record
  // what they come to and run the record at the next call instead. `step` neither uploads nor downloads.
  virtual void decode(std::int32_t /*id*/, std::int64_t /*first*/, const std::function<void()>& step) {
    step();
  }
};

class CountingBackend : public Backend {
 public:
  virtual std::size_t bytes() const = 0;  // taken so far, with what alignment costs
};

struct BackendOptions {
  int threads = 0;  // 0: one per core that this process may run on
  // Of products with packed weights; where f32 is as fast, and in `reference`, it is f32 in any case.
  ActivationType activations = ActivationType::automatic;
  std::string_view isa = "auto";  // `cpu`: a name of kernels/cpu/isa.h
  // `cuda`: called with the bytes of weights that are on the device so far.
  std::function<void(std::size_t bytes)> uploaded = {};
};

// "cuda", "cpu" or "reference"; "auto" is the fastest that is present, which an emulated GPU never is. Throws
// std::invalid_argument for another name, std::runtime_error with the reason where there is no such device.
std::unique_ptr<Backend> make_backend(std::string_view name, const BackendOptions& options);
// What "auto" is here.
std::string_view fastest_backend();
// Names of those that are present here, best first.
std::vector<std::string> backend_names();
// All names, present or not.
std::span<const std::string_view> known_backends();

}  // namespace spqr
