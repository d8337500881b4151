// What the quantizers need to know of a matrix's inputs.   Source: arXiv 2306.03078, section 3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace spqr {

// H = 2/N sum x x^T over N tokens.  f32; sums of one call to add() in tiles of fixed size, whatever the
// threads.
class SecondMoments {
 public:
  explicit SecondMoments(std::int64_t n) : n_(n), sum_(static_cast<std::size_t>(n * n)) {}

  // x (tokens, n), row-major.
  void add(const float* x, std::int64_t tokens);
  std::int64_t n() const { return n_; }
  std::int64_t tokens() const { return tokens_; }
  // H (n, n), symmetric. Ends the accumulation.
  std::vector<float> take();

  // What add() takes on its way.
  static std::size_t scratch_bytes(std::int64_t n, std::int64_t tokens);

 private:
  std::int64_t n_;
  std::int64_t tokens_ = 0;
  std::vector<float> sum_;  // (n, n), of which the upper triangle is filled
};

}  // namespace spqr
