// spqr-bench, run as a user runs it.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/cpu/isa.h"
#include "tests/models/files.h"
#include "tests/runtime/small_models.h"
#include "tests/runtime/tools.h"

namespace spqr {
namespace {

class Model {
 public:
  Model() : file_((directory_.path() / "stories.spqr").string()) { write_stories_model(file_); }
  const std::string& file() const { return file_; }
  std::string write(const std::string& name, const std::string& bytes) const {
    return directory_.write(name, bytes).string();
  }

 private:
  TemporaryDirectory directory_;
  std::string file_;
};

const Model& model() {
  static const Model made;
  return made;
}

Finished bench(Arguments arguments) {
  arguments.insert(arguments.end(), {"-r", "2"});
  return run("spqr-bench", arguments);
}

// With the model.
Finished bench_model(Arguments arguments) {
  arguments.insert(arguments.end(), {"-m", model().file()});
  return bench(arguments);
}

nlohmann::json rows_of(const Finished& finished) {
  CAPTURE(finished.err);
  CHECK(finished.status == 0);
  return nlohmann::json::parse(finished.out);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

}  // namespace

TEST_CASE("spqr-bench prints rows with llama-bench's names, and ours") {
  const auto rows = rows_of(bench_model({"-p", "32", "-n", "8", "-t", "2", "-o", "json"}));
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].at("n_prompt") == 32);
  CHECK(rows[0].at("n_gen") == 0);
  CHECK(rows[1].at("n_prompt") == 0);
  CHECK(rows[1].at("n_gen") == 8);
  const auto size = static_cast<double>(std::filesystem::file_size(model().file()));
  for (const auto& row : rows) {
    CHECK(row.at("n_threads") == 2);
    CHECK(row.at("isa") == name_of(present_isas().front()));
    CHECK(row.at("model_size") == size);
    CHECK(row.at("samples_ts").size() == 2);
    CHECK(row.at("samples_ns").size() == 2);
    for (const std::string key :
         {"avg_ts", "gb_per_s", "read_bandwidth_gb_per_s", "share_of_read_bandwidth", "gflop_per_s",
          "peak_gflop_per_s", "share_of_peak", "share_outside_products", "bytes_per_token", "flop_per_token",
          "profiled_seconds"}) {
      CHECK_MESSAGE(row.at(key).get<double>() > 0, key);
    }
    for (const std::string key :
         {"model_filename", "model_type", "model_n_params", "n_batch", "n_depth", "type_k", "type_v",
          "avg_ns", "stddev_ns", "stddev_ts", "test_time", "backends", "use_mmap", "use_mlock"}) {
      CHECK_MESSAGE(row.contains(key), key);
    }
    for (const std::string operation : {"linear", "norm", "attention", "rope_append", "swiglu", "embed"})
      CHECK_MESSAGE(row.at("seconds_by_operation").at(operation).get<double>() > 0, operation);
  }
  // Every weight is read once for a token; of the embedding one row. For a prompt they are shared.
  CHECK(rows[1].at("bytes_per_token").get<double>() > 0.9 * size);
  CHECK(rows[1].at("bytes_per_token").get<double>() < 1.2 * size);
  CHECK(rows[0].at("bytes_per_token").get<double>() < 0.1 * size);
  CHECK(rows[1].at("weight_bytes_per_token") < rows[1].at("bytes_per_token"));
  CHECK(rows[1].at("weight_bytes_per_token").get<double>() > 0.9 * size);
}

TEST_CASE("spqr-bench measures every combination") {
  const auto rows = rows_of(bench_model({"-p", "4,8", "-n", "2", "-pg", "4,2", "-d", "0-16+16", "-t", "1-2",
                                         "-ctk", "f16,q8_0", "-o", "json"}));
  CHECK(rows.size() == 2 * 2 * 2 * 4);
  std::set<std::string> different;
  for (const auto& row : rows) {
    std::string key;
    for (const char* name : {"n_prompt", "n_gen", "n_depth", "n_threads", "type_k"})
      key += row.at(name).dump() + " ";
    different.insert(key);
  }
  CHECK(different.size() == rows.size());
  CHECK(different.contains("4 2 16 2 \"q8_0\" "));
}

TEST_CASE("options given again add to their lists") {
  const std::string other = model().write("other.spqr", read_bytes(model().file()));
  const auto rows = rows_of(bench_model({"-p", "4", "-p", "8,9-10", "-n", "0", "-m", other, "-o", "json"}));
  std::set<std::string> different;
  for (const auto& row : rows)
    different.insert(row.at("model_filename").get<std::string>() + row.at("n_prompt").dump());
  CHECK(rows.size() == 2 * 4);
  CHECK(different.size() == rows.size());
  const auto md = lines_of(bench_model({"-p", "4", "-n", "0", "-b", "2", "-b", "4"}).out);
  REQUIRE(md.size() == 4);
  CHECK(contains(md[0], "| batch | test |"));
}

TEST_CASE("how weights are in memory is said where it is not as usual") {
  const auto md = lines_of(bench_model({"-p", "4", "-n", "0", "--no-mmap", "--mlock"}).out);
  REQUIRE(md.size() == 3);
  CHECK(contains(md[0], "| threads | mmap | mlock | test |"));
  CHECK(contains(md[2], "| false | true | pp4 |"));
  const auto rows = rows_of(bench_model({"-p", "4", "-n", "0", "--mlock", "-o", "json"}));
  CHECK(rows[0].at("use_mmap") == true);
  CHECK(rows[0].at("use_mlock") == true);
}

TEST_CASE("rows say what ran, whatever was asked for") {
  const auto of = [](Arguments arguments) {
    arguments.insert(arguments.end(), {"-p", "2", "-n", "0", "-t", "2", "-o", "json"});
    return rows_of(bench_model(arguments)).at(0);
  };
  const auto reference = of({"--backend", "reference"});
  CHECK(reference.at("n_threads") == 1);
  CHECK(reference.at("isa").is_null());
  CHECK(reference.at("activations") == "f32");
  const auto portable = of({"--isa", "portable"});
  CHECK(portable.at("n_threads") == 2);
  CHECK(portable.at("isa") == "portable");
  CHECK(portable.at("activations") == "f32");
}

TEST_CASE("spqr-bench prints tables with a column for what varies, csv and jsonl") {
  const Arguments two{"-p", "4", "-n", "2", "-d", "8", "-b", "2,4"};
  const auto with = [&](const std::string& format) {
    Arguments arguments = two;
    arguments.insert(arguments.end(), {"-o", format});
    return lines_of(bench_model(arguments).out);
  };
  const auto md = with("md");
  REQUIRE(md.size() == 6);
  CHECK(contains(md[0], "| batch | test | tokens/s | GB/s |"));
  CHECK(!contains(md[0], "| type k |"));
  CHECK(contains(md[2], "| 2 | pp4 @ d8 |"));
  CHECK(contains(md[5], "| 4 | tg2 @ d8 |"));
  const auto csv = with("csv");
  REQUIRE(csv.size() == 5);
  CHECK(contains(csv[0], ",n_prompt,n_gen,n_depth,"));
  for (const std::string& line : csv) CHECK(std::ranges::count(line, ',') == std::ranges::count(csv[0], ','));
  const auto jsonl = with("jsonl");
  REQUIRE(jsonl.size() == 4);
  for (const std::string& line : jsonl) CHECK(nlohmann::json::parse(line).at("n_depth") == 8);
}

TEST_CASE("a file whose name is no UTF-8 is measured like any other") {
  const std::string name = model().write("caf\xe9", read_bytes(model().file()));
  const auto rows = rows_of(bench({"-m", name, "-p", "4", "-n", "0", "-o", "json"}));
  CHECK(rows[0].at("model_filename").get<std::string>().ends_with("caf\ufffd"));
}

TEST_CASE("spqr-bench measures operations, each compared with the reference") {
  const auto rows = rows_of(bench({"--op", "spqr_matvec,spqr_matmul,dense_matvec,dense_matmul,attention",
                                   "--shape", "64x96,4x2x32", "-p", "5", "--bits", "3", "--beta1", "row,16",
                                   "--activations", "auto,f32", "-d", "6", "-o", "json"}));
  CHECK(rows.size() == 2 * 2 * (1 + 1) + 1 + 1 + 1);
  for (const auto& row : rows) {
    CAPTURE(row.dump());
    const double limit = row.at("op") == "attention" ? 1e-3 : row.at("activations") == "f32" ? 1e-5 : 0x1p-8;
    CHECK(row.at("relative_error").get<double>() <= limit);
    CHECK(row.at("avg_ns").get<double>() > 0);
    CHECK(row.at("gb_per_s").get<double>() > 0);
    CHECK(row.at("gflop_per_s").get<double>() > 0);
    CHECK(row.at("bits").is_number() == row.at("op").get<std::string>().starts_with("spqr"));
    CHECK(row.at("activations").is_string() == row.at("op").get<std::string>().starts_with("spqr"));
    CHECK(row.at("n_depth").is_number() == (row.at("op") == "attention"));
  }
  const auto md =
      lines_of(bench({"--op", "spqr_matvec", "--shape", "64x96", "--bits", "3,4", "--outliers", "0"}).out);
  REQUIRE(md.size() == 4);
  CHECK(contains(md[0], "| operation | shape | backend | threads | bits | tokens |"));
  CHECK(contains(md[3], "| spqr_matvec | 64x96 | cpu |"));
}

TEST_CASE("options that an operation does not have make neither rows nor columns of it") {
  const auto packed = lines_of(
      bench({"--op", "spqr_matvec", "--shape", "64x96", "-ctk", "f16,q8_0", "-d", "0,6", "-p", "1,2"}).out);
  REQUIRE(packed.size() == 3);
  CHECK(contains(packed[0], "| backend | threads | tokens |"));
  const auto attention = lines_of(bench({"--op", "attention", "--shape", "4x2x32", "-p", "1", "--bits", "3,4",
                                         "--activations", "auto,f32", "-ctv", "f16", "-ctv", "q8_0"})
                                      .out);
  REQUIRE(attention.size() == 4);
  CHECK(contains(attention[0], "| backend | threads | type v | tokens |"));
  const auto reference = lines_of(bench({"--op", "dense_matvec", "--shape", "64x96", "--backend", "reference",
                                         "-t", "1,2", "--isa", "auto,portable"})
                                      .out);
  REQUIRE(reference.size() == 3);
  CHECK(contains(reference[0], "| backend | threads | tokens |"));
}

TEST_CASE("operations that memory does not hold are refused with both numbers") {
  check_refused("spqr-bench", {"--op", "dense_matvec", "--shape", "16777216x16777216"}, 1, "are available");
}

TEST_CASE("wrong usage of spqr-bench is one sentence and status 2") {
  const auto refuses = [](Arguments arguments, const std::string& part) {
    check_refused("spqr-bench", arguments, 2, part);
  };
  const auto model_refuses = [&](Arguments arguments, const std::string& part) {
    arguments.insert(arguments.end(), {"-m", model().file()});
    refuses(arguments, part);
  };
  refuses({"-p", "1"}, "-m FILE");
  model_refuses({"-p", "0", "-n", "0"}, "nothing to measure");
  model_refuses({"-o", "xml"}, "xml");
  model_refuses({"-r", "0"}, "repetitions is 0");
  model_refuses({"-p", "128", "-c", "64"}, "-c 64 is too small");
  model_refuses({"-p", "32", "-d", "64", "-c", "64"}, "-c 64 is too small for a test of 192 tokens");
  model_refuses({"-p", "1-x"}, "--n-prompt is '1-x'");
  model_refuses({"-n", "4-1"}, "empty");
  model_refuses({"-pg", "4"}, "-pg is '4'");
  for (const char* pair : {"1-2", "1-2+1", "1,2-3", "1,2,3"})
    model_refuses({"-pg", pair}, fmt::format("-pg is '{}', expected two numbers", pair));
  model_refuses({"-t", "1,-3"}, "--threads is -3, expected -1 to 1024");
  model_refuses({"-b", "0"}, "--batch-size is 0");
  model_refuses({"-ctk", "f16,q5_0"}, "q5_0");
  model_refuses({"--backend", "cpu,abacus"}, "abacus");
  model_refuses({"--bits", "3"}, "--bits is for operations");
  model_refuses({"--outliers", "3"}, "--outliers is for operations");
  model_refuses({"--op", "spqr_matvec", "--shape", "8x8"}, "goes without --model");
  const auto op_refuses = [&](const Arguments& more, const std::string& part) {
    Arguments arguments{"--op", "spqr_matvec"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    refuses(arguments, part);
  };
  op_refuses({}, "--shape");
  op_refuses({"--shape", "8"}, "--shape is '8'");
  for (const char* shape : {"4x", "x4", "4xx4", "4-8x2", "4xfour"})
    op_refuses({"--shape", shape}, fmt::format("--shape is '{}', expected such as 4096x11008", shape));
  op_refuses({"--shape", "8x0"}, "--shape is 0");
  op_refuses({"--shape", "4x2x8"}, "spqr_matvec needs a --shape such as 4096x11008");
  op_refuses({"--shape", "8x8,3x2x8"}, "no multiple");
  op_refuses({"--shape", "8x8", "--bits", "9"}, "9");
  op_refuses({"--shape", "8x8", "--beta1", "12"}, "12");
  op_refuses({"--shape", "8x8", "--outliers", "101"}, "--outliers is 101");
  op_refuses({"--shape", "8x8", "-n", "4"}, "goes without --n-gen");
  op_refuses({"--shape", "8x8", "-c", "4"}, "goes without --ctx-size");
  op_refuses({"--shape", "8x8", "--mlock"}, "goes without --mlock");
  refuses({"--op", "matmul", "--shape", "8x8"},
          "there is no operation 'matmul' to measure; there are spqr_matvec, spqr_matmul, dense_matvec, "
          "dense_matmul, attention; see spqr-bench --help");
}

TEST_CASE("Ctrl-C ends spqr-bench with the rows that were measured") {
  Process process(
      command("spqr-bench", {"-m", model().file(), "-p", "0", "-n", "2,400", "-r", "20", "-o", "jsonl"}));
  process.wait_for_output(10);
  process.send(SIGINT);
  const Finished result = process.finish();
  CHECK(result.status == 130);
  CHECK(contains(result.err, "interrupted"));
  const auto lines = lines_of(result.out);
  REQUIRE(lines.size() == 1);
  CHECK(nlohmann::json::parse(lines[0]).at("n_gen") == 2);
}

TEST_CASE("speed is measured beyond what the model was made for, but not beyond what memory holds") {
  const Finished result =
      bench({"-m", model().file(), "-p", "400", "-n", "0", "-d", "200", "-r", "1", "-o", "jsonl"});
  CHECK_MESSAGE(result.status == 0, result.err);
  CHECK(nlohmann::json::parse(result.out).at("n_depth") == 200);
  check_refused("spqr-bench", {"-m", model().file(), "-p", "4", "-n", "0", "-c", "900000000"}, 1, "memory");
}

TEST_CASE("what fails after some rows leaves them printed") {
  for (const std::string format : {"json", "jsonl"}) {
    const Finished result =
        bench({"-m", model().file() + ",/nowhere.spqr", "-p", "4", "-n", "0", "-o", format});
    CHECK(result.status == 1);
    CHECK(contains(result.err, "/nowhere.spqr"));
    const auto rows = nlohmann::json::parse(result.out);
    CHECK((format == "json" ? rows.at(0) : rows).at("n_prompt") == 4);
  }
}

}  // namespace spqr
