// Options of several values: lists and ranges as llama-bench has them, and what is none.
#include <doctest/doctest.h>

#include <limits>

#include "runtime/apps/arguments.h"
#include "runtime/apps/value_list.h"

namespace spqr {
namespace {

constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

std::vector<std::int64_t> list(const std::string& text, std::int64_t least = 0,
                               std::int64_t most = kLargest) {
  return integer_list("-x", text, least, most);
}

void refuses(const std::string& text, const std::string& part) {
  CAPTURE(text);
  try {
    list(text);
    FAIL("is no error");
  } catch (const UsageError& error) {
    const std::string what = error.what();
    CHECK_MESSAGE(what.find(part) != std::string::npos, what);
    CHECK(what.starts_with("-x is "));
  }
}

using Values = std::vector<std::int64_t>;

TEST_CASE("lists of whole numbers") {
  CHECK(list("7") == Values{7});
  CHECK(list("4,1,4") == Values{4, 1, 4});
  CHECK(list("-1,0", -1) == Values{-1, 0});
  CHECK(list("9223372036854775807") == Values{kLargest});
}

TEST_CASE("ranges, also between commas") {
  CHECK(list("3-6") == Values{3, 4, 5, 6});
  CHECK(list("128-512+128") == Values{128, 256, 384, 512});
  CHECK(list("1-9+3") == Values{1, 4, 7});
  CHECK(list("1-10*2") == Values{1, 2, 4, 8});
  CHECK(list("5-5") == Values{5});
  CHECK(list("0,512-4096*2,7") == Values{0, 512, 1024, 2048, 4096, 7});
  CHECK(list("-2-1", -2) == Values{-2, -1, 0, 1});
}

TEST_CASE("ranges end at the largest number there is") {
  CHECK(list("9223372036854775806-9223372036854775807") == Values{kLargest - 1, kLargest});
  CHECK(list("4611686018427387904-9223372036854775807*2") == Values{std::int64_t{1} << 62});
}

TEST_CASE("what is no list is one sentence") {
  for (const char* text :
       {"", "x", "1,", ",1", "1,,2", "1-", "1-x", "1 ,2", "1-4*", "1-4+", "1-4/2", "1.5", "1-2-3"})
    refuses(text, "expected whole numbers");
  refuses("99999999999999999999", "more than there is room for");
  refuses("6-3", "empty");
  refuses("1-4+0", "never ends");
  refuses("1-4*1", "never ends");
  refuses("1-4*0", "never ends");
  refuses("1-4*-2", "never ends");
  refuses("0-4*2", "never ends");
  refuses("1-100000", "more than 1000");
  CHECK_THROWS_WITH_AS(list("1,9", 0, 8), "-x is 9, expected 0 to 8", UsageError);
  CHECK_THROWS_WITH_AS(list("-1"), "-x is -1, expected 0 to 9223372036854775807", UsageError);
}

TEST_CASE("lists of names") {
  CHECK(text_list("-x", "f16") == std::vector<std::string>{"f16"});
  CHECK(text_list("-x", "f16,q8_0") == std::vector<std::string>{"f16", "q8_0"});
  for (const char* text : {"", ",", "a,", ",a", "a,,b"}) CHECK_THROWS_AS(text_list("-x", text), UsageError);
}

}  // namespace
}  // namespace spqr
