// Text <-> token ids. Knows no model file: it is given the bytes of tokenizer files by name.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/text_range.h"

namespace spqr {

// See models/checkpoint.h: the same type.
using TokenizerFiles = std::map<std::string, std::string, std::less<>>;

struct EncodeOptions {
  bool add_special = true;     // BOS / EOS where the tokenizer's own files ask for them
  bool parse_special = false;  // "<|im_start|>" in the text becomes that token; otherwise it is plain text
  // In these, what a person typed into a conversation, it is plain text all the same. In order, without
  // overlap; the text is valid UTF-8.
  std::span<const TextRange> typed{};
  // The text goes on after other tokens: it gets no space in front as the start of a text does.
  bool continues = false;
};

// Tokens that have a part of their own; -1: there is none.
struct RoleTokens {
  std::int32_t bos = -1;
  std::int32_t eos = -1;  // what the tokenizer's files call so, of perhaps several that end a text or a turn
  std::int32_t unk = -1;
  std::int32_t pad = -1;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Invalid UTF-8 becomes U+FFFD first, one per maximal subpart. Safe to call from several threads. Throws
  // std::length_error for texts over 1 GiB, std::bad_alloc, and std::runtime_error where the tokenizer's own
  // regular expression gives up.
  virtual std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions& options) const = 0;
  // Bytes that `id` adds to the text after other tokens; may be part of a UTF-8 character. Special tokens:
  // their text if `special`, else nothing. Ids out of range add nothing.
  virtual std::string piece(std::int32_t id, bool special) const = 0;
  // The whole text; differs from joined pieces where a tokenizer drops a leading space (SentencePiece).
  virtual std::string decode(std::span<const std::int32_t> ids, bool special) const = 0;

  // What decode() removes once from the very front of a text: SentencePiece's leading space; often empty.
  virtual std::string_view dropped_prefix() const { return {}; }

  virtual std::int32_t vocab_size() const = 0;
  virtual const RoleTokens& roles() const = 0;
  std::int32_t bos_id() const { return roles().bos; }            // -1: none
  virtual const std::vector<std::int32_t>& eos_ids() const = 0;  // end of text or turn; may be empty
  virtual bool adds_bos() const = 0;
  virtual std::optional<std::int32_t> find(
      std::string_view token) const = 0;                 // special or ordinary, by its exact text
  virtual const std::string& chat_template() const = 0;  // Jinja; empty: none
};

// Chooses by the files present: tokenizer.json, tokenizer.model, tokenizer.tiktoken, gguf_tokenizer.json,
// tokenizer.bin, vocab.json with merges.txt, in this order; null where none of them is: the others alone make
// no ids of text. Throws std::runtime_error: which file, what is wrong or not supported.
std::unique_ptr<Tokenizer> load_tokenizer(const TokenizerFiles& files);

// The ends of text that generation_config.json names, which is about the model and may be there without a
// vocabulary; Tokenizer::eos_ids() has them too. Throws std::runtime_error where it is malformed.
std::vector<std::int32_t> generation_eos_ids(const TokenizerFiles& files);

// Turns a stream of ids into whole UTF-8 characters: holds back bytes until a character is complete; an
// impossible byte becomes U+FFFD.
class StreamDecoder {
 public:
  // at_start: the ids begin a text, so that SentencePiece's leading space is dropped as decode() does; false
  // where they go on after text that is shown already.
  StreamDecoder(const Tokenizer& tokenizer, bool special, bool at_start = true);
  std::string push(std::int32_t id);
  std::string finish();  // what was held back

 private:
  const Tokenizer& tokenizer_;
  bool special_;
  bool first_;
  std::string pending_;
};

}  // namespace spqr
