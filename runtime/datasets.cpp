#include "runtime/datasets.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string_view>

#include "runtime/python_random.h"

namespace spqr {
namespace {

constexpr std::int64_t kC4Windows = 256;
constexpr std::int64_t kC4NewDocuments = 1100;

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string stripped(const std::string& line) {
  const std::size_t first = line.find_first_not_of(" \t\r");
  if (first == std::string::npos) return "";
  return line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
}

std::string wikitext(std::string_view text) {
  std::vector<std::string> lines = lines_of(text);
  for (std::string& line : lines) {
    line = stripped(line).empty() ? "" : line + "\n";
  }
  return join(lines, "\n\n");
}

std::string penn_treebank(std::string_view text, std::string_view separator) {
  std::vector<std::string> lines = lines_of(text);
  for (std::string& line : lines) line = stripped(line);
  return join(lines, separator);
}

std::vector<std::string> documents_of(const DatasetOptions& options, std::string_view text) {
  return read_documents(text, options.documents.value_or(DocumentRange{}), options.file.string());
}

// Windows at random places of random documents that are long enough, from the generator's state after
// random.seed(0).
TokenWindows random_windows(const DatasetOptions& options, const Tokenizer& tokenizer) {
  const auto documents = documents_of(options, read_text(options.file));
  std::map<std::size_t, std::vector<std::int32_t>> encoded;
  const auto tokens_of = [&](std::size_t i) -> const std::vector<std::int32_t>& {
    const auto known = encoded.find(i);
    if (known != encoded.end()) return known->second;
    return encoded.emplace(i, tokenizer.encode(documents[i], {})).first->second;
  };
  TokenWindows result;
  bool any = false;
  for (std::size_t i = 0; i < documents.size() && !any; ++i)
    any = static_cast<std::int64_t>(tokens_of(i).size()) >= options.window;
  if (!any)
    throw std::runtime_error(
        fmt::format("{}: no document has {} tokens", options.file.string(), options.window));
  PythonRandom random(0);
  const std::int64_t wanted = options.windows > 0 ? std::min(options.windows, kC4Windows) : kC4Windows;
  while (static_cast<std::int64_t>(result.windows.size()) < wanted) {
    const auto chosen =
        static_cast<std::size_t>(random.randint(0, static_cast<std::int64_t>(documents.size()) - 1));
    const auto& ids = tokens_of(chosen);
    const std::int64_t spare = static_cast<std::int64_t>(ids.size()) - options.window;
    if (spare < 0) continue;
    const std::int64_t first = spare == 0 ? 0 : random.randint(0, spare - 1);
    result.windows.emplace_back(ids.begin() + first, ids.begin() + first + options.window);
  }
  result.tokens = wanted * options.window;
  return result;
}

}  // namespace

const std::vector<std::string>& dataset_names() {
  static const std::vector<std::string> names{"wikitext2", "ptb", "ptb-new", "c4", "c4-new", "text"};
  return names;
}

std::string dataset_text(const DatasetOptions& options) {
  std::string text = read_text(options.file);
  if (options.name == "wikitext2") return wikitext(text);
  if (options.name == "ptb") return penn_treebank(text, "\n\n");
  if (options.name == "ptb-new") return penn_treebank(text, " ");
  if (options.name == "text") return text;
  if (options.name != "c4-new")
    throw std::invalid_argument(fmt::format("no dataset '{}' that is one text", options.name));
  auto documents = documents_of(options, text);
  if (!options.documents && static_cast<std::int64_t>(documents.size()) > kC4NewDocuments)
    documents.resize(kC4NewDocuments);
  return join(documents, " ");
}

TokenWindows load_windows(const DatasetOptions& options, const Tokenizer& tokenizer) {
  if (options.name == "c4") return random_windows(options, tokenizer);
  const auto ids = tokenizer.encode(dataset_text(options), {});
  TokenWindows result;
  result.tokens = static_cast<std::int64_t>(ids.size());
  std::int64_t count = result.tokens / options.window;
  if (count == 0) {
    throw std::runtime_error(fmt::format("{}: {} tokens are less than one window of {}; give a smaller -c",
                                         options.file.string(), result.tokens, options.window));
  }
  if (options.name == "c4-new") count = std::min(count, kC4Windows);
  if (options.windows > 0) count = std::min(count, options.windows);
  for (std::int64_t w = 0; w < count; ++w) {
    result.windows.emplace_back(ids.begin() + w * options.window, ids.begin() + (w + 1) * options.window);
  }
  return result;
}

}  // namespace spqr
