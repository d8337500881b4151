#include <fmt/core.h>

#include <utility>

#include "tokenizer/bpe_tokenizer.h"

namespace spqr {
namespace {

constexpr const char* kFile = "tokenizer.json";

const Json& part_of(const Json& json, const char* key) {
  static const Json kNull;
  const Json* part = find_member(json, key);
  return part == nullptr ? kNull : *part;
}

std::vector<AddedToken> parse_added_tokens(const Json& json) {
  std::vector<AddedToken> tokens;
  const Json* list = find_member(json, "added_tokens");
  if (list == nullptr) return tokens;
  const std::string where = fmt::format("{}: 'added_tokens'", kFile);
  if (!list->is_array()) fail(where, fmt::format("expected an array, found {}", list->type_name()));
  for (const Json& entry : *list) {
    tokens.push_back(parse_added_token(entry, id_of(require(entry, "id", where), where), where));
  }
  return tokens;
}

// An added token may repeat a token of the vocabulary, but not take the id of another.
void check_added_ids(const std::vector<AddedToken>& tokens, const Vocabulary& vocabulary) {
  for (const AddedToken& token : tokens) {
    const std::string* other = vocabulary.text(token.id);
    if (other != nullptr && *other != token.content) {
      fail(kFile, fmt::format("id {} belongs to both '{}' and the added token '{}'", token.id, *other,
                              token.content));
    }
  }
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& bytes, const TokenizerFiles& files) {
  const Json json = parse_json_object(bytes, kFile);
  const auto where = [](const char* part) { return fmt::format("{}: '{}'", kFile, part); };
  BpeTokenizerParts parts{Normalizer::parse(part_of(json, "normalizer"), where("normalizer")),
                          PreTokenizer::parse(part_of(json, "pre_tokenizer"), where("pre_tokenizer")),
                          BpeModel::parse(require(json, "model", kFile), where("model")),
                          TokenDecoder::parse(part_of(json, "decoder"), where("decoder")),
                          parse_added_tokens(json),
                          {}};
  check_added_ids(parts.added_tokens, parts.model.vocabulary());
  const auto find = [&parts](std::string_view text) -> std::optional<std::int32_t> {
    for (const AddedToken& token : parts.added_tokens) {
      if (token.content == text) return token.id;
    }
    return parts.model.vocabulary().find(text);
  };
  read_post_processor(part_of(json, "post_processor"), find, where("post_processor"), parts.defaults);
  return make_bpe_tokenizer(std::move(parts), files, kFile);
}

std::unique_ptr<Tokenizer> load_vocab_and_merges(const std::string& vocab, const std::string& merges,
                                                 const TokenizerFiles& files) {
  Json model{{"vocab", parse_json_object(vocab, "vocab.json")}, {"merges", Json::array()}};
  std::size_t at = 0;
  while (at < merges.size()) {
    std::size_t end = merges.find('\n', at);
    if (end == std::string::npos) end = merges.size();
    std::string line = merges.substr(at, end - at);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty() && !(at == 0 && line.starts_with("#version")))
      model["merges"].push_back(std::move(line));
    at = end + 1;
  }
  constexpr const char* kWhere = "vocab.json, merges.txt";
  const Json byte_level{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  BpeTokenizerParts parts{Normalizer(),
                          PreTokenizer::parse(byte_level, kWhere),
                          BpeModel::parse(model, kWhere),
                          TokenDecoder::parse(byte_level, kWhere),
                          {},
                          {}};
  constexpr const char* kEnd = "<|endoftext|>";  // begins and ends texts, as in GPT-2
  if (const std::optional<std::int32_t> id = parts.model.vocabulary().find(kEnd)) {
    AddedToken token;
    token.content = kEnd;
    token.id = *id;
    token.special = true;
    parts.added_tokens.push_back(token);
    parts.defaults.roles = {.bos = *id, .eos = *id, .unk = *id};
    parts.defaults.eos = {*id};
  }
  return make_bpe_tokenizer(std::move(parts), files, kWhere);
}

}  // namespace spqr
