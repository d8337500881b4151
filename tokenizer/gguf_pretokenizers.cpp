#include "tokenizer/gguf_pretokenizers.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace spqr {
namespace {

// Patterns of the models' own tokenizer.json files.
constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::array<const char*, 4> kDeepSeekCoderPatterns{
    R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)",
    "[\xE4\xB8\x80-\xE9\xBE\xA5\xE0\xA0\x80-\xE4\xB8\x80\xEA\xB0\x80-\xED\x9F\xBF]+"};  // U+4E00-9FA5, ...

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", use_regex}};
}

Json split(const char* pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}

Json digits(bool individual) {
  return {{"type", "Digits"}, {"individual_digits", individual}};
}

Json sequence(Json::array_t steps) {
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

template <std::size_t N>
bool is_one_of(const std::string& name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

GgufPreTokenizer gguf_pretokenizer(const std::string& name, const std::string& where) {
  constexpr std::array<std::string_view, 8> kLikeGpt2{"default", "gpt-2", "mpt",      "olmo",
                                                      "phi-2",   "jais",  "gigachat", "a.x-4.0"};
  constexpr std::array<std::string_view, 6> kLikeSmolLm{"smollm",    "starcoder", "refact",
                                                        "command-r", "codeshell", "minerva-7b"};
  constexpr std::array<std::string_view, 5> kLikeLlama3{"llama-bpe", "llama3", "llama-v3", "falcon3",
                                                        "midm-2.0"};
  constexpr std::array<std::string_view, 2> kSplitsLikeLlama3{"smaug-bpe", "dbrx"};
  constexpr std::array<std::string_view, 4> kLikeQwen2{"qwen2", "deepseek-r1-qwen", "kormo", "megrez"};
  GgufPreTokenizer result;
  if (is_one_of(name, kLikeGpt2)) {
    result.pre_tokenizer = byte_level(true);
  } else if (is_one_of(name, kLikeSmolLm)) {
    result.pre_tokenizer = sequence({digits(true), byte_level(true)});
  } else if (is_one_of(name, kLikeLlama3)) {
    result.pre_tokenizer = sequence({split(kLlama3Pattern), byte_level(false)});
    result.ignore_merges = result.add_bos = true;
  } else if (is_one_of(name, kSplitsLikeLlama3)) {
    result.pre_tokenizer = sequence({split(kLlama3Pattern), byte_level(false)});
  } else if (is_one_of(name, kLikeQwen2)) {
    result.normalizer = {{"type", "NFC"}};
    result.pre_tokenizer = sequence({split(kQwen2Pattern), byte_level(false)});
  } else if (name == "tekken") {
    result.pre_tokenizer = sequence({split(kTekkenPattern), byte_level(false)});
    result.ignore_merges = result.add_bos = true;
  } else if (name == "deepseek-coder") {
    Json::array_t steps;
    for (const char* pattern : kDeepSeekCoderPatterns) steps.push_back(split(pattern));
    steps.push_back(digits(true));
    steps.push_back(byte_level(false));
    result.pre_tokenizer = sequence(std::move(steps));
  } else if (name == "falcon") {
    result.pre_tokenizer = sequence({{{"type", "Punctuation"}, {"behavior", "Contiguous"}},
                                     byte_level(true),
                                     digits(false),
                                     split("[0-9][0-9][0-9]")});
  } else {
    fail(where, fmt::format("'tokenizer.ggml.pre' = '{}' is not supported", name));
  }
  return result;
}

}  // namespace spqr
