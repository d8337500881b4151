#include "models/tokenizer_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>

#include "models/json.h"

namespace spqr {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kLargestFile = 256U << 20;
constexpr const char* kGenerationConfig = "generation_config.json";
constexpr std::array kFiles{"tokenizer.json",          "tokenizer_config.json", "tokenizer.model",
                            "special_tokens_map.json", "added_tokens.json",     "chat_template.jinja",
                            kGenerationConfig};
// Any of these is enough to make ids of text.
constexpr std::array kVocabularies{"tokenizer.json", "tokenizer.model"};
// GPT-2's own format, these two together; tokenizer.json says the same where it is there.
constexpr std::array kGpt2Files{"vocab.json", "merges.txt"};

// llama2.c: i32 length of the longest token, then (f32 score, i32 length, bytes) for each token, to the end
// of the file.
bool is_llama2c_vocabulary(std::string_view bytes) {
  const auto take_i32 = [&](std::int32_t& value) {
    if (bytes.size() < sizeof value) return false;
    std::memcpy(&value, bytes.data(), sizeof value);
    bytes.remove_prefix(sizeof value);
    return true;
  };
  std::int32_t longest = 0;
  if (!take_i32(longest) || longest <= 0 || bytes.empty()) return false;
  while (!bytes.empty()) {
    std::int32_t score = 0;
    std::int32_t length = 0;
    if (!take_i32(score) || !take_i32(length)) return false;
    if (length < 0 || length > longest || static_cast<std::size_t>(length) > bytes.size()) return false;
    bytes.remove_prefix(static_cast<std::size_t>(length));
  }
  return true;
}

bool take_varint(std::string_view& bytes, std::uint64_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (bytes.empty()) return false;
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
    if (byte < 0x80U) return true;
  }
  return false;
}

// A protobuf message whose first field is number 1, length-delimited: the vocabulary of a SentencePiece
// ModelProto.
bool is_sentencepiece_model(std::string_view bytes) {
  if (bytes.empty() || bytes.front() != '\x0a') return false;
  while (!bytes.empty()) {
    std::uint64_t tag = 0;
    std::uint64_t length = 0;
    if (!take_varint(bytes, tag) || (tag & 7U) != 2U || !take_varint(bytes, length)) return false;
    if (length > bytes.size()) return false;
    bytes.remove_prefix(static_cast<std::size_t>(length));
  }
  return true;
}

// Lines of a token in base64 and its rank, from 0 on. Which tokens are special is not in such a file: there
// are several kinds.
bool is_tiktoken_list(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, bytes.find('\n'));
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || space % 4 != 0 || line.substr(space) != " 0") return false;
  const auto is_base64 = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/' || c == '=';
  };
  return std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(space), is_base64);
}

void require_llama3_list(const std::string& bytes, const fs::path& path) {
  constexpr std::ptrdiff_t kLlama3Tokens = 128000;
  const std::ptrdiff_t lines = std::count(bytes.begin(), bytes.end(), '\n') + (bytes.ends_with('\n') ? 0 : 1);
  if (lines != kLlama3Tokens)
    throw std::runtime_error(fmt::format(
        "{}: is a list of {} tokens and their ranks; of such lists only LLaMA 3's, of {}, is known",
        path.string(), lines, kLlama3Tokens));
}

bool has_vocabulary(const TokenizerFiles& files) {
  const auto there = [&](const char* name) { return files.contains(name); };
  return std::any_of(kVocabularies.begin(), kVocabularies.end(), there) ||
         std::all_of(kGpt2Files.begin(), kGpt2Files.end(), there);
}

std::string kind_of(const std::string& bytes, const fs::path& path) {
  const auto start = bytes.find_first_not_of(" \t\r\n");
  if (start != std::string::npos && bytes[start] == '{') {
    const nlohmann::json object = parse_json_strict(bytes, path.string());
    if (object.is_object() && object.contains("model")) return "tokenizer.json";
  } else if (is_llama2c_vocabulary(bytes)) {
    return "tokenizer.bin";
  } else if (is_sentencepiece_model(bytes)) {
    return "tokenizer.model";
  } else if (is_tiktoken_list(bytes)) {
    require_llama3_list(bytes, path);
    return "tokenizer.tiktoken";
  }
  throw std::runtime_error(fmt::format(
      "{}: not a tokenizer that is known: expected tokenizer.json, a SentencePiece model, LLaMA 3's list of "
      "ranks or llama2.c's tokenizer.bin",
      path.string()));
}

}  // namespace

std::string read_small_file(const fs::path& path) {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);
  if (error) throw std::runtime_error(fmt::format("{}: cannot be read: {}", path.string(), error.message()));
  if (size > kLargestFile) {
    throw std::runtime_error(
        fmt::format("{}: {} bytes is too large, at most {} are expected", path.string(), size, kLargestFile));
  }
  std::ifstream file(path, std::ios::binary);
  std::string bytes(static_cast<std::size_t>(size), '\0');
  if (!file.read(bytes.data(), static_cast<std::streamsize>(size))) {
    throw std::runtime_error(fmt::format("{}: cannot be read: {}", path.string(), std::strerror(errno)));
  }
  return bytes;
}

TokenizerFiles tokenizer_files_in(const fs::path& directory) {
  TokenizerFiles files;
  const auto take = [&](const char* name) {
    std::error_code error;
    if (fs::is_regular_file(directory / name, error)) files[name] = read_small_file(directory / name);
  };
  for (const char* name : kFiles) take(name);
  if (!has_vocabulary(files)) {
    for (const char* name : kGpt2Files) take(name);
  }
  return files;
}

TokenizerFiles tokenizer_files_at(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) throw std::runtime_error(fmt::format("{}: no such tokenizer", path.string()));
  if (!fs::is_directory(path, error)) {
    std::string bytes = read_small_file(path);
    const std::string kind = kind_of(bytes, path);
    return {{kind, std::move(bytes)}};
  }
  TokenizerFiles files = tokenizer_files_in(path);
  if (has_vocabulary(files)) return files;
  throw std::runtime_error(fmt::format(
      "{}: has neither tokenizer.json nor tokenizer.model, nor vocab.json with merges.txt", path.string()));
}

TokenizerFiles chosen_tokenizer_files(TokenizerFiles own, const CheckpointOptions& options) {
  if (options.tokenizer.empty()) return own;
  TokenizerFiles files = tokenizer_files_at(options.tokenizer);
  if (const auto it = own.find(kGenerationConfig); it != own.end()) files[it->first] = std::move(it->second);
  return files;
}

}  // namespace spqr
