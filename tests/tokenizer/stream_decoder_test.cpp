#include <doctest/doctest.h>

#include "tests/tokenizer/tokenizer_fixtures.h"
#include "tokenizer/utf8.h"

namespace spqr {
namespace {

// Each id is a byte of its own; 256 is a special token, 257 a space and a letter.
class Bytes final : public Tokenizer {
 public:
  std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions&) const override {
    std::vector<std::int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string piece(std::int32_t id, bool special) const override {
    if (id == 256) return special ? "<end>" : "";
    return id == 257 ? " a" : std::string(1, static_cast<char>(id));
  }
  std::string decode(std::span<const std::int32_t>, bool) const override { return {}; }
  std::string_view dropped_prefix() const override { return " "; }
  std::int32_t vocab_size() const override { return 258; }
  const RoleTokens& roles() const override { return no_roles_; }
  const std::vector<std::int32_t>& eos_ids() const override { return none_; }
  bool adds_bos() const override { return false; }
  std::optional<std::int32_t> find(std::string_view) const override { return std::nullopt; }
  const std::string& chat_template() const override { return empty_; }

 private:
  RoleTokens no_roles_;
  std::vector<std::int32_t> none_;
  std::string empty_;
};

std::vector<std::string> stream(std::string_view bytes) {
  const Bytes tokenizer;
  StreamDecoder decoder(tokenizer, false);
  std::vector<std::string> parts;
  for (const std::int32_t id : tokenizer.encode(bytes, {})) parts.push_back(decoder.push(id));
  parts.push_back(decoder.finish());
  return parts;
}

TEST_CASE("characters come out whole, as soon as they are") {
  using Parts = std::vector<std::string>;
  const std::string r = "\xEF\xBF\xBD";
  CHECK(stream("a\xF0\x9F\x98\x80z") == Parts{"a", "", "", "", "\xF0\x9F\x98\x80", "z", ""});
  CHECK(stream("\xFFq") == Parts{r, "q", ""});
  CHECK(stream("\xE2\x82q") == Parts{"", "", r + "q", ""});
  CHECK(stream("\xE2\x82") == Parts{"", "", r});
  CHECK(stream("\xF0\x9F\xC3\xA9") == Parts{"", "", r, "\xC3\xA9", ""});
}

TEST_CASE("the leading space is dropped once, at the start of a text only") {
  const Bytes tokenizer;
  StreamDecoder at_start(tokenizer, false);
  CHECK(at_start.push(256) == "");
  CHECK(at_start.push(257) == "a");
  CHECK(at_start.push(257) == " a");
  StreamDecoder going_on(tokenizer, true, false);
  CHECK(going_on.push(257) == " a");
  CHECK(going_on.push(256) == "<end>");
}

TEST_CASE("a stream of ids gives the text that decode gives, and never half a character") {
  for (const auto& entry : all_tokenizers()) {
    const std::string& name = entry.first;
    const Tokenizer* tokenizer = entry.second.get();
    CAPTURE(name);
    for (std::uint32_t seed = 0; seed < 10; ++seed) {
      const std::vector<std::int32_t> ids = tokenizer->encode(random_text(seed, 80), {});
      StreamDecoder decoder(*tokenizer, false);
      std::string text;
      for (const std::int32_t id : ids) {
        const std::string part = decoder.push(id);
        CHECK(is_valid_utf8(part));
        text += part;
      }
      text += decoder.finish();
      CHECK(text == tokenizer->decode(ids, false));
    }
  }
}

}  // namespace
}  // namespace spqr
