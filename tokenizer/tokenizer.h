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

namespace spqr {

// See models/checkpoint.h: the same type.
using TokenizerFiles = std::map<std::string, std::string, std::less<>>;

struct EncodeOptions {
  bool add_special = true;      // BOS / EOS where the tokenizer's own files ask for them
  bool parse_special = false;   // "<|im_start|>" in the text becomes that token; otherwise it is plain text
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Invalid UTF-8 becomes U+FFFD first, as transformers would have it. Throws only std::bad_alloc.
  virtual std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions& options) const = 0;
  // Bytes that `id` adds to the text after other tokens; may be part of a UTF-8 character. Special tokens: their text if
  // `special`, else nothing. Ids out of range add nothing.
  virtual std::string piece(std::int32_t id, bool special) const = 0;
  // The whole text; differs from joined pieces where a tokenizer drops a leading space (SentencePiece).
  virtual std::string decode(std::span<const std::int32_t> ids, bool special) const = 0;

  virtual std::int32_t vocab_size() const = 0;
  virtual std::int32_t bos_id() const = 0;                        // -1: none
  virtual const std::vector<std::int32_t>& eos_ids() const = 0;   // end of text or turn; may be empty
  virtual bool adds_bos() const = 0;
  virtual std::optional<std::int32_t> find(std::string_view token) const = 0;  // special or ordinary, by its exact text
  virtual const std::string& chat_template() const = 0;           // Jinja; empty: none
};

// Chooses by the files present: tokenizer.json, tokenizer.model, gguf_tokenizer.json, tokenizer.bin, in this order.
// Throws std::runtime_error: which file, what is wrong or not supported.
std::unique_ptr<Tokenizer> load_tokenizer(const TokenizerFiles& files);

// Turns a stream of ids into whole UTF-8 characters: holds back bytes until a character is complete; an impossible byte
// becomes U+FFFD.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool special);
  std::string push(std::int32_t id);
  std::string finish();  // what was held back

 private:
  const Tokenizer& tokenizer_;
  bool special_;
  bool first_ = true;
  std::string pending_;
};

}  // namespace spqr
