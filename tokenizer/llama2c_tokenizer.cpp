#include <fmt/core.h>

#include <bit>
#include <cstring>
#include <utility>

#include "tokenizer/piece_tokenizer.h"
#include "tokenizer/score_bpe.h"
#include "tokenizer/token_decoder.h"

namespace spqr {
namespace {

constexpr const char* kFile = "tokenizer.bin";

// Little-endian fields of a file, one after another.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : bytes_(bytes) {}

  bool at_end() const { return at_ == bytes_.size(); }

  std::uint32_t read_u32(const char* what) {
    const std::string_view raw = read_bytes(4, what);
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      value |= static_cast<std::uint32_t>(static_cast<unsigned char>(raw[i])) << (8U * i);
    }
    return value;
  }

  std::string_view read_bytes(std::size_t count, const char* what) {
    if (count > bytes_.size() - at_) {
      fail(kFile, fmt::format("ends at byte {}, within {} that starts at byte {}; incomplete download?",
                              bytes_.size(), what, at_));
    }
    at_ += count;
    return bytes_.substr(at_ - count, count);
  }

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
};

struct ScoredPieces {
  std::vector<Piece> pieces;
  std::vector<float> scores;
};

// Ids 0, 1 and 2 are <unk>, <s> and </s>; the exporter writes the latter two with line ends around them.
Piece make_piece(std::size_t id, std::string_view text) {
  if (id == 0) return {std::string(text), PieceKind::unknown};
  if (id <= 2) {
    while (text.starts_with('\n')) text.remove_prefix(1);
    while (text.ends_with('\n')) text.remove_suffix(1);
    return {std::string(text), PieceKind::control};
  }
  const bool is_byte = id < 259 && fallback_byte(text) == static_cast<int>(id) - 3;
  return {std::string(text), is_byte ? PieceKind::byte : PieceKind::normal};
}

ScoredPieces read_pieces(std::string_view bytes) {
  Fields fields(bytes);
  const std::uint32_t longest = fields.read_u32("the length of the longest token");
  ScoredPieces table;
  while (!fields.at_end()) {
    const std::size_t id = table.pieces.size();
    if (id >= static_cast<std::size_t>(kMaxVocabSize)) fail(kFile, "has too many tokens");
    table.scores.push_back(std::bit_cast<float>(fields.read_u32("a score")));
    const auto length = static_cast<std::int32_t>(fields.read_u32("a token's length"));
    if (length < 0) fail(kFile, fmt::format("token {} has the length {}", id, length));
    table.pieces.push_back(
        make_piece(id, fields.read_bytes(static_cast<std::size_t>(length), "a token's text")));
    if (static_cast<std::uint32_t>(length) > longest) {
      fail(kFile, fmt::format("token {} has {} bytes, the header says at most {}", id, length, longest));
    }
  }
  if (table.pieces.size() < 3)
    fail(kFile, fmt::format("has {} tokens, expected at least 3", table.pieces.size()));
  return table;
}

}  // namespace

std::unique_ptr<Tokenizer> load_llama2c_tokenizer(const std::string& bytes, const TokenizerFiles& files) {
  ScoredPieces table = read_pieces(bytes);
  PieceTokenizerParts parts;
  const ScoreBpeOptions options{.add_prefix_space = true, .visible_spaces = false};
  parts.segmenter = make_score_bpe(table.pieces, table.scores, options, kFile);
  parts.pieces = std::move(table.pieces);
  parts.drops_leading_space = true;
  parts.defaults.roles = {.bos = 1, .eos = 2, .unk = 0};
  parts.defaults.eos = {2};
  parts.defaults.prefix = {1};
  return make_piece_tokenizer(std::move(parts), files, kFile);
}

}  // namespace spqr
