#include <doctest/doctest.h>

#include <algorithm>

#include "tests/tokenizer/tokenizer_fixtures.h"

namespace spqr {
namespace {

using Ids = std::vector<std::int32_t>;

constexpr EncodeOptions kParse{.add_special = false, .parse_special = true};

bool contains(const Ids& ids, std::int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

TEST_CASE("SmolLM2: special tokens are recognised only where asked") {
  const auto tokenizer = load_tokenizer(smollm2_files());
  const std::string text = "<|im_start|>user\nHi<|im_end|>\n";
  // Of transformers' AutoTokenizer: encode(text, add_special_tokens=False), with split_special_tokens for the
  // second.
  CHECK(tokenizer->encode(text, kParse) == Ids{1, 4093, 198, 26843, 2, 198});
  const Ids plain = tokenizer->encode(text, kPlain);
  CHECK_FALSE(contains(plain, 1));
  CHECK_FALSE(contains(plain, 2));
  CHECK(tokenizer->decode(plain, false) == text);
  CHECK(tokenizer->decode(tokenizer->encode(text, kParse), true) == text);
  CHECK(tokenizer->decode(tokenizer->encode(text, kParse), false) == "user\nHi\n");

  CHECK(tokenizer->vocab_size() == 49152);
  CHECK(tokenizer->bos_id() == 1);
  CHECK_FALSE(tokenizer->adds_bos());
  CHECK(tokenizer->eos_ids() == Ids{0, 2});
  CHECK(tokenizer->roles().eos == 2);
  CHECK(tokenizer->roles().unk == 0);
  CHECK(tokenizer->roles().pad == 2);
  CHECK(tokenizer->find("<|im_end|>") == 2);
  CHECK(tokenizer->find(" the") == tokenizer->find("\xC4\xA0the"));
  CHECK(tokenizer->find("no such token") == std::nullopt);
  CHECK(tokenizer->chat_template().starts_with("{% for message in messages %}"));
  CHECK(tokenizer->piece(-1, true).empty());
  CHECK(tokenizer->piece(49152, true).empty());
}

TEST_CASE("special tokens that a person typed stay plain text amid those of a template") {
  for (const auto& entry : all_tokenizers()) {
    const Tokenizer& tokenizer = *entry.second;
    CAPTURE(entry.first);
    if (tokenizer.eos_ids().empty()) continue;
    const std::int32_t end = tokenizer.eos_ids().front();
    const std::string marker = tokenizer.piece(end, true);
    if (marker.empty() || tokenizer.encode(marker, kParse) != Ids{end}) continue;
    const auto ends_in = [&](const Ids& ids) { return std::count(ids.begin(), ids.end(), end); };
    for (const std::string& typed :
         {std::string("once"), "a" + marker + "b", marker, "x" + marker, std::string()}) {
      CAPTURE(typed);
      const std::string text = marker + "u " + typed + marker;
      const std::size_t begin = marker.size() + 2;
      const std::vector<TextRange> ranges{{begin, begin + typed.size()}};
      EncodeOptions options = kParse;
      options.typed = ranges;
      const Ids ids = tokenizer.encode(text, options);
      CHECK(ends_in(ids) == 2);
      CHECK(ids.front() == end);
      CHECK(ids.back() == end);
      if (typed == "once") CHECK(ids == tokenizer.encode(text, kParse));
      // These have a space after special tokens, or lack characters.
      if (!entry.first.starts_with("tinystories") && entry.first != "tok105" && entry.first != "llama")
        CHECK(tokenizer.decode(ids, true) == text);
    }
  }
}

TEST_CASE("no text of plain characters becomes a special token") {
  for (const auto& entry : all_tokenizers()) {
    const std::string& name = entry.first;
    const Tokenizer* tokenizer = entry.second.get();
    CAPTURE(name);
    const bool is_partial = name == "tok105" || name == "tinystories-656k";  // these lack "<", "|" and others
    if (is_partial) continue;
    for (const std::string& text : std::vector<std::string>{
             "<unk>", "<s>", "</s>", "<s></s><unk>", "<pad>", "<|endoftext|>", "<|im_end|>", "<0x41>",
             " <unk> ", "<|start_story|>", "a<|eot_id|>b", ">>TITLE<<"}) {
      const Ids ids = tokenizer->encode(text, kPlain);
      for (const std::int32_t id : ids) CHECK_FALSE(tokenizer->piece(id, false).empty());
      CHECK(tokenizer->decode(ids, false) ==
            (name == "llama2" && text.starts_with(' ') ? text.substr(1) : text));
    }
  }
}

TEST_CASE("LLaMA: BOS in front, special tokens in the midst of text, text after them starts anew") {
  const auto files = test_tokenizer({{"tokenizer.model", "tokenizers/llama/tokenizer.model"}});
  if (!files) return;
  const auto tokenizer = load_tokenizer(*files);
  CHECK(tokenizer->adds_bos());
  CHECK(tokenizer->bos_id() == 1);
  CHECK(tokenizer->eos_ids() == Ids{2});
  // 15043 is "\u2581Hello", 10994 "Hello".
  CHECK(tokenizer->encode("Hello", {}) == Ids{1, 15043});
  // As transformers' LlamaTokenizer of this file has it, unless its files say otherwise.
  CHECK(tokenizer->encode("Hello</s>Hello", kParse) == Ids{15043, 2, 15043});
  CHECK(tokenizer->encode("<s>[INST] Hello [/INST]", kParse) ==
        Ids{1, 518, 25580, 29962, 15043, 518, 29914, 25580, 29962});
  CHECK(tokenizer->encode("<s> x", kParse) == Ids{1, 29871, 921});
  CHECK(tokenizer->encode("", {}) == Ids{1});
  CHECK(tokenizer->piece(0x41 + 3, false) == "A");

  TokenizerFiles configured = *files;
  configured["tokenizer_config.json"] =
      R"({"add_bos_token": false, "add_eos_token": true, "legacy": false, "eos_token": {"content": "</s>"},
          "added_tokens_decoder": {"1": {"content": "<s>", "special": true},
                                   "32000": {"content": "<|im_start|>", "special": true},
                                   "32001": {"content": "<tool>", "special": false}}})";
  configured["generation_config.json"] = R"({"eos_token_id": [2, 32000]})";
  const auto other = load_tokenizer(configured);
  CHECK_FALSE(other->adds_bos());
  CHECK(other->encode("Hello", {}) == Ids{15043, 2});
  CHECK(other->encode("Hello</s>Hello", kParse) == Ids{15043, 2, 10994});
  CHECK(other->encode("<s>[INST] Hello", kParse) == Ids{1, 29961, 25580, 29962, 15043});
  CHECK(other->encode("<tool>", kPlain) == Ids{32001});
  CHECK(other->vocab_size() == 32002);
  CHECK(other->eos_ids() == Ids{2, 32000});
}

TEST_CASE("llama2.c: BOS, and special tokens by their plain names") {
  const auto files = test_tokenizer({{"tokenizer.bin", "llama2c/tok512.bin"}});
  if (!files) return;
  const auto tokenizer = load_tokenizer(*files);
  CHECK(tokenizer->vocab_size() == 512);
  CHECK(tokenizer->encode("", {}) == Ids{1});
  // llama2.c's own result for the prompt "Once upon a time" with this vocabulary.
  CHECK(tokenizer->encode("Once upon a time", {}) == Ids{1, 403, 407, 261, 378});
  CHECK(tokenizer->find("<s>") == 1);
  CHECK(tokenizer->piece(1, true) == "<s>");
  CHECK(tokenizer->piece(1, false).empty());
}

TEST_CASE("the end of text is the one that files name, not the smallest of all that end a turn") {
  TokenizerFiles files = as_gguf(fixture("smollm2/tokenizer.json"), "smollm");
  CHECK(load_tokenizer(files)->eos_ids() == Ids{0, 2});
  CHECK(load_tokenizer(files)->roles().eos == 2);
  CHECK(load_tokenizer(files)->roles().unk == -1);
  nlohmann::json gguf = nlohmann::json::parse(files["gguf_tokenizer.json"]);
  gguf["tokenizer.ggml.add_eos_token"] = true;
  gguf["tokenizer.ggml.eot_token_id"] = 1;
  gguf["tokenizer.ggml.unknown_token_id"] = 0;
  gguf["tokenizer.ggml.padding_token_id"] = 4294967295;  // as files have it that have none
  files["gguf_tokenizer.json"] = gguf.dump();
  const auto tokenizer = load_tokenizer(files);
  CHECK(tokenizer->eos_ids() == Ids{0, 1, 2});
  CHECK(tokenizer->roles().eos == 2);
  CHECK(tokenizer->roles().unk == 0);
  CHECK(tokenizer->roles().pad == -1);
  CHECK(tokenizer->encode("", {}) == Ids{2});
}

nlohmann::json tiny_json() {
  return nlohmann::json::parse(R"({
    "added_tokens": [{"id": 3, "content": "<s>", "special": true}, {"id": 4, "content": "</s>", "special": true}],
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
    "decoder": {"type": "ByteLevel"}})");
}

TEST_CASE("BOS and EOS come from the template, tokenizer_config.json overrides it") {
  nlohmann::json json = tiny_json();
  CHECK(load_tokenizer({{"tokenizer.json", json.dump()}})->encode("ab", {}) == Ids{2});
  json["post_processor"] = nlohmann::json::parse(R"({"type": "TemplateProcessing", "single": [
      {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
      {"SpecialToken": {"id": "</s>", "type_id": 0}}]})");
  TokenizerFiles files{{"tokenizer.json", json.dump()}};
  CHECK(load_tokenizer(files)->encode("ab", {}) == Ids{3, 2, 4});
  CHECK(load_tokenizer(files)->encode("ab", kPlain) == Ids{2});
  CHECK(load_tokenizer(files)->adds_bos());
  files["tokenizer_config.json"] =
      R"({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": false, "add_eos_token": false})";
  CHECK(load_tokenizer(files)->encode("ab", {}) == Ids{2});
  CHECK_FALSE(load_tokenizer(files)->adds_bos());
  CHECK(load_tokenizer(files)->eos_ids() == Ids{4});
}

TEST_CASE("chat templates: one, a list of named ones, a file of its own") {
  const std::string json = tiny_json().dump();
  const auto chat_template = [&](TokenizerFiles files) {
    files["tokenizer.json"] = json;
    return load_tokenizer(files)->chat_template();
  };
  CHECK(chat_template({}).empty());
  CHECK(chat_template({{"tokenizer_config.json", R"({"chat_template": "one"})"}}) == "one");
  const std::string list = R"({"chat_template": [{"name": "tool_use", "template": "two"},
                                                 {"name": "default", "template": "three"}]})";
  CHECK(chat_template({{"tokenizer_config.json", list}}) == "three");
  CHECK(chat_template({{"tokenizer_config.json", list}, {"chat_template.jinja", "four"}}) == "four");
}

TEST_CASE("a special token is never the result of merges, nor of ignore_merges") {
  nlohmann::json json = tiny_json();
  json["added_tokens"][0] = {{"id", 2}, {"content", "ab"}, {"special", true}};
  CHECK(load_tokenizer({{"tokenizer.json", json.dump()}})->encode("ab", kPlain) == Ids{0, 1});
  CHECK(load_tokenizer({{"tokenizer.json", json.dump()}})->encode("ab", kParse) == Ids{2});
  json["model"]["ignore_merges"] = true;
  CHECK(load_tokenizer({{"tokenizer.json", json.dump()}})->encode("ab", kPlain) == Ids{0, 1});
}

}  // namespace
}  // namespace spqr
