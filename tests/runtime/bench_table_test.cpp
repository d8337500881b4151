// Tables of measurements: every format, row by row.
#include <doctest/doctest.h>

#include "runtime/apps/arguments.h"
#include "runtime/apps/bench_table.h"

namespace spqr {
namespace {

BenchRow row(const std::string& name, double speed) {
  return {{"name", name}, {"speed", speed}, {"nothing", nullptr}, {"samples", {1, 2}}};
}

BenchTable table(const std::string& format) {
  return {table_format(format),
          {value_column("what", "name"),
           value_column("", "nothing"),
           {"fast", [](const BenchRow& of) { return of.at("speed").get<double>() > 1 ? "yes" : "no"; }}}};
}

TEST_CASE("md: a header before the first row, and the columns asked for") {
  BenchTable md = table("md");
  CHECK(md.add(row("a", 1)) == "| what |  | fast |\n| --- | --- | --- |\n| a |  | no |\n");
  CHECK(md.add(row("b", 2)) == "| b |  | yes |\n");
  CHECK(md.end().empty());
}

TEST_CASE("csv: one line a row, without arrays, quoted where it has to be") {
  BenchTable csv = table("csv");
  CHECK(csv.add(row("", 1.5)) == "name,speed,nothing\n,1.5,\n");
  CHECK(csv.add(row("a b", 2)) == "a b,2.0,\n");
  CHECK(csv.add(row("a,b", 2)) == "\"a,b\",2.0,\n");
  CHECK(csv.add(row("say \"a\"", 2)) == "\"say \"\"a\"\"\",2.0,\n");
  CHECK(csv.add(row("two\nlines", 2)) == "\"two\nlines\",2.0,\n");
  CHECK(csv.end().empty());
}

TEST_CASE("jsonl: an object a line, keys in their order") {
  BenchTable lines = table("jsonl");
  CHECK(lines.add(row("a\n", 1)) == "{\"name\":\"a\\n\",\"speed\":1.0,\"nothing\":null,\"samples\":[1,2]}\n");
  CHECK(lines.add(row("caf\xe9", 1)).starts_with("{\"name\":\"caf\xef\xbf\xbd\""));
  CHECK(lines.end().empty());
}

TEST_CASE("json: an array at the end, whatever is in it") {
  BenchTable json = table("json");
  CHECK(nlohmann::json::parse(json.end()) == nlohmann::json::array());
  CHECK(json.add(row("a", 1)).empty());
  CHECK(json.add(row("b", 2)).empty());
  const auto all = nlohmann::json::parse(json.end());
  REQUIRE(all.size() == 2);
  CHECK(all[1].at("name") == "b");
}

TEST_CASE("another format is refused") {
  CHECK_THROWS_WITH_AS(table("xml"), "-o is 'xml', expected one of md, csv, json, jsonl", UsageError);
}

}  // namespace
}  // namespace spqr
