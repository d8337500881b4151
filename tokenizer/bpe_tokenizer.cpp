#include "tokenizer/bpe_tokenizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/text_limits.h"
#include "tokenizer/utf8.h"

namespace spqr {
namespace {

class BpeTokenizer final : public Tokenizer {
 public:
  BpeTokenizer(BpeTokenizerParts parts, const TokenizerFiles& files, const std::string& where);

  std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions& options) const override;
  std::string piece(std::int32_t id, bool special) const override;
  std::string decode(std::span<const std::int32_t> ids, bool special) const override;
  std::string_view dropped_prefix() const override { return parts_.decoder.dropped_prefix(); }

  std::int32_t vocab_size() const override { return vocab_size_; }
  const RoleTokens& roles() const override { return special_.roles; }
  const std::vector<std::int32_t>& eos_ids() const override { return special_.eos; }
  bool adds_bos() const override {
    return bos_id() >= 0 && !special_.prefix.empty() && special_.prefix.front() == bos_id();
  }
  std::optional<std::int32_t> find(std::string_view token) const override;
  const std::string& chat_template() const override { return special_.chat_template; }

 private:
  using WordCache = std::unordered_map<std::string, std::vector<std::int32_t>>;

  void add_token(const AddedToken& token, const std::string& where);
  void add_named_tokens(const TokenizerFiles& files);
  std::vector<std::pair<std::string_view, bool>> cut(std::string_view text, std::size_t first,
                                                     const EncodeOptions& options) const;
  void encode_plain(std::string_view text, bool at_start, bool parse_special, WordCache& cache,
                    std::vector<std::int32_t>& ids) const;
  void encode_word(const std::string& word, WordCache& cache, std::vector<std::int32_t>& ids) const;

  BpeTokenizerParts parts_;
  SpecialTokens special_;
  AddedTokenFinder raw_finder_;         // on the text as it comes
  AddedTokenFinder normalized_finder_;  // on normalized text
  std::unordered_map<std::int32_t, AddedToken> added_by_id_;
  IdByText added_by_text_;
  std::int32_t vocab_size_ = 0;
};

BpeTokenizer::BpeTokenizer(BpeTokenizerParts parts, const TokenizerFiles& files, const std::string& where)
    : parts_(std::move(parts)) {
  vocab_size_ = parts_.model.vocabulary().size();
  for (const AddedToken& token : parts_.added_tokens) add_token(token, where);
  for (const AddedToken& token : read_side_added_tokens(files)) add_token(token, "tokenizer_config.json");
  add_named_tokens(files);
  special_ = read_special_tokens(files, std::move(parts_.defaults),
                                 [this](std::string_view text) { return find(text); });
  const auto find_special = [this](std::string_view text) -> std::optional<std::int32_t> {
    const auto found = added_by_text_.find(text);
    if (found == added_by_text_.end() || !added_by_id_.at(found->second).special) return std::nullopt;
    return found->second;
  };
  add_known_ends(find_special, special_.eos);
}

// Those that the side files give a role, where no file lists them as added tokens. Single characters stay
// what they are: a text may well contain the "!" that pads a batch.
void BpeTokenizer::add_named_tokens(const TokenizerFiles& files) {
  for (const std::string& text : read_special_token_texts(files)) {
    const std::optional<std::int32_t> id = parts_.model.vocabulary().find(text);
    if (!id || text.size() == utf8_length(text.front())) continue;
    AddedToken token;
    token.content = text;
    token.id = *id;
    token.special = true;
    add_token(token, "tokenizer_config.json");
  }
}

void BpeTokenizer::add_token(const AddedToken& token, const std::string& where) {
  const auto [place, is_new] = added_by_id_.try_emplace(token.id, token);
  if (!is_new) {
    if (place->second.content == token.content) return;
    fail(where,
         fmt::format("id {} belongs to both '{}' and '{}'", token.id, place->second.content, token.content));
  }
  if (!added_by_text_.try_emplace(token.content, token.id).second) return;
  vocab_size_ = std::max(vocab_size_, token.id + 1);
  if (token.special && token.content.size() > utf8_length(token.content.front()))
    parts_.model.exclude(token.id);
  if (token.normalized) {
    AddedToken normalized = token;
    normalized.content = parts_.normalizer.apply_inside(repair_utf8(token.content));
    if (!normalized.content.empty()) normalized_finder_.add(normalized);
  } else {
    raw_finder_.add(token);
  }
}

std::vector<std::int32_t> BpeTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::string repaired;
  text = checked_text(text, repaired);
  std::vector<std::int32_t> ids;
  if (options.add_special) ids = special_.prefix;
  WordCache cache;
  bool at_start = !options.continues;
  for (const TextSegment& segment : raw_finder_.split(text, options.parse_special, options.typed)) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
      at_start = false;
      continue;
    }
    const auto first = static_cast<std::size_t>(segment.text.data() - text.data());
    for (const auto& [part, parse_special] : cut(segment.text, first, options)) {
      encode_plain(part, at_start, parse_special, cache, ids);
      at_start = false;
    }
  }
  if (options.add_special) ids.insert(ids.end(), special_.suffix.begin(), special_.suffix.end());
  return ids;
}

// Text that begins at `first` of the whole, with whether special tokens are looked for in its normalized
// form. There is no way back from that to what was typed: where a tokenizer has such tokens, the text is cut
// around it before.
std::vector<std::pair<std::string_view, bool>> BpeTokenizer::cut(std::string_view text, std::size_t first,
                                                                 const EncodeOptions& options) const {
  if (!normalized_finder_.has_special() || !options.parse_special) return {{text, options.parse_special}};
  std::vector<std::pair<std::string_view, bool>> parts;
  std::size_t done = 0;
  const auto add = [&](std::size_t end, bool parse_special) {
    if (end > done) parts.emplace_back(text.substr(done, end - done), parse_special);
    done = std::max(done, end);
  };
  for (const TextRange& range : options.typed) {
    if (range.end <= first || range.begin >= first + text.size()) continue;
    add(range.begin > first ? range.begin - first : 0, true);
    add(std::min(range.end - first, text.size()), false);
  }
  add(text.size(), true);
  return parts;
}

void BpeTokenizer::encode_plain(std::string_view text, bool at_start, bool parse_special, WordCache& cache,
                                std::vector<std::int32_t>& ids) const {
  const std::string normalized = parts_.normalizer.apply(std::string(text));
  check_text_size(normalized);
  for (const TextSegment& segment : normalized_finder_.split(normalized, parse_special)) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
    } else {
      for (const std::string& word : parts_.pretokenizer.split(std::string(segment.text), at_start)) {
        encode_word(word, cache, ids);
      }
    }
    at_start = false;
  }
}

void BpeTokenizer::encode_word(const std::string& word, WordCache& cache,
                               std::vector<std::int32_t>& ids) const {
  constexpr std::size_t kLongestCached = 64;  // bytes; longer words hardly come again
  if (word.size() > kLongestCached) {
    parts_.model.encode(word, ids);
    return;
  }
  const auto [place, is_new] = cache.try_emplace(word);
  if (is_new) parts_.model.encode(word, place->second);
  ids.insert(ids.end(), place->second.begin(), place->second.end());
}

std::string BpeTokenizer::piece(std::int32_t id, bool special) const {
  if (const auto added = added_by_id_.find(id); added != added_by_id_.end()) {
    return added->second.special && !special ? std::string() : added->second.content;
  }
  const std::string* token = parts_.model.vocabulary().text(id);
  return token == nullptr ? std::string() : parts_.decoder.bytes(*token);
}

std::string BpeTokenizer::decode(std::span<const std::int32_t> ids, bool special) const {
  std::string text;
  for (const std::int32_t id : ids) text += piece(id, special);
  return finish_text(text, dropped_prefix());
}

std::optional<std::int32_t> BpeTokenizer::find(std::string_view token) const {
  if (const auto added = added_by_text_.find(token); added != added_by_text_.end()) return added->second;
  const Vocabulary& vocabulary = parts_.model.vocabulary();
  if (const std::optional<std::int32_t> id = vocabulary.find(token)) return id;
  const std::optional<std::int32_t> id = vocabulary.find(bytes_to_alphabet(token));
  return id && parts_.decoder.bytes(*vocabulary.text(*id)) == token ? id : std::nullopt;
}

}  // namespace

std::unique_ptr<Tokenizer> make_bpe_tokenizer(BpeTokenizerParts parts, const TokenizerFiles& files,
                                              const std::string& where) {
  return std::make_unique<BpeTokenizer>(std::move(parts), files, where);
}

}  // namespace spqr
