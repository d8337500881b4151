#include "runtime/calibration.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string_view>

namespace spqr {
namespace {

std::string read_text(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) {
    throw std::runtime_error(fmt::format("{}: is a directory, expected calibration text", path.string()));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(fmt::format("{}: calibration text cannot be opened", path.string()));
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) throw std::runtime_error(fmt::format("{}: cannot be read", path.string()));
  return text;
}

std::vector<std::int32_t> parse_ids(const std::string& text, std::int64_t vocab_size,
                                    const std::string& where) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  std::vector<std::int32_t> ids;
  const std::string_view all = text;
  for (std::size_t at = all.find_first_not_of(kSpace); at != std::string_view::npos;) {
    const std::size_t end = std::min(all.find_first_of(kSpace, at), all.size());
    std::int32_t id = -1;
    const auto [stop, error] = std::from_chars(all.data() + at, all.data() + end, id);
    if (error != std::errc() || stop != all.data() + end || id < 0 || id >= vocab_size) {
      throw std::runtime_error(
          fmt::format("{}: '{}' is no token id of 0 .. {}; the model has no tokenizer, so calibration is "
                      "given as ids (or give "
                      "--tokenizer)",
                      where, all.substr(at, std::min<std::size_t>(end - at, 40)), vocab_size - 1));
    }
    ids.push_back(id);
    at = all.find_first_not_of(kSpace, end);
  }
  return ids;
}

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

std::string join_documents(const std::string& jsonl, std::int64_t first, std::int64_t last,
                           const std::string& where, std::int64_t& documents) {
  std::string joined;
  std::int64_t number = 0;
  documents = 0;
  for (std::size_t at = 0; at < jsonl.size();) {
    const std::size_t end = std::min(jsonl.find('\n', at), jsonl.size());
    const std::string_view line = std::string_view(jsonl).substr(at, end - at);
    at = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    ++number;
    if (number < first) continue;
    if (last > 0 && number > last) break;
    const nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
    if (!object.is_object() || !object.contains("text") || !object["text"].is_string()) {
      throw std::runtime_error(
          fmt::format("{}: document {} is no JSON object with a string \"text\"", where, number));
    }
    if (documents++ > 0) joined += ' ';
    joined += object["text"].get_ref<const std::string&>();
  }
  if (number < first || (last > 0 && number < last)) {
    throw std::runtime_error(
        fmt::format("{}: has {} documents, asked for {}-{}", where, number, first, last));
  }
  return joined;
}

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
  const bool chosen = settings.first_document != 1 || settings.last_document != 0;
  if (settings.file.extension() == ".jsonl") {
    if (tokenizer == nullptr) {
      throw std::runtime_error(
          fmt::format("{}: is text, but the model has no tokenizer; give one with --tokenizer, or "
                      "token ids separated by white space in a file of another name",
                      where));
    }
    ids = tokenizer->encode(
        join_documents(text, settings.first_document, settings.last_document, where, set.documents), {});
  } else if (chosen) {
    throw std::runtime_error(
        fmt::format("{}: --documents chooses lines of a .jsonl file, which this is not", where));
  } else {
    ids = tokenizer == nullptr ? parse_ids(text, vocab_size, where) : tokenizer->encode(text, {});
  }
  check_ids(ids, vocab_size);
  if (ids.empty()) throw std::runtime_error(fmt::format("{}: holds no tokens to calibrate with", where));

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
