#include "tokenizer/bpe_model.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "tokenizer/utf8.h"

namespace spqr {
namespace {

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32U |
         static_cast<std::uint32_t>(right);
}

std::int32_t id_in(const Vocabulary& vocabulary, const std::string& token, std::size_t rank,
                   const std::string& where) {
  const std::optional<std::int32_t> id = vocabulary.find(token);
  if (!id)
    fail(where, fmt::format("merge {} names the token '{}', which is not in the vocabulary", rank, token));
  return *id;
}

Vocabulary parse_vocabulary(const Json& vocab, const std::string& where) {
  if (!vocab.is_object())
    fail(where, fmt::format("'vocab': expected an object, found {}", vocab.type_name()));
  Vocabulary vocabulary;
  for (const auto& [token, value] : vocab.items()) {
    const std::int32_t id = id_of(value, fmt::format("{}: token '{}'", where, token));
    if (!vocabulary.add(id, token)) {
      fail(where, fmt::format("id {} belongs to both '{}' and '{}'", id, *vocabulary.text(id), token));
    }
  }
  return vocabulary;
}

void refuse_set(const Json& description, const char* key, const std::string& where) {
  const Json* value = find_member(description, key);
  if (value == nullptr || *value == "" || *value == 0) return;
  fail(where, fmt::format("'{}' is not supported", key));
}

}  // namespace

BpeModel::BpeModel(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
                   const BpeOptions& options, const std::string& where)
    : vocabulary_(std::move(vocabulary)), options_(options) {
  if (vocabulary_.size() == 0) fail(where, "the vocabulary is empty");
  if (!options_.unk_token.empty()) {
    const std::optional<std::int32_t> id = vocabulary_.find(options_.unk_token);
    if (!id) fail(where, fmt::format("'unk_token' {} is not in the vocabulary", options_.unk_token));
    unk_id_ = *id;
  }
  if (options_.byte_fallback) {
    byte_ids_.resize(256, -1);
    for (int byte = 0; byte < 256; ++byte) {
      const std::optional<std::int32_t> id = vocabulary_.find(fmt::format("<0x{:02X}>", byte));
      if (id) byte_ids_[static_cast<std::size_t>(byte)] = *id;
    }
  }
  merges_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const std::int32_t left_id = id_in(vocabulary_, left, rank, where);
    const std::int32_t right_id = id_in(vocabulary_, right, rank, where);
    const std::int32_t merged = id_in(vocabulary_, left + right, rank, where);
    merges_.insert_or_assign(pair_key(left_id, right_id),
                             BpeMerge<std::uint32_t>{static_cast<std::uint32_t>(rank), merged});
  }
}

BpeModel BpeModel::parse(const Json& description, const std::string& where) {
  if (find_member(description, "type") != nullptr) {
    const std::string type = string_field(description, "type", where);
    if (type != "BPE") fail(where, fmt::format("model '{}' is not supported, only BPE is", type));
  }
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    refuse_set(description, key, where);
  }
  BpeOptions options;
  if (find_member(description, "unk_token") != nullptr)
    options.unk_token = string_field(description, "unk_token", where);
  options.fuse_unk = bool_field(description, "fuse_unk", false, where);
  options.byte_fallback = bool_field(description, "byte_fallback", false, where);
  options.ignore_merges = bool_field(description, "ignore_merges", false, where);

  const Json& lines = require(description, "merges", where);
  if (!lines.is_array()) fail(where, fmt::format("'merges': expected an array, found {}", lines.type_name()));
  std::vector<std::pair<std::string, std::string>> merges;
  merges.reserve(lines.size());
  for (const Json& line : lines) {
    const std::string here = fmt::format("{}: merge {}", where, merges.size());
    if (line.is_array() && line.size() == 2) {
      merges.emplace_back(string_of(line[0], here), string_of(line[1], here));
    } else {
      merges.push_back(parse_merge(string_of(line, here), here));
    }
  }
  return {parse_vocabulary(require(description, "vocab", where), where), merges, options, where};
}

std::vector<BpeSymbol> BpeModel::symbols_of(std::string_view word) const {
  std::vector<BpeSymbol> symbols;
  symbols.reserve(word.size());
  const auto push = [&symbols](std::int32_t id, std::size_t begin, std::size_t end) {
    symbols.push_back({id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
  };
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t size = utf8_length(word[at]);
    const std::string_view character = word.substr(at, size);
    const auto byte_id = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
    if (const std::optional<std::int32_t> id = vocabulary_.find(character)) {
      push(*id, at, at + size);
    } else if (options_.byte_fallback &&
               std::all_of(character.begin(), character.end(), [&](char c) { return byte_id(c) >= 0; })) {
      for (std::size_t i = 0; i < size; ++i) push(byte_id(character[i]), at + i, at + i + 1);
    } else if (unk_id_ >= 0) {
      if (options_.fuse_unk && !symbols.empty() && symbols.back().id == unk_id_) {
        symbols.back().end = static_cast<std::uint32_t>(at + size);
      } else {
        push(unk_id_, at, at + size);
      }
    }
    at += size;
  }
  return symbols;
}

void BpeModel::encode(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (options_.ignore_merges) {
    const std::optional<std::int32_t> id = vocabulary_.find(word);
    if (id && !excluded_.contains(*id)) {
      ids.push_back(*id);
      return;
    }
  }
  std::vector<BpeSymbol> symbols = symbols_of(word);
  const auto lookup = [this](const BpeSymbol& left,
                             const BpeSymbol& right) -> std::optional<BpeMerge<std::uint32_t>> {
    const auto found = merges_.find(pair_key(left.id, right.id));
    if (found == merges_.end() || excluded_.contains(found->second.id)) return std::nullopt;
    return found->second;
  };
  merge_symbols<std::uint32_t>(symbols, lookup,
                               [&ids](const BpeSymbol& symbol) { ids.push_back(symbol.id); });
}

std::pair<std::string, std::string> parse_merge(const std::string& line, const std::string& where) {
  const std::size_t space = line.find(' ');
  if (space == std::string::npos || space == 0 || space + 1 == line.size() ||
      line.find(' ', space + 1) != std::string::npos) {
    fail(where, fmt::format("expected two tokens with a space between them, found '{}'", line));
  }
  return {line.substr(0, space), line.substr(space + 1)};
}

}  // namespace spqr
