#include "runtime/calibration.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <algorithm>
#include <random>
#include <stdexcept>

#include "runtime/text_input.h"

namespace spqr {
namespace {

void check_ids(const std::vector<std::int32_t>& ids, std::int64_t vocab_size) {
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocab_size) {
      throw std::runtime_error(fmt::format(
          "the tokenizer gives id {}, but the model's vocabulary has {}: they do not belong together", id,
          vocab_size));
    }
  }
}

}  // namespace

std::vector<std::vector<std::int32_t>> cut_windows(const std::vector<std::int32_t>& ids, std::int64_t samples,
                                                   std::int64_t length, WindowOrder order,
                                                   std::uint64_t seed) {
  const auto available = static_cast<std::int64_t>(ids.size());
  std::vector<std::vector<std::int32_t>> windows;
  if (available == 0) return windows;
  const auto add = [&](std::int64_t start, std::int64_t count) {
    windows.emplace_back(ids.begin() + start, ids.begin() + start + count);
  };
  if (available <= length) {
    add(0, available);
  } else if (order == WindowOrder::sequential) {
    for (std::int64_t i = 0; i < samples && (i + 1) * length <= available; ++i) add(i * length, length);
  } else {
    std::mt19937_64 random(seed);
    const auto starts = static_cast<std::uint64_t>(available - length + 1);
    for (std::int64_t i = 0; i < samples; ++i) add(static_cast<std::int64_t>(random() % starts), length);
  }
  return windows;
}

CalibrationSet load_calibration(const CalibrationSettings& settings, std::uint64_t seed,
                                const Tokenizer* tokenizer, std::int64_t vocab_size,
                                std::int64_t max_length) {
  const std::string where = settings.file.string();
  const std::string text = read_text(settings.file);
  CalibrationSet set;
  set.checksum = fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
  std::vector<std::int32_t> ids;
  const bool chosen = settings.documents.first != 1 || settings.documents.last != 0;
  if (settings.file.extension() == ".jsonl") {
    if (tokenizer == nullptr) {
      throw std::runtime_error(
          fmt::format("{}: is text, but the model has no tokenizer; give one with --tokenizer, or "
                      "token ids separated by white space in a file of another name",
                      where));
    }
    const auto documents = read_documents(text, settings.documents, where);
    set.documents = static_cast<std::int64_t>(documents.size());
    ids = tokenizer->encode(join(documents, " "), {});
  } else if (chosen) {
    throw std::runtime_error(
        fmt::format("{}: --documents chooses lines of a .jsonl file, which this is not", where));
  } else {
    ids = tokenizer == nullptr
              ? parse_token_ids(text, vocab_size,
                                where + ": the model has no tokenizer and calibrates with ids")
              : tokenizer->encode(text, {});
  }
  check_ids(ids, vocab_size);
  const std::size_t added = tokenizer == nullptr ? 0 : tokenizer->encode("", {}).size();  // BOS and the like
  if (ids.size() <= added)
    throw std::runtime_error(fmt::format("{}: holds no text to calibrate with", where));

  const std::int64_t length = std::min(settings.length, max_length);
  if (length < settings.length) {
    set.warnings.push_back(fmt::format(
        "calibration sequences have {} tokens, the model's maximum, instead of {}", length, settings.length));
  }
  set.tokens_available = static_cast<std::int64_t>(ids.size());
  set.sequences = cut_windows(ids, settings.samples, length, settings.order, seed);
  const auto windows = static_cast<std::int64_t>(set.sequences.size());
  if (windows < settings.samples) {
    set.warnings.push_back(fmt::format(
        "{}: has {} tokens, enough for {} of the {} sequences of {} tokens asked for", where,
        set.tokens_available, set.tokens_available < length ? 0 : windows, settings.samples, length));
  }
  return set;
}

}  // namespace spqr
