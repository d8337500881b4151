#include "runtime/text_input.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "tests/models/files.h"

namespace spqr {
namespace {

using Ids = std::vector<std::int32_t>;
using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("token ids separated by white space") {
  CHECK(parse_token_ids("1 2\n3\t 511 ", 512, "f") == Ids{1, 2, 3, 511});
  CHECK(parse_token_ids(" \n", 512, "f").empty());
  for (const std::string bad : {"512", "-1", "1,2", "x", "1.5", "+3", "99999999999999999999"}) {
    const std::string message = message_of([&] { parse_token_ids("7 " + bad + " 8", 512, "ids.txt"); });
    CHECK(message == "ids.txt: '" + bad + "' is no token id of 0 .. 511");
  }
}

TEST_CASE("ranges of documents") {
  CHECK(parse_document_range("3-9").first == 3);
  CHECK(parse_document_range("3-9").last == 9);
  CHECK(parse_document_range("4").first == 4);
  CHECK(parse_document_range("4").last == 4);
  CHECK(parse_document_range("7-").first == 7);
  CHECK(parse_document_range("7-").last == 0);
  for (const std::string bad :
       {"", "-", "0-3", "5-4", "a-b", "1-b", "1-2-3", "-4", "1 - 2", "1-99999999999999999999"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_document_range(bad), std::invalid_argument);
  }
}

TEST_CASE("documents of a .jsonl file") {
  const std::string jsonl =
      "{\"text\": \"a\\n\", \"url\": 1}\n\n  {\"text\": \"\\u00e9\"}\r\n{\"text\": \"\"}";
  CHECK(read_documents(jsonl, {}, "f") == Texts{"a\n", "\u00e9", ""});
  CHECK(read_documents(jsonl, {2, 3}, "f") == Texts{"\u00e9", ""});
  CHECK(read_documents(jsonl, {2, 2}, "f") == Texts{"\u00e9"});
  CHECK(contains(message_of([&] {
                   read_documents(jsonl, {2, 4}, "c4.jsonl");
                 }),
                 "c4.jsonl: has 3 documents, asked for 2-4"));
  CHECK_THROWS_AS(read_documents(jsonl, {4, 4}, "f"), std::runtime_error);
  for (const std::string bad :
       {"{\"text\": 1}", "[]", "{\"a\": \"b\"}", "{\"text\": \"x\"", "text", "{\"text\": \"\xff\"}"}) {
    CAPTURE(bad);
    CHECK(contains(message_of([&] { read_documents(jsonl + "\n" + bad, {}, "f"); }), "document 4"));
  }
}

TEST_CASE("texts are joined and files read") {
  CHECK(join({}, ", ").empty());
  CHECK(join({"a"}, ", ") == "a");
  CHECK(join({"a", "", "b"}, "; ") == "a; ; b");
  const TemporaryDirectory directory;
  const std::string bytes("a\0\r\nb", 5);
  CHECK(read_text(directory.write("t", bytes)) == bytes);
  CHECK(
      contains(message_of([&] { read_text(directory.path() / "none"); }), "cannot be opened: No such file"));
  CHECK(contains(message_of([&] { read_text(directory.path()); }), "is a directory"));
}

}  // namespace spqr
