// The operations of the cpu backend that are more than a loop over vector_kernels.h. Shapes are those of
// backend.h. Work is shared among threads (threads.h); results do not depend on their number.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/grown.h"
#include "kernels/cpu/kernel_tables.h"
#include "kernels/cpu/panels.h"
#include "kernels/cpu/spqr_input.h"

namespace spqr::cpu {

// What threads write on their way: a piece for each, grown on demand and kept, so that decoding allocates
// nothing. What an operation asks for at most is in its ..._floats().
class ThreadMemory {
 public:
  explicit ThreadMemory(int threads) : pieces_(static_cast<std::size_t>(threads)) {}
  // Makes every piece at least `floats` long; outside of parallel regions, where an exception may leave.
  void reserve(std::int64_t floats) {
    for (Growing<float>& piece : pieces_) grown(piece, floats);
  }
  // The calling thread's piece, with whatever is in it.
  float* mine();

 private:
  std::vector<Growing<float>> pieces_;
};

// What operations compute with.
struct Execution {
  const KernelTables& kernels;
  ThreadMemory& memory;
  Growing<float>& shared;  // what all threads write together (grown())
};

// ys[i] (+)= W_i x + b_i for all members.   x (tokens, n) for dense weights, `permuted` is it in the stored
// column order of the packed ones.
struct LinearJob {
  std::span<const Matrix> ys;
  std::span<const Linear> members;
  Matrix x;
  Matrix permuted;
  Store store = Store::overwrite;
  ActivationType activations = ActivationType::f32;
};
// x (tokens, pairs), see bf16_kernels.h.
struct Bf16Input {
  Growing<std::uint32_t> memory;
  std::int64_t tokens = 0, pairs = 0;
};
// x as the kernels of packed weights read it; keeps its memory from call to call.
struct LinearInputs {
  SpqrInput few;
  Bf16Input bf16, split;
  static std::int64_t most_floats(const KernelTables& kernels, std::int64_t n, std::int64_t tokens);
};
void linear(const Execution& run, const LinearJob& job, LinearInputs& inputs);
// Of each thread, for n inputs.
std::int64_t linear_floats(const KernelTables& kernels, std::int64_t n, std::int64_t tokens);

// The pieces of linear() for many tokens; x of packed weights in their stored column order.
void linear_tiles(const Execution& run, Matrix y, const Linear& weight, Matrix x, Store store);
void narrow(const Bf16Kernels& kernels, Matrix x, Bf16Input& out);
void split(const Bf16Kernels& kernels, Matrix x, Bf16Input& out);
void linear_tiles_split(const Execution& run, Matrix y, const Linear& weight, Bf16Input& x, Store store);
void linear_tiles_bf16(const Execution& run, Matrix y, const Linear& weight, Bf16Input& x, Store store);
std::int64_t tile_floats(std::int64_t n);

// Rows [first, first + rows) of a weight, f32 (rows, n), in the stored column order. On the calling thread if
// the weight is dense.
void weight_rows(const KernelTables& kernels, const Linear& weight, std::int64_t first, std::int64_t rows,
                 float* out);

// cos and sin of position * inverse_frequency[i] for positions 0 .. positions() - 1; grows on demand.
class RopeTable {
 public:
  // Makes room for positions < `positions` of these frequencies (a change of frequencies starts anew).
  void prepare(const Rope& rope, std::int64_t positions);
  const float* cosines(std::int64_t position) const { return cosines_.data() + position * half_; }
  const float* sines(std::int64_t position) const { return sines_.data() + position * half_; }

 private:
  std::vector<float> inverse_frequency_, cosines_, sines_;
  std::int64_t half_ = 0;
};

void rope(Matrix x, const RopeTable& table, std::int64_t head_dim, std::int64_t first);
void append(const KvLayer& cache, Matrix k, Matrix v, std::int64_t first);
void attention(const Execution& run, Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
               const AttentionShape& shape);
// Of each thread, and of all together.
std::int64_t attention_floats(const LargestShapes& largest);
std::int64_t attention_shared_floats(const LargestShapes& largest);

}  // namespace spqr::cpu
