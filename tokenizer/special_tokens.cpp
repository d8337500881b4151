#include "tokenizer/special_tokens.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace spqr {
namespace {

constexpr const char* kConfig = "tokenizer_config.json";
constexpr const char* kMap = "special_tokens_map.json";
constexpr const char* kGeneration = "generation_config.json";
constexpr int kMaxDepth = 8;

// An empty object where there is no such file.
Json read_file(const TokenizerFiles& files, const char* name) {
  const auto found = files.find(std::string_view(name));
  return found == files.end() ? Json::object() : parse_json_object(found->second, name);
}

// "bos_token": "<s>" or {"content": "<s>", ...}; empty where it is absent or null.
std::string token_text(const Json& object, const char* key, const std::string& where) {
  const Json* value = find_member(object, key);
  if (value == nullptr) return {};
  if (value->is_object()) return string_field(*value, "content", fmt::format("{}: '{}'", where, key));
  return string_of(*value, fmt::format("{}: '{}'", where, key));
}

// Of tokenizer_config.json, or else of special_tokens_map.json.
std::string role_text(const Json& config, const Json& map, const char* key) {
  std::string text = token_text(config, key, std::string(kConfig));
  return text.empty() ? token_text(map, key, std::string(kMap)) : text;
}

std::string read_chat_template(const TokenizerFiles& files, const Json& config) {
  if (const auto file = files.find(std::string_view("chat_template.jinja")); file != files.end())
    return file->second;
  const Json* value = find_member(config, "chat_template");
  if (value == nullptr) return {};
  const std::string where = fmt::format("{}: 'chat_template'", kConfig);
  if (!value->is_array()) return string_of(*value, where);
  std::string first;
  for (const Json& named : *value) {
    const std::string text = string_field(named, "template", where);
    if (string_field(named, "name", where) == "default") return text;
    if (first.empty()) first = text;
  }
  return first;
}

void add_eos(std::vector<std::int32_t>& eos, std::int32_t id) {
  const auto place = std::lower_bound(eos.begin(), eos.end(), id);
  if (id >= 0 && (place == eos.end() || *place != id)) eos.insert(place, id);
}

// Ids of one special token of a TemplateProcessing.
void append_template_ids(const Json& processor, const std::string& name, const FindToken& find,
                         const std::string& where, std::vector<std::int32_t>& ids) {
  if (const Json* known = find_member(processor, "special_tokens");
      known != nullptr && known->contains(name)) {
    const Json& list = require((*known)[name], "ids", where);
    if (!list.is_array()) fail(where, fmt::format("the ids of '{}' are not an array", name));
    for (const Json& id : list) ids.push_back(id_of(id, where));
    return;
  }
  const std::optional<std::int32_t> id = find(name);
  if (!id) fail(where, fmt::format("the template's token '{}' is not in the vocabulary", name));
  ids.push_back(*id);
}

void read_template(const Json& processor, const FindToken& find, const std::string& where,
                   SpecialTokens& defaults) {
  const Json& single = require(processor, "single", where);
  if (!single.is_array()) fail(where, "'single' is not an array");
  bool after = false;
  for (const Json& part : single) {
    if (find_member(part, "Sequence") != nullptr) {
      after = true;
      continue;
    }
    const std::string name = string_field(require(part, "SpecialToken", where), "id", where);
    append_template_ids(processor, name, find, where, after ? defaults.suffix : defaults.prefix);
  }
}

void read_processor(const Json& description, const FindToken& find, const std::string& where, int depth,
                    SpecialTokens& defaults) {
  if (description.is_null()) return;
  if (depth > kMaxDepth) fail(where, "sequences are nested too deeply");
  const std::string type = string_field(description, "type", where);
  if (type == "ByteLevel") return;  // trims offsets only
  if (type == "TemplateProcessing") return read_template(description, find, where, defaults);
  if (type != "Sequence") fail(where, fmt::format("post-processor '{}' is not supported", type));
  const Json& parts = require(description, "processors", where);
  if (!parts.is_array()) fail(where, "'processors' is not an array");
  for (const Json& part : parts) read_processor(part, find, where, depth + 1, defaults);
}

// added_tokens.json: {"<|im_start|>": 32001}. Those that another file names as special are.
std::vector<AddedToken> read_added_tokens_json(const TokenizerFiles& files) {
  constexpr const char* kFile = "added_tokens.json";
  const std::vector<std::string> special = read_special_token_texts(files);
  std::vector<AddedToken> tokens;
  const Json entries = read_file(files, kFile);
  for (const auto& [text, id] : entries.items()) {
    if (text.empty()) fail(kFile, "names an empty token");
    AddedToken token;
    token.content = text;
    token.id = id_of(id, fmt::format("{}: token '{}'", kFile, text));
    token.special = std::find(special.begin(), special.end(), text) != special.end();
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// tokenizer_config.json's add_bos_token or add_eos_token; true with no such token adds none.
void override_added(const Json& config, const char* key, std::int32_t id, std::vector<std::int32_t>& ids) {
  if (find_member(config, key) == nullptr) return;
  if (!bool_field(config, key, false, kConfig)) {
    std::erase(ids, id);
  } else if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) {
    ids.insert(ids.begin(), id);
  }
}

}  // namespace

std::vector<std::int32_t> generation_eos_ids(const TokenizerFiles& files) {
  const Json generation = read_file(files, kGeneration);
  const Json* ids = find_member(generation, "eos_token_id");
  if (ids == nullptr) return {};
  const std::string where = fmt::format("{}: 'eos_token_id'", kGeneration);
  if (!ids->is_array()) return {id_of(*ids, where)};
  std::vector<std::int32_t> eos;
  for (const Json& id : *ids) eos.push_back(id_of(id, where));
  return eos;
}

SpecialTokens read_special_tokens(const TokenizerFiles& files, SpecialTokens defaults,
                                  const FindToken& find) {
  const Json config = read_file(files, kConfig);
  const Json map = read_file(files, kMap);
  SpecialTokens tokens = std::move(defaults);
  const auto find_role = [&](const char* key) -> std::optional<std::int32_t> {
    const std::string text = role_text(config, map, key);
    return text.empty() ? std::nullopt : find(text);
  };
  RoleTokens& roles = tokens.roles;
  roles.bos = find_role("bos_token").value_or(roles.bos);
  roles.unk = find_role("unk_token").value_or(roles.unk);
  roles.pad = find_role("pad_token").value_or(roles.pad);
  if (const std::optional<std::int32_t> named = find_role("eos_token")) {
    roles.eos = *named;
    tokens.eos = {*named};
  }
  for (const std::int32_t id : generation_eos_ids(files)) add_eos(tokens.eos, id);
  if (roles.bos < 0 && tokens.prefix.size() == 1) roles.bos = tokens.prefix.front();
  override_added(config, "add_bos_token", roles.bos, tokens.prefix);
  override_added(config, "add_eos_token", roles.eos, tokens.suffix);
  std::string chat_template = read_chat_template(files, config);
  if (!chat_template.empty()) tokens.chat_template = std::move(chat_template);
  return tokens;
}

std::vector<AddedToken> read_side_added_tokens(const TokenizerFiles& files) {
  const Json config = read_file(files, kConfig);
  const Json* entries = find_member(config, "added_tokens_decoder");
  if (entries == nullptr) return read_added_tokens_json(files);
  std::vector<AddedToken> tokens;
  const std::string where = fmt::format("{}: 'added_tokens_decoder'", kConfig);
  if (!entries->is_object()) fail(where, fmt::format("expected an object, found {}", entries->type_name()));
  for (const auto& [key, description] : entries->items()) {
    std::int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id >= kMaxVocabSize) {
      fail(where, fmt::format("'{}' is no token id", key));
    }
    tokens.push_back(parse_added_token(description, id, where));
  }
  return tokens;
}

std::vector<std::string> read_special_token_texts(const TokenizerFiles& files) {
  const Json config = read_file(files, kConfig);
  const Json map = read_file(files, kMap);
  std::vector<std::string> texts;
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    std::string text = role_text(config, map, key);
    if (!text.empty()) texts.push_back(std::move(text));
  }
  for (const Json* object : {&config, &map}) {
    const Json* list = find_member(*object, "additional_special_tokens");
    if (list == nullptr || !list->is_array()) continue;
    for (const Json& entry : *list) {
      std::string text = entry.is_object() ? string_field(entry, "content", "additional_special_tokens")
                                           : string_of(entry, "additional_special_tokens");
      if (!text.empty()) texts.push_back(std::move(text));
    }
  }
  return texts;
}

void add_known_ends(const FindToken& find_special, std::vector<std::int32_t>& eos) {
  constexpr std::array<const char*, 6> kEnds{"<|endoftext|>", "<|im_end|>",    "<|eot_id|>",
                                             "<|eom_id|>",    "<end_of_turn>", "<|end|>"};
  for (const char* name : kEnds) {
    if (const std::optional<std::int32_t> id = find_special(name)) add_eos(eos, *id);
  }
}

void read_post_processor(const Json& description, const FindToken& find, const std::string& where,
                         SpecialTokens& defaults) {
  read_processor(description, find, where, 0, defaults);
}

}  // namespace spqr
