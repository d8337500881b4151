#include "tokenizer/score_bpe.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "tokenizer/bpe_merge.h"
#include "tokenizer/token_decoder.h"
#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary.h"

namespace spqr {
namespace {

class ScoreBpe final : public Segmenter {
 public:
  ScoreBpe(const std::vector<Piece>& pieces, const std::vector<float>& scores, const ScoreBpeOptions& options,
           const std::string& where);
  void encode(std::string_view text, bool at_start, std::vector<std::int32_t>& ids) const override;

 private:
  void emit(std::string_view text, std::int32_t id, std::vector<std::int32_t>& ids,
            bool& after_unknown) const;

  std::vector<float> scores_;
  ScoreBpeOptions options_;
  IdByText ids_;  // of the pieces that text may become
  std::array<std::int32_t, 256> byte_ids_{};
  bool has_bytes_ = false;
  std::int32_t unknown_ = -1;
};

ScoreBpe::ScoreBpe(const std::vector<Piece>& pieces, const std::vector<float>& scores,
                   const ScoreBpeOptions& options, const std::string& where)
    : scores_(scores), options_(options) {
  if (pieces.empty() || scores.size() != pieces.size()) {
    fail(where, fmt::format("{} scores for {} pieces", scores.size(), pieces.size()));
  }
  byte_ids_.fill(-1);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    const Piece& piece = pieces[i];
    if (std::isnan(scores[i])) fail(where, fmt::format("the score of piece {} is not a number", id));
    if (piece.kind == PieceKind::normal) ids_.try_emplace(piece.text, id);
    if (piece.kind == PieceKind::unknown && unknown_ < 0) unknown_ = id;
    if (piece.kind == PieceKind::byte) {
      const int byte = fallback_byte(piece.text);
      if (byte < 0)
        fail(where, fmt::format("piece {} '{}' is marked as a byte but names none", id, piece.text));
      byte_ids_[static_cast<std::size_t>(byte)] = id;
    }
  }
  has_bytes_ = std::find(byte_ids_.begin(), byte_ids_.end(), -1) == byte_ids_.end();
  if (!has_bytes_ && unknown_ < 0) {
    fail(where, "has neither all 256 bytes nor an unknown piece for characters that it lacks");
  }
}

void ScoreBpe::encode(std::string_view text, bool at_start, std::vector<std::int32_t>& ids) const {
  std::string escaped(at_start && options_.add_prefix_space ? " " : "");
  escaped += text;
  if (options_.visible_spaces) escaped = replace_all(escaped, " ", kVisibleSpace);
  const std::string_view all = escaped;
  std::vector<BpeSymbol> symbols;
  symbols.reserve(all.size());
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = at + utf8_length(all[at]);
    const auto found = ids_.find(all.substr(at, end - at));
    symbols.push_back({found == ids_.end() ? -1 : found->second, static_cast<std::uint32_t>(at),
                       static_cast<std::uint32_t>(end)});
    at = end;
  }
  const auto lookup = [&](const BpeSymbol& left, const BpeSymbol& right) -> std::optional<BpeMerge<float>> {
    const auto found = ids_.find(all.substr(left.begin, right.end - left.begin));
    if (found == ids_.end()) return std::nullopt;
    return BpeMerge<float>{-scores_[static_cast<std::size_t>(found->second)], found->second};
  };
  bool after_unknown = false;
  merge_symbols<float>(symbols, lookup, [&](const BpeSymbol& symbol) {
    emit(all.substr(symbol.begin, symbol.end - symbol.begin), symbol.id, ids, after_unknown);
  });
}

void ScoreBpe::emit(std::string_view text, std::int32_t id, std::vector<std::int32_t>& ids,
                    bool& after_unknown) const {
  if (id >= 0) {
    ids.push_back(id);
  } else if (has_bytes_) {
    for (const char byte : text) ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  } else if (!after_unknown) {  // one for several in a row, as the library has it
    ids.push_back(unknown_);
  }
  after_unknown = id < 0 && !has_bytes_;
}

}  // namespace

std::unique_ptr<Segmenter> make_score_bpe(const std::vector<Piece>& pieces, const std::vector<float>& scores,
                                          const ScoreBpeOptions& options, const std::string& where) {
  return std::make_unique<ScoreBpe>(pieces, scores, options, where);
}

}  // namespace spqr
