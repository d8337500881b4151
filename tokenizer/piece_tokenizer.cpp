#include "tokenizer/piece_tokenizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "tokenizer/text_limits.h"
#include "tokenizer/token_decoder.h"
#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary.h"

namespace spqr {
namespace {

class PieceTokenizer final : public Tokenizer {
 public:
  PieceTokenizer(PieceTokenizerParts parts, const TokenizerFiles& files, const std::string& where);

  std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions& options) const override;
  std::string piece(std::int32_t id, bool special) const override;
  std::string decode(std::span<const std::int32_t> ids, bool special) const override;
  std::string_view dropped_prefix() const override { return drops_leading_space_ ? " " : ""; }

  std::int32_t vocab_size() const override { return static_cast<std::int32_t>(outputs_.size()); }
  const RoleTokens& roles() const override { return special_.roles; }
  const std::vector<std::int32_t>& eos_ids() const override { return special_.eos; }
  bool adds_bos() const override {
    return bos_id() >= 0 && !special_.prefix.empty() && special_.prefix.front() == bos_id();
  }
  std::optional<std::int32_t> find(std::string_view token) const override;
  const std::string& chat_template() const override { return special_.chat_template; }

 private:
  struct Output {
    std::string bytes;
    bool special = false;
  };

  void add_piece(std::int32_t id, const Piece& piece);
  void add_token(const AddedToken& token, const std::string& where);

  std::unique_ptr<Segmenter> segmenter_;
  bool drops_leading_space_;
  bool starts_after_special_;
  std::vector<Output> outputs_;  // by id
  IdByText id_by_text_;          // of the file's text and of the bytes it stands for
  AddedTokenFinder finder_;
  SpecialTokens special_;
};

PieceTokenizer::PieceTokenizer(PieceTokenizerParts parts, const TokenizerFiles& files,
                               const std::string& where)
    : segmenter_(std::move(parts.segmenter)),
      drops_leading_space_(parts.drops_leading_space),
      starts_after_special_(parts.starts_after_special) {
  outputs_.resize(parts.pieces.size());
  for (std::size_t id = 0; id < parts.pieces.size(); ++id)
    add_piece(static_cast<std::int32_t>(id), parts.pieces[id]);
  for (const AddedToken& token : parts.added_tokens) add_token(token, where);
  for (const AddedToken& token : read_side_added_tokens(files)) add_token(token, "tokenizer_config.json");
  special_ = read_special_tokens(files, std::move(parts.defaults),
                                 [this](std::string_view text) { return find(text); });
  const auto find_special = [this](std::string_view text) -> std::optional<std::int32_t> {
    const std::optional<std::int32_t> id = find(text);
    return id && outputs_[static_cast<std::size_t>(*id)].special ? id : std::nullopt;
  };
  add_known_ends(find_special, special_.eos);
}

void PieceTokenizer::add_piece(std::int32_t id, const Piece& piece) {
  Output& output = outputs_[static_cast<std::size_t>(id)];
  output.special = piece.kind == PieceKind::control || piece.kind == PieceKind::unknown;
  if (piece.kind == PieceKind::byte) {
    output.bytes.assign(1, static_cast<char>(fallback_byte(piece.text)));
  } else {
    output.bytes = output.special ? piece.text : replace_all(piece.text, kVisibleSpace, " ");
  }
  id_by_text_.try_emplace(piece.text, id);
  if (piece.kind != PieceKind::byte) id_by_text_.try_emplace(output.bytes, id);
  if (output.special && !piece.text.empty()) {
    AddedToken token;
    token.content = piece.text;
    token.id = id;
    token.special = true;
    finder_.add(token);
  }
}

void PieceTokenizer::add_token(const AddedToken& token, const std::string& where) {
  const auto index = static_cast<std::size_t>(token.id);
  const auto known = id_by_text_.find(token.content);
  if (known != id_by_text_.end() && known->second == token.id && outputs_[index].special) return;
  if (index < outputs_.size() && known != id_by_text_.end() && known->second != token.id) {
    fail(where, fmt::format("the token '{}' has id {}, and id {} in the vocabulary", token.content, token.id,
                            known->second));
  }
  if (index >= outputs_.size()) outputs_.resize(index + 1);
  outputs_[index] = {token.content, token.special};
  id_by_text_.insert_or_assign(token.content, token.id);
  finder_.add(token);
}

std::vector<std::int32_t> PieceTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::string repaired;
  text = checked_text(text, repaired);
  std::vector<std::int32_t> ids;
  if (options.add_special) ids = special_.prefix;
  bool at_start = !options.continues;
  for (const TextSegment& segment : finder_.split(text, options.parse_special, options.typed)) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
      at_start = starts_after_special_;
    } else {
      segmenter_->encode(segment.text, at_start, ids);
      at_start = false;
    }
  }
  if (options.add_special) ids.insert(ids.end(), special_.suffix.begin(), special_.suffix.end());
  return ids;
}

std::string PieceTokenizer::piece(std::int32_t id, bool special) const {
  if (id < 0 || id >= vocab_size()) return {};
  const Output& output = outputs_[static_cast<std::size_t>(id)];
  return output.special && !special ? std::string() : output.bytes;
}

std::string PieceTokenizer::decode(std::span<const std::int32_t> ids, bool special) const {
  std::string text;
  for (const std::int32_t id : ids) text += piece(id, special);
  return finish_text(text, dropped_prefix());
}

std::optional<std::int32_t> PieceTokenizer::find(std::string_view token) const {
  const auto found = id_by_text_.find(token);
  if (found == id_by_text_.end()) return std::nullopt;
  return found->second;
}

}  // namespace

std::unique_ptr<Tokenizer> make_piece_tokenizer(PieceTokenizerParts parts, const TokenizerFiles& files,
                                                const std::string& where) {
  return std::make_unique<PieceTokenizer>(std::move(parts), files, where);
}

}  // namespace spqr
