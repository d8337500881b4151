#include "runtime/text_input.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace spqr {

std::string read_text(const std::filesystem::path& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  if (std::filesystem::is_directory(path))
    throw std::runtime_error(fmt::format("{}: is a directory, expected a text file", path.string()));
  std::ifstream in(path, std::ios::binary);
  if (!in)
    throw std::runtime_error(fmt::format("{}: cannot be opened: {}", path.string(), std::strerror(errno)));
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad())
    throw std::runtime_error(fmt::format("{}: cannot be read: {}", path.string(), std::strerror(errno)));
  return text;
}

std::vector<std::int32_t> parse_token_ids(std::string_view text, std::int64_t vocab_size,
                                          const std::string& where) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  std::vector<std::int32_t> ids;
  for (std::size_t at = text.find_first_not_of(kSpace); at != std::string_view::npos;) {
    const std::size_t end = std::min(text.find_first_of(kSpace, at), text.size());
    std::int32_t id = -1;
    const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, id);
    if (error != std::errc() || stop != text.data() + end || id < 0 || id >= vocab_size) {
      throw std::runtime_error(fmt::format("{}: '{}' is no token id of 0 .. {}", where,
                                           text.substr(at, std::min<std::size_t>(end - at, 40)),
                                           vocab_size - 1));
    }
    ids.push_back(id);
    at = text.find_first_not_of(kSpace, end);
  }
  return ids;
}

DocumentRange parse_document_range(const std::string& text) {
  DocumentRange range;
  const char* end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data(), end, range.first);
  bool good = error == std::errc() && range.first >= 1;
  if (good && at == end) {
    range.last = range.first;
  } else if (good && (*at != '-' || at + 1 != end)) {
    const auto second = std::from_chars(at + 1, end, range.last);
    good = *at == '-' && second.ec == std::errc() && second.ptr == end && range.last >= range.first;
  }
  if (!good)
    throw std::invalid_argument(fmt::format("--documents is '{}', expected A-B with 1 <= A <= B", text));
  return range;
}

std::vector<std::string> read_documents(std::string_view jsonl, DocumentRange range,
                                        const std::string& where) {
  std::vector<std::string> documents;
  std::int64_t number = 0;
  for (std::size_t at = 0; at < jsonl.size();) {
    const std::size_t end = std::min(jsonl.find('\n', at), jsonl.size());
    const std::string_view line = jsonl.substr(at, end - at);
    at = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    if (++number < range.first) continue;
    if (range.last > 0 && number > range.last) break;
    const nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
    if (!object.is_object() || !object.contains("text") || !object["text"].is_string()) {
      throw std::runtime_error(
          fmt::format("{}: document {} is no JSON object with a string \"text\"", where, number));
    }
    documents.push_back(object["text"].get<std::string>());
  }
  if (number < range.first || number < range.last) {
    throw std::runtime_error(
        fmt::format("{}: has {} documents, asked for {}-{}", where, number, range.first, range.last));
  }
  return documents;
}

std::string join(const std::vector<std::string>& texts, std::string_view separator) {
  std::string joined;
  for (const std::string& text : texts) {
    if (&text != &texts.front()) joined += separator;
    joined += text;
  }
  return joined;
}

}  // namespace spqr
