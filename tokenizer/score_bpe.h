// SentencePiece's BPE over a plain table of scored pieces, for vocabularies that come without the library's
// own file: of adjacent pieces, the two whose union is the piece of highest score merge first.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tokenizer/piece_tokenizer.h"

namespace spqr {

struct ScoreBpeOptions {
  bool add_prefix_space = true;
  bool visible_spaces = true;  // the pieces write U+2581 for a space
};

// scores[id] of pieces[id]. Throws std::runtime_error, naming `where`, for scores that are no numbers, byte
// pieces that name no byte, and vocabularies that have neither bytes nor an unknown piece for what they do
// not cover.
std::unique_ptr<Segmenter> make_score_bpe(const std::vector<Piece>& pieces, const std::vector<float>& scores,
                                          const ScoreBpeOptions& options, const std::string& where);

}  // namespace spqr
