#include "runtime/bench_work.h"

#include <algorithm>

namespace spqr {
namespace {

class Counter {
 public:
  Counter(const Session& session, std::int64_t length)
      : config_(session.config()),
        length_(length),
        cache_per_token_(static_cast<double>(session.cache_bytes_per_token())) {
    const SpqrFile& file = session.file();
    const SpqrFileModule* embedding = file.find_module(embedding_module(config_));
    const SpqrFileModule* head = config_.tie_word_embeddings ? embedding : file.find_module(kHeadModule);
    head_bytes_ = static_cast<double>(head->linear.bytes());
    row_bytes_ = static_cast<double>(embedding->linear.bytes()) / static_cast<double>(config_.vocab_size);
    block_bytes_ = static_cast<double>(session.bytes_per_token()) - head_bytes_ - row_bytes_;
    for (std::int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      for (const LinearGroupSpec& group : block_linears(config_, layer)) {
        for (const std::int64_t m : group.m)
          block_weights_ += static_cast<double>(m) * static_cast<double>(group.n);
      }
    }
  }

  // Tokens that pass through the blocks together, after what is there.
  void pass(std::int64_t tokens) {
    for (std::int64_t t = 0; t < tokens; ++t) {
      ++length_;
      const std::int64_t window = config_.sliding_window;
      const double visible = static_cast<double>(window > 0 ? std::min(window, length_) : length_);
      work_.flop +=
          2 * block_weights_ +
          visible * 4 *
              static_cast<double>(config_.num_attention_heads * config_.head_dim * config_.num_hidden_layers);
    }
    read_weights(block_bytes_ + static_cast<double>(tokens) * row_bytes_);
    work_.bytes += static_cast<double>(length_) * cache_per_token_;
  }

  // The logits of one token.
  void head() {
    work_.flop += 2 * static_cast<double>(config_.vocab_size) * static_cast<double>(config_.hidden_size);
    read_weights(head_bytes_);
  }

  Work work() const { return work_; }

 private:
  void read_weights(double bytes) {
    work_.bytes += bytes;
    work_.weight_bytes += bytes;
  }

  const ModelConfig& config_;
  std::int64_t length_;
  double cache_per_token_;
  double head_bytes_ = 0;
  double row_bytes_ = 0;    // of the embedding
  double block_bytes_ = 0;  // all blocks
  double block_weights_ = 0;
  Work work_;
};

}  // namespace

Work work_of(const Session& session, const BenchTest& test, std::int64_t batch) {
  Counter counter(session, test.n_depth);
  for (std::int64_t first = 0; first < test.n_prompt; first += batch)
    counter.pass(std::min(batch, test.n_prompt - first));
  if (test.n_prompt > 0) counter.head();
  for (std::int64_t t = 0; t < test.n_gen; ++t) {
    counter.pass(1);
    counter.head();
  }
  return counter.work();
}

}  // namespace spqr
