// Keys: github.com/ggml-org/ggml, docs/gguf.md, "Tokenizer".
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "tokenizer/bpe_tokenizer.h"
#include "tokenizer/gguf_pretokenizers.h"
#include "tokenizer/piece_tokenizer.h"
#include "tokenizer/score_bpe.h"
#include "tokenizer/token_decoder.h"

namespace spqr {
namespace {

constexpr const char* kWhere = "the GGUF file's tokenizer";

std::string key_name(const char* key) {
  return fmt::format("{}: '{}'", kWhere, key);
}

const Json& require_array(const Json& json, const char* key) {
  const Json& value = require(json, key, kWhere);
  if (!value.is_array()) fail(key_name(key), fmt::format("expected an array, found {}", value.type_name()));
  return value;
}

// Values of tokenizer.ggml.token_type.
PieceKind kind_of(const Json& value) {
  switch (integer_of(value, key_name("tokenizer.ggml.token_type"))) {
    case 2:
      return PieceKind::unknown;
    case 3:
      return PieceKind::control;
    case 4:
      return PieceKind::user_defined;
    case 5:
      return PieceKind::unused;
    case 6:
      return PieceKind::byte;
    default:
      return PieceKind::normal;
  }
}

std::vector<Piece> read_pieces(const Json& json) {
  constexpr const char* kTokens = "tokenizer.ggml.tokens";
  constexpr const char* kTypes = "tokenizer.ggml.token_type";
  const Json& tokens = require_array(json, kTokens);
  if (tokens.empty() || tokens.size() > static_cast<std::size_t>(kMaxVocabSize)) {
    fail(key_name(kTokens), fmt::format("{} tokens, expected 1 .. {}", tokens.size(), kMaxVocabSize));
  }
  const bool has_types = json.contains(kTypes);
  if (has_types && require_array(json, kTypes).size() != tokens.size()) {
    fail(key_name(kTypes), fmt::format("{} types for {} tokens", json[kTypes].size(), tokens.size()));
  }
  std::vector<Piece> pieces;
  pieces.reserve(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    std::string text = string_of(tokens[id], key_name(kTokens));
    const PieceKind kind = has_types ? kind_of(json[kTypes][id]) : PieceKind::normal;
    pieces.push_back({std::move(text), kind});
  }
  return pieces;
}

// -1: not given.
std::int32_t read_id(const Json& json, const char* key, std::size_t vocab_size) {
  const Json* value = find_member(json, key);
  if (value == nullptr) return -1;
  const std::int32_t id = id_of(*value, key_name(key));
  if (static_cast<std::size_t>(id) >= vocab_size) {
    fail(key_name(key), fmt::format("token id {} in a vocabulary of {}", id, vocab_size));
  }
  return id;
}

// As read_id(), for those that files give by a number beyond all ids where there is none.
std::int32_t read_optional_id(const Json& json, const char* key, std::size_t vocab_size) {
  const Json* value = find_member(json, key);
  const bool known = value != nullptr && value->is_number_unsigned() && *value < vocab_size;
  return known ? value->get<std::int32_t>() : -1;
}

SpecialTokens read_defaults(const Json& json, std::size_t vocab_size, bool add_bos) {
  SpecialTokens tokens;
  tokens.roles = {.bos = read_id(json, "tokenizer.ggml.bos_token_id", vocab_size),
                  .eos = read_id(json, "tokenizer.ggml.eos_token_id", vocab_size),
                  .unk = read_optional_id(json, "tokenizer.ggml.unknown_token_id", vocab_size),
                  .pad = read_optional_id(json, "tokenizer.ggml.padding_token_id", vocab_size)};
  for (const char* key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    const std::int32_t id = read_id(json, key, vocab_size);
    if (id >= 0) tokens.eos.push_back(id);
  }
  const auto [bos, eos, unk, pad] = tokens.roles;
  if (bool_field(json, "tokenizer.ggml.add_bos_token", add_bos, kWhere) && bos >= 0) tokens.prefix = {bos};
  if (bool_field(json, "tokenizer.ggml.add_eos_token", false, kWhere) && eos >= 0) tokens.suffix = {eos};
  std::sort(tokens.eos.begin(), tokens.eos.end());
  tokens.eos.erase(std::unique(tokens.eos.begin(), tokens.eos.end()), tokens.eos.end());
  if (json.contains("tokenizer.chat_template")) {
    tokens.chat_template = string_field(json, "tokenizer.chat_template", kWhere);
  }
  return tokens;
}

AddedToken added_token(const Piece& piece, std::size_t id) {
  AddedToken token;
  token.content = piece.text;
  token.id = static_cast<std::int32_t>(id);
  token.special = piece.kind != PieceKind::user_defined;
  return token;
}

std::unique_ptr<Tokenizer> load_byte_level(const Json& json, const TokenizerFiles& files) {
  std::string name = "default";
  if (json.contains("tokenizer.ggml.pre")) name = string_field(json, "tokenizer.ggml.pre", kWhere);
  GgufPreTokenizer pre = gguf_pretokenizer(name, kWhere);
  const std::vector<Piece> pieces = read_pieces(json);
  Vocabulary vocabulary;
  std::vector<AddedToken> added;
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    vocabulary.add(static_cast<std::int32_t>(id), pieces[id].text);
    const bool is_plain = pieces[id].kind == PieceKind::normal || pieces[id].kind == PieceKind::unused;
    if (!is_plain && !pieces[id].text.empty()) added.push_back(added_token(pieces[id], id));
  }
  std::vector<std::pair<std::string, std::string>> merges;
  for (const Json& line : require_array(json, "tokenizer.ggml.merges")) {
    const std::string where = key_name("tokenizer.ggml.merges");
    merges.push_back(parse_merge(string_of(line, where), where));
  }
  BpeOptions options;
  options.ignore_merges = pre.ignore_merges;
  BpeTokenizerParts parts{Normalizer::parse(pre.normalizer, kWhere),
                          PreTokenizer::parse(pre.pre_tokenizer, kWhere),
                          BpeModel(std::move(vocabulary), merges, options, kWhere),
                          TokenDecoder::parse({{"type", "ByteLevel"}}, kWhere),
                          std::move(added),
                          read_defaults(json, pieces.size(), pre.add_bos)};
  return make_bpe_tokenizer(std::move(parts), files, kWhere);
}

std::vector<float> read_scores(const Json& json) {
  constexpr const char* kScores = "tokenizer.ggml.scores";
  std::vector<float> scores;
  for (const Json& score : require_array(json, kScores)) {
    if (!score.is_number())
      fail(key_name(kScores), fmt::format("expected numbers, found {}", score.type_name()));
    scores.push_back(score.get<float>());
  }
  return scores;
}

std::unique_ptr<Tokenizer> load_pieces(const Json& json, const TokenizerFiles& files) {
  PieceTokenizerParts parts;
  parts.pieces = read_pieces(json);
  for (std::size_t id = 0; id < parts.pieces.size(); ++id) {
    const Piece& piece = parts.pieces[id];
    if (piece.kind == PieceKind::user_defined && !piece.text.empty())
      parts.added_tokens.push_back(added_token(piece, id));
  }
  ScoreBpeOptions options;
  options.add_prefix_space = bool_field(json, "tokenizer.ggml.add_space_prefix", true, kWhere);
  parts.segmenter = make_score_bpe(parts.pieces, read_scores(json), options, kWhere);
  parts.drops_leading_space = options.add_prefix_space;
  parts.starts_after_special = true;  // as llama.cpp, for whose users such files are made
  parts.defaults = read_defaults(json, parts.pieces.size(), true);
  return make_piece_tokenizer(std::move(parts), files, kWhere);
}

}  // namespace

std::unique_ptr<Tokenizer> load_gguf_tokenizer(const std::string& json_text, const TokenizerFiles& files) {
  const Json json = parse_json_object(json_text, kWhere);
  const std::string model = string_field(json, "tokenizer.ggml.model", kWhere);
  if (model == "gpt2") return load_byte_level(json, files);
  if (model == "llama") return load_pieces(json, files);
  fail(kWhere, fmt::format("'tokenizer.ggml.model' = '{}' is not supported, only gpt2 and llama are", model));
}

}  // namespace spqr
