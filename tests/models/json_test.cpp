#include "models/json.h"

#include <doctest/doctest.h>

#include <string>

#include "files.h"

using namespace spqr;

namespace {

std::string refusal(const std::string& text) {
  return message_of([&] { parse_json_strict(text, "x.json"); });
}

std::string nested(int depth) {
  return std::string(static_cast<std::size_t>(depth), '[') +
         std::string(static_cast<std::size_t>(depth), ']');
}

}  // namespace

TEST_CASE("json: documents parse to what they say") {
  const auto value =
      parse_json_strict(R"( {"a": [1, -2, 0.5, true, null], "b": {"a": "ä\u00e4"}} )", "x.json");
  CHECK(value["a"].size() == 5);
  CHECK(value["a"][0] == 1);
  CHECK(value["b"]["a"] == "ää");
  CHECK(parse_json_strict("18446744073709551615", "x").get<std::uint64_t>() == 18446744073709551615U);
}

TEST_CASE("json: what is not one valid document is refused, naming the file") {
  for (const char* text : {"", " ", "{", "{\"a\":}", "{\"a\":1,}", "[1 2]", "{} {}", "{}x", "nul", "'a'",
                           "{\"a\":1", "\"\\ud800\"", "// c\n{}", "NaN", "\"a\nb\""}) {
    CAPTURE(text);
    CHECK(contains(refusal(text), "x.json"));
  }
  CHECK(contains(refusal(std::string("{}\0", 3)), "x.json"));
}

TEST_CASE("json: bytes that are not UTF-8 are refused in strings and in keys") {
  for (const char* bytes : {"\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80"}) {
    CHECK(contains(refusal(std::string("\"") + bytes + "\""), "not valid JSON"));
    CHECK(contains(refusal(std::string("{\"") + bytes + "\": 1}"), "not valid JSON"));
  }
}

TEST_CASE("json: an object has each key once") {
  CHECK(contains(refusal(R"({"a": 1, "b": 2, "a": 1})"), "the key 'a' twice"));
  CHECK(contains(refusal(R"({"a": 1, "\u0061": 1})"), "the key 'a' twice"));
  CHECK(contains(refusal(R"([{"x": {"k": 1, "k": 2}}])"), "the key 'k' twice"));
  CHECK(refusal(R"({"a": {"a": 1}, "b": {"a": 1}})") == "no error");
}

TEST_CASE("json: nesting is bounded, however deep a file goes") {
  CHECK(refusal(nested(64)) == "no error");
  CHECK(contains(refusal(nested(65)), "nested deeper than 64"));
  CHECK(contains(refusal(std::string(1'000'000, '[')), "nested deeper than 64"));
}
