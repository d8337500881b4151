// The log-probabilities that a model gives to all tokens at every place of a text, in 16 bits each: what
// other models of the same text are compared with.
//
// All numbers little-endian:
//   char magic[8] = "SPQRLOGP"; u32 version = 1; u32 vocab_size; u32 window; u32 windows
//   i32 ids[windows][window]
//   windows * (window - 1) rows, one for every token that is predicted, from the second of each window on:
//     f32 step; u16 code[vocab_size]
// ln p[i] = step * code[i] + c, where c makes all p sum to 1. The likeliest token has the code 65535; those
// that are less likely by a factor of exp(64) or more have the code 0.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "kernels/tensor.h"
#include "models/file_bytes.h"
#include "models/output_file.h"

namespace spqr {

using Windows = std::vector<std::vector<std::int32_t>>;

class LogProbabilityWriter {
 public:
  // Windows of one length, two tokens or more.
  LogProbabilityWriter(OutputFile& out, std::int64_t vocab_size, const Windows& windows);
  // Bytes of the file when all is written.
  static std::uint64_t bytes(std::int64_t vocab_size, const Windows& windows);

  // Row t of logits predicts token first + t + 1 of the window.
  void write(std::size_t window, std::int64_t first, Matrix logits);

 private:
  OutputFile& out_;
  std::int64_t vocab_size_;
  std::int64_t rows_per_window_;
  std::uint64_t rows_begin_;
  std::vector<std::byte> encoded_;
};

class LogProbabilityFile {
 public:
  // Maps it. Throws std::runtime_error where it is no such file, or not a whole one.
  explicit LogProbabilityFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::int64_t vocab_size() const { return vocab_size_; }
  std::int64_t window() const { return window_; }
  const Windows& windows() const { return windows_; }

  // Throws std::runtime_error with a sentence where these are not the file's vocabulary, or not the windows
  // that it begins with.
  void require(std::int64_t vocab_size, const Windows& windows) const;

  // ln p (vocab_size) of token position + 1 of a window. Throws std::runtime_error where the file is damaged.
  void read(std::size_t window, std::int64_t position, std::span<double> log_p) const;

 private:
  std::filesystem::path path_;
  FileBytes file_;
  std::int64_t vocab_size_ = 0;
  std::int64_t window_ = 0;
  Windows windows_;
  std::size_t rows_begin_ = 0;
};

}  // namespace spqr
