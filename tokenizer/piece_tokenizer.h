// Tokenizers in the manner of SentencePiece: a table of pieces in which spaces are part of the text, bytes
// for what no piece covers, and a segmenter that cuts text into pieces.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/special_tokens.h"
#include "tokenizer/tokenizer.h"

namespace spqr {

enum class PieceKind { normal, unknown, control, user_defined, unused, byte };

struct Piece {
  std::string text;  // as its file writes it, e.g. U+2581 for a space, "<0x0A>" for a byte
  PieceKind kind = PieceKind::normal;
};

// U+2581, which stands for a space in SentencePiece's vocabularies.
inline constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";

class Segmenter {
 public:
  virtual ~Segmenter() = default;
  // Appends the ids of `text` (valid UTF-8, not empty). No control piece comes of it. at_start: with the
  // leading space that SentencePiece puts in front of a text, if this vocabulary asks for it.
  virtual void encode(std::string_view text, bool at_start, std::vector<std::int32_t>& ids) const = 0;
};

struct PieceTokenizerParts {
  std::vector<Piece> pieces;  // by id
  std::unique_ptr<Segmenter> segmenter;
  bool drops_leading_space = false;      // decoding removes the space that at_start adds
  bool starts_after_special = false;     // text after a special token in its midst gets a leading space too
  std::vector<AddedToken> added_tokens;  // besides the control and unknown pieces
  SpecialTokens defaults;
};

// `files`: the side files. Throws std::runtime_error where they are malformed.
std::unique_ptr<Tokenizer> make_piece_tokenizer(PieceTokenizerParts parts, const TokenizerFiles& files,
                                                const std::string& where);

// tokenizer.model, through the sentencepiece library.
std::unique_ptr<Tokenizer> load_sentencepiece_model(const std::string& bytes, const TokenizerFiles& files);
// tokenizer.bin of llama2.c.
std::unique_ptr<Tokenizer> load_llama2c_tokenizer(const std::string& bytes, const TokenizerFiles& files);
// From the tokenizer.* keys of a GGUF file as a JSON object; its byte-level BPE becomes a BPE tokenizer.
std::unique_ptr<Tokenizer> load_gguf_tokenizer(const std::string& json_text, const TokenizerFiles& files);

}  // namespace spqr
