// What a tokenizer's side files say: which tokens begin and end a text or a turn, whether encoding adds them,
// the chat template. Read from tokenizer_config.json, special_tokens_map.json, generation_config.json,
// chat_template.jinja.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/tokenizer.h"

namespace spqr {

struct SpecialTokens {
  RoleTokens roles;
  std::vector<std::int32_t> eos;     // sorted
  std::vector<std::int32_t> prefix;  // ids put before an encoded text, and after it
  std::vector<std::int32_t> suffix;
  std::string chat_template;
};

using FindToken = std::function<std::optional<std::int32_t>(std::string_view)>;

// `defaults`: what the tokenizer's main file says of itself. bos_token, eos_token, unk_token and pad_token of
// the side files come in its place, end tokens of generation_config.json besides; add_bos_token and
// add_eos_token override prefix and suffix. Throws std::runtime_error where a file is malformed.
SpecialTokens read_special_tokens(const TokenizerFiles& files, SpecialTokens defaults, const FindToken& find);

// Tokens of tokenizer_config.json's "added_tokens_decoder", or where there is none of added_tokens.json.
std::vector<AddedToken> read_side_added_tokens(const TokenizerFiles& files);

// bos_token, eos_token, unk_token, pad_token and additional_special_tokens by their text.
std::vector<std::string> read_special_token_texts(const TokenizerFiles& files);

// Adds tokens by which well-known chat formats end a turn ("<|im_end|>", "<|eot_id|>", ...), where they
// exist.
void add_known_ends(const FindToken& find_special, std::vector<std::int32_t>& eos);

// The TemplateProcessing in a "post_processor": sets prefix and suffix. Throws std::runtime_error naming
// another type.
void read_post_processor(const Json& description, const FindToken& find, const std::string& where,
                         SpecialTokens& defaults);

}  // namespace spqr
