// Byte-pair encoding with ranked merges: the "model" of tokenizer.json where its type is BPE.
// Source: Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", 2016.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "tokenizer/bpe_merge.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/vocabulary.h"

namespace spqr {

struct BpeOptions {
  std::string unk_token;       // stands for a character that is not in the vocabulary; empty: it is left out
  bool fuse_unk = false;       // one for several in a row
  bool byte_fallback = false;  // <0x00> .. <0xFF> for the bytes of such a character
  bool ignore_merges = false;  // a word that is in the vocabulary is that token, whatever the merges say
};

class BpeModel {
 public:
  // `merges` in order of rank. Throws std::runtime_error, naming `where`, if a merge's parts or result are
  // not in the vocabulary.
  BpeModel(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
           const BpeOptions& options, const std::string& where);
  // Of tokenizer.json's "model".
  static BpeModel parse(const Json& description, const std::string& where);

  // These tokens are never what a word of several characters becomes.
  void exclude(std::int32_t id) { excluded_.insert(id); }

  // Appends the ids of a word (valid UTF-8, at most 2^31 - 1 bytes).
  void encode(std::string_view word, std::vector<std::int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::int32_t unk_id() const { return unk_id_; }  // -1: none

 private:
  std::vector<BpeSymbol> symbols_of(std::string_view word) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  std::int32_t unk_id_ = -1;
  std::unordered_map<std::uint64_t, BpeMerge<std::uint32_t>> merges_;  // key: left id << 32 | right id
  std::unordered_set<std::int32_t> excluded_;
  std::vector<std::int32_t> byte_ids_;  // 256, -1 where there is none; empty without byte_fallback
};

// "a b" -> {"a", "b"}. Throws std::runtime_error unless it is two words.
std::pair<std::string, std::string> parse_merge(const std::string& line, const std::string& where);

}  // namespace spqr
