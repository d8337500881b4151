#include "runtime/log_probability_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "kernels/threads.h"

namespace spqr {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr char kMagic[8] = {'S', 'P', 'Q', 'R', 'L', 'O', 'G', 'P'};
constexpr std::uint32_t kVersion = 1;
constexpr double kLargestCode = 65535;
constexpr double kWidest = 64;  // nats between codes 65535 and 0, at most

struct Header {
  char magic[8];
  std::uint32_t version, vocab_size, window, windows;
};
static_assert(sizeof(Header) == 24);

std::size_t row_bytes(std::int64_t vocab_size) {
  return sizeof(float) + static_cast<std::size_t>(vocab_size) * sizeof(std::uint16_t);
}

void encode(std::span<const float> logits, std::byte* row) {
  const auto [low, high] = std::ranges::minmax(logits);
  const auto most = static_cast<double>(high);
  const auto step = static_cast<float>(std::min(most - static_cast<double>(low), kWidest) / kLargestCode);
  std::memcpy(row, &step, sizeof step);
  row += sizeof step;
  // A step of 0: all are equally likely.
  const double scale = step > 0 ? 1 / static_cast<double>(step) : 0;
  for (const float logit : logits) {
    const double below = std::min((most - static_cast<double>(logit)) * scale, kLargestCode);
    const auto code = static_cast<std::uint16_t>(kLargestCode - below + 0.5);
    std::memcpy(row, &code, sizeof code);
    row += sizeof code;
  }
}

}  // namespace

std::uint64_t LogProbabilityWriter::bytes(std::int64_t vocab_size, const Windows& windows) {
  const std::uint64_t window = windows.front().size();
  return sizeof(Header) +
         windows.size() * (window * sizeof(std::int32_t) + (window - 1) * row_bytes(vocab_size));
}

LogProbabilityWriter::LogProbabilityWriter(OutputFile& out, std::int64_t vocab_size, const Windows& windows)
    : out_(out),
      vocab_size_(vocab_size),
      rows_per_window_(static_cast<std::int64_t>(windows.front().size()) - 1),
      rows_begin_(sizeof(Header)) {
  Header header{{},
                kVersion,
                static_cast<std::uint32_t>(vocab_size),
                static_cast<std::uint32_t>(windows.front().size()),
                static_cast<std::uint32_t>(windows.size())};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  out_.write(0, std::as_bytes(std::span(&header, 1)));
  for (const auto& window : windows) {
    if (static_cast<std::int64_t>(window.size()) != rows_per_window_ + 1)
      throw std::invalid_argument("windows of several lengths");
    out_.write(rows_begin_, std::as_bytes(std::span(window)));
    rows_begin_ += window.size() * sizeof(std::int32_t);
  }
}

void LogProbabilityWriter::write(std::size_t window, std::int64_t first, Matrix logits) {
  const std::size_t size = row_bytes(vocab_size_);
  encoded_.resize(static_cast<std::size_t>(logits.rows) * size);
  parallel_for(logits.rows, [&](std::int64_t t) {
    encode({logits.data + t * logits.cols, static_cast<std::size_t>(logits.cols)},
           encoded_.data() + static_cast<std::size_t>(t) * size);
  });
  const auto row = static_cast<std::uint64_t>(static_cast<std::int64_t>(window) * rows_per_window_ + first);
  out_.write(rows_begin_ + row * size, encoded_);
}

LogProbabilityFile::LogProbabilityFile(const std::filesystem::path& path)
    : path_(path), file_(FileBytes::map(path)) {
  const std::span<const std::byte> bytes = file_.bytes();
  Header header{};
  if (bytes.size() < sizeof header || std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0)
    throw std::runtime_error(
        fmt::format("{}: is no file of log-probabilities; --kl-divergence-base without --kl-divergence "
                    "writes one",
                    path.string()));
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.version != kVersion) {
    throw std::runtime_error(
        fmt::format("{}: has version {}, expected {}", path.string(), header.version, kVersion));
  }
  constexpr std::uint32_t kMost = 1U << 30U;  // that no product below overflows
  if (header.vocab_size < 1 || header.vocab_size > kMost || header.window < 2 || header.window > kMost ||
      header.windows < 1) {
    throw std::runtime_error(fmt::format("{}: is damaged: {} windows of {} tokens out of {}", path.string(),
                                         header.windows, header.window, header.vocab_size));
  }
  vocab_size_ = header.vocab_size;
  window_ = header.window;
  const std::size_t ids = std::size_t{header.window} * sizeof(std::int32_t);
  std::size_t expected = 0;
  const std::size_t of_window = ids + (std::size_t{header.window} - 1) * row_bytes(vocab_size_);
  if (__builtin_mul_overflow(of_window, std::size_t{header.windows}, &expected) ||
      __builtin_add_overflow(expected, sizeof header, &expected) || expected != bytes.size()) {
    throw std::runtime_error(fmt::format("{}: has {} bytes, but {} windows of {} tokens out of {} take {}",
                                         path.string(), bytes.size(), header.windows, header.window,
                                         header.vocab_size, expected));
  }
  rows_begin_ = sizeof header;
  for (std::uint32_t w = 0; w < header.windows; ++w, rows_begin_ += ids) {
    std::memcpy(windows_.emplace_back(header.window).data(), bytes.data() + rows_begin_, ids);
    for (const std::int32_t id : windows_.back()) {
      if (id < 0 || id >= vocab_size_) {
        throw std::runtime_error(fmt::format("{}: is damaged: token id {} is outside its vocabulary of {}",
                                             path.string(), id, vocab_size_));
      }
    }
  }
}

void LogProbabilityFile::require(std::int64_t vocab_size, const Windows& windows) const {
  if (vocab_size != vocab_size_) {
    throw std::runtime_error(fmt::format("{}: is of a model with {} tokens, this one has {}", path_.string(),
                                         vocab_size_, vocab_size));
  }
  if (windows.size() > windows_.size()) {
    throw std::runtime_error(
        fmt::format("{}: has {} windows, expected {}", path_.string(), windows_.size(), windows.size()));
  }
  for (std::size_t w = 0; w < windows.size(); ++w) {
    if (windows[w].size() != windows_[w].size()) {
      throw std::runtime_error(fmt::format("{}: has windows of {} tokens, expected {}", path_.string(),
                                           windows_[w].size(), windows[w].size()));
    }
    if (windows[w] != windows_[w]) {
      throw std::runtime_error(
          fmt::format("{}: is of another text: window {} has other tokens", path_.string(), w + 1));
    }
  }
}

void LogProbabilityFile::read(std::size_t window, std::int64_t position, std::span<double> log_p) const {
  const std::size_t row = window * static_cast<std::size_t>(window_ - 1) + static_cast<std::size_t>(position);
  const std::byte* at = file_.bytes().data() + rows_begin_ + row * row_bytes(vocab_size_);
  float step = 0;
  std::memcpy(&step, at, sizeof step);
  at += sizeof step;
  // Written as a comparison that NaN fails.
  if (!(step >= 0 && static_cast<double>(step) <= kWidest)) {
    throw std::runtime_error(fmt::format("{}: is damaged: the step of token {} of window {} is {}",
                                         path_.string(), position + 2, window + 1, step));
  }
  double total = 0;
  for (double& value : log_p) {
    std::uint16_t code = 0;
    std::memcpy(&code, at, sizeof code);
    at += sizeof code;
    value = static_cast<double>(step) * (code - kLargestCode);
    total += std::exp(value);
  }
  if (!(total > 0)) throw std::runtime_error(fmt::format("{}: is damaged: all is unlikely", path_.string()));
  const double shift = std::log(total);
  for (double& value : log_p) value -= shift;
}

}  // namespace spqr
