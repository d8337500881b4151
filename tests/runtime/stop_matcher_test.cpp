// Stop strings of characters that are several bytes long, and stop strings within each other.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "runtime/generate.h"

namespace spqr {
namespace {

struct Shown {
  std::string text;
  bool matched;
  bool operator==(const Shown&) const = default;
};

// What is shown when `text` arrives byte by byte; never more than what is before the stop.
Shown byte_by_byte(const std::vector<std::string>& stops, const std::string& text) {
  StopMatcher matcher(stops);
  std::string out;
  for (const char byte : text) out += matcher.push({&byte, 1});
  const bool matched = matcher.matched();
  return {out + matcher.finish(), matched};
}

}  // namespace

TEST_CASE("stop strings of several bytes a character") {
  const std::string stop = "\u7d42\u308f\u308a";
  CHECK(byte_by_byte({stop}, "\u6771\u4eac\u7d42\u308f\u308a!") == Shown{"\u6771\u4eac", true});
  // The first two of three bytes are those of another character.
  CHECK(byte_by_byte({"\u20ac"}, "a\u20acb") == Shown{"a", true});
  CHECK(byte_by_byte({"\u20ac"}, "a\u20adb") == Shown{"a\u20adb", false});

  StopMatcher matcher({stop});
  CHECK(matcher.push("\u6771\u7d42") == "\u6771");
  CHECK(matcher.push("\u308f") == "");
  CHECK(matcher.push("\u4eac") == "\u7d42\u308f\u4eac");
  CHECK_FALSE(matcher.matched());
}

TEST_CASE("what is shown does not depend on how the text is cut into pieces") {
  const std::vector<std::vector<std::string>> sets = {
      {"bcd", "c"}, {"c", "bcd"}, {"abcd", "bc", "d"}, {"dd", "cdd"}};
  for (const auto& stops : sets) {
    const std::string text = "aabcddd";
    const Shown expected = byte_by_byte(stops, text);
    for (std::size_t first = 0; first <= text.size(); ++first) {
      for (std::size_t second = first; second <= text.size(); ++second) {
        StopMatcher matcher(stops);
        std::string out = matcher.push(text.substr(0, first));
        out += matcher.push(text.substr(first, second - first));
        out += matcher.push(text.substr(second));
        const bool matched = matcher.matched();
        CHECK(Shown{out + matcher.finish(), matched} == expected);
      }
    }
  }
}

TEST_CASE("of several stop strings each is found") {
  CHECK(byte_by_byte({"abc", "bd"}, "xabd") == Shown{"xa", true});
  CHECK(byte_by_byte({"abab", "ba"}, "aab!") == Shown{"aab!", false});
  CHECK(byte_by_byte({"aab", "aaab"}, "aaaab") == Shown{"a", true});
  // Two that end at once: the longer one began first.
  CHECK(byte_by_byte({"aab", "ab"}, "xaab") == Shown{"x", true});
  CHECK(byte_by_byte({"ab", "aab"}, "xaab") == Shown{"x", true});
  CHECK(byte_by_byte({"ab", "abc"}, "zabc") == Shown{"z", true});
  CHECK(byte_by_byte({"", "b", ""}, "abc") == Shown{"a", true});
}

TEST_CASE("the end of a text that begins a stop string twice over") {
  CHECK(byte_by_byte({"abac"}, "abab") == Shown{"abab", false});
  CHECK(byte_by_byte({"abac"}, "ababac") == Shown{"ab", true});
  StopMatcher matcher({"abac"});
  CHECK(matcher.push("abab") == "ab");  // the second "ab" may still become one
  CHECK(matcher.push("ac") == "");
  CHECK(matcher.matched());
}

}  // namespace spqr
