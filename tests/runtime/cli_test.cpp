// The executables that run and measure a model: options, exit statuses, what they print and where.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "tests/models/files.h"
#include "tests/runtime/small_models.h"
#include "tests/runtime/tools.h"

namespace spqr {
namespace {

// The stories model, made once; a model without tokenizer beside it.
class Models {
 public:
  Models() {
    write_stories_model(stories());
    write_dense_model("golden/llama-mha", "", DType::f32, ids_only());
  }
  std::string stories() const { return (directory_.path() / "stories.spqr").string(); }
  std::string ids_only() const { return (directory_.path() / "ids.spqr").string(); }
  std::string write(const std::string& name, const std::string& bytes) const {
    return directory_.write(name, bytes).string();
  }
  // spqr-run with the stories model, greedy.
  Arguments greedy(const Arguments& more) const {
    Arguments all{"-m", stories(), "--temp", "0", "-t", "2"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

 private:
  TemporaryDirectory directory_;
};

const Models& models() {
  static const Models made;
  return made;
}

nlohmann::json golden() {
  return nlohmann::json::parse(
      read_bytes(std::filesystem::path(SPQR_FIXTURES) / "golden" / "llama-mha" / "golden.json"));
}

std::string joined(const std::vector<std::int32_t>& ids) {
  std::string text;
  for (const std::int32_t id : ids) text += fmt::format("{} ", id);
  return text;
}

}  // namespace

TEST_CASE("help and version") {
  for (const std::string tool : {"spqr-run", "spqr-perplexity", "spqr-bench"}) {
    const Finished help = run(tool, {"--help"});
    CHECK(help.status == 0);
    CHECK(contains(help.out, "--ctx-size"));
    const Finished version = run(tool, {"--version"});
    CHECK(version.status == 0);
    CHECK(version.out == tool + " " + SPQR_VERSION + "\n");
  }
}

TEST_CASE("wrong usage is one sentence and status 2") {
  const std::string model = models().stories();
  const auto run_refuses = [&](const Arguments& more, const std::string& part) {
    Arguments arguments{"-m", model, "-p", "x"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    check_refused("spqr-run", arguments, 2, part);
  };
  check_refused("spqr-run", {"-p", "x"}, 2, "-m FILE");
  check_refused("spqr-run", {"-m", model}, 2, "-p TEXT");
  run_refuses({"-f", "y"}, "both");
  run_refuses({"--no-such-option"}, "no-such-option");
  run_refuses({"stray"}, "stray");
  run_refuses({"-n", "abc"}, "abc");
  run_refuses({"-n", "-2"}, "-2");
  run_refuses({"-n", "99999999999999999999"}, "99999999999999999999");
  run_refuses({"-c", "-1"}, "ctx-size is -1");
  run_refuses({"-b", "0"}, "batch-size is 0");
  run_refuses({"-t", "-3"}, "threads is -3");
  run_refuses({"-s", "-2"}, "seed is -2");
  run_refuses({"--temp", "-1"}, "--temp is -1");
  run_refuses({"--top-p", "1.5"}, "--top-p is 1.5");
  run_refuses({"--top-k", "x"}, "x");
  run_refuses({"--min-p", "2"}, "--min-p is 2");
  run_refuses({"--repeat-last-n", "-2"}, "--repeat-last-n is -2");
  run_refuses({"--backend", "abacus"}, "abacus");
  run_refuses({"-ctk", "q5_0"}, "there are f32, f16 and q8_0");

  check_refused("spqr-perplexity", {"-m", model}, 2, "-f FILE");
  check_refused("spqr-perplexity", {"-m", model, "-f", "x", "--dataset", "wiki"}, 2, "'wiki'");
  check_refused("spqr-perplexity", {"-m", model, "-f", "x", "--windows", "0"}, 2, "windows is 0");
  check_refused("spqr-perplexity", {"-m", model, "-f", "x", "--dataset", "c4", "--documents", "5-4"}, 2,
                "5-4");
  check_refused("spqr-perplexity", {"-m", model, "-f", "x", "--documents", "1-4"}, 2, "c4");
  check_refused("spqr-perplexity", {"-m", model, "--tokens", "x", "-f", "y"}, 2, "--tokens");
  check_refused("spqr-perplexity", {"-m", model, "--tokens", "x", "-c", "64"}, 2, "--ctx-size");
  check_refused("spqr-perplexity", {"-m", model, "--tokens", "x", "--windows", "1"}, 2, "--windows");
  check_refused("spqr-quantize", {model, "out.spqr", "-t", "-2"}, 2, "threads is -2");
  check_refused("spqr-quantize", {model, "out.spqr", "--documents", "1-2"}, 2, "--calibration");
}

TEST_CASE("llama.cpp's spellings are understood") {
  const auto text = [](const Arguments& arguments) { return run("spqr-run", arguments).out; };
  const std::string expected = text(models().greedy({"-p", "Once", "-n", "12"}));
  CHECK(expected.size() > 20);
  CHECK(text(models().greedy({"-p", "Once", "--n-predict", "12", "-c", "0", "--top-k", "-1"})) == expected);
  CHECK(text({"-m", models().stories(), "--temp", "0", "-t", "-1", "-p", "Once", "-n", "12"}) == expected);
  const std::string stop = expected.substr(10, 3);
  CHECK(text(models().greedy({"-p", "Once", "-n", "12", "-r", stop})) ==
        text(models().greedy({"-p", "Once", "-n", "12", "--stop", stop})));
  const Finished on_gpu = run("spqr-run", models().greedy({"-p", "Once", "-n", "12", "-ngl", "99"}));
  CHECK(on_gpu.out == expected);
  CHECK(contains(on_gpu.err, "warning: all blocks run on the CPU: ") != cuda_is_real());
}

TEST_CASE("a prompt from a file loses its last newline, and only that") {
  const std::string expected = run("spqr-run", models().greedy({"-p", "Once\n", "-e", "-n", "3"})).out;
  CHECK(expected.starts_with("Once\n"));
  CHECK(run("spqr-run", models().greedy({"-f", models().write("prompt", "Once\n\n"), "-n", "3"})).out ==
        expected);
}

TEST_CASE("a prompt that does not fit is refused before it is shown") {
  const Finished result =
      run("spqr-run", models().greedy({"-p", "Once upon a time there was a girl", "-c", "4"}));
  CHECK(result.status == 1);
  CHECK(result.out.empty());
  CHECK(contains(result.err, "the context room for 4"));
}

TEST_CASE("files that are missing, cut off or something else are one sentence and status 1") {
  for (const std::string tool : {"spqr-run", "spqr-perplexity", "spqr-bench"}) {
    const auto refuses = [&](const std::string& model, const std::string& part) {
      Arguments arguments{"-m", model};
      if (tool == "spqr-run") arguments.insert(arguments.end(), {"-p", "x"});
      if (tool == "spqr-perplexity") arguments.insert(arguments.end(), {"-f", "x"});
      check_refused(tool, arguments, 1, part);
    };
    refuses("/nowhere/model.spqr", "/nowhere/model.spqr");
    const std::string bytes = read_bytes(models().stories());
    for (const std::size_t length :
         {std::size_t{0}, std::size_t{7}, std::size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
      refuses(models().write("cut.spqr", bytes.substr(0, length)), "cut.spqr");
    }
    refuses(models().write("text.spqr", "this is no model, but it is long enough to have a header"),
            "text.spqr");
    refuses(models().write("model.gguf", "GGUF" + std::string(60, '\0')), "is a GGUF file");
    refuses(SPQR_FIXTURES, "is a directory");
  }
  check_refused("spqr-run", {"-m", models().stories(), "-f", "/nowhere.txt"}, 1, "/nowhere.txt");
  check_refused("spqr-perplexity", {"-m", models().stories(), "-f", "/nowhere.txt"}, 1, "/nowhere.txt");
}

TEST_CASE("spqr-run streams the prompt and what follows, and timings to standard error") {
  const Finished result = run("spqr-run", models().greedy({"-p", "Once upon a time", "-n", "11"}));
  CHECK(result.status == 0);
  CHECK(result.out == "Once upon a time, there was a little girl named Lily.\n");
  CHECK(contains(result.err, "backend cpu"));
  CHECK(contains(result.err, "tokens/s"));
  CHECK(contains(result.err, "GB/s"));
  const Finished alone =
      run("spqr-run", models().greedy({"-p", "Once upon a time", "-n", "11", "--no-display-prompt"}));
  CHECK(alone.out == ", there was a little girl named Lily.\n");
  const std::string file = models().write("prompt.txt", "Once upon a time");
  for (const Arguments& more : std::vector<Arguments>{{"--no-mmap"},
                                                      {"--mlock"},
                                                      {"--mlock", "--no-mmap"},
                                                      {"--verify"},
                                                      {"--backend", "reference"},
                                                      {"-b", "3"},
                                                      {"-ctk", "f32"},
                                                      {"-ctk", "q8_0", "-ctv", "f32"}}) {
    Arguments arguments = models().greedy({"-f", file, "-n", "11"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished same = run("spqr-run", arguments);
    CHECK_MESSAGE(same.out == result.out, more[0] << ": " << same.err);
  }
}

TEST_CASE("spqr-run --json prints one object") {
  const Finished result = run(
      "spqr-run", models().greedy({"-p", "Once upon a time", "--stop", " Lily", "--stop", "\n", "--json"}));
  CHECK(result.status == 0);
  const auto object = nlohmann::json::parse(result.out);
  CHECK(object.at("text") == ", there was a little girl named");
  CHECK(object.at("finish_reason") == "stop");
  CHECK(object.at("ids").size() == object.at("generated_tokens").get<std::size_t>());
  CHECK(object.at("prompt_tokens").get<int>() > 1);
  CHECK(object.at("backend") == "cpu");
  for (const std::string key : {"load_seconds", "prompt_tokens_per_s", "decode_tokens_per_s", "gb_per_s"}) {
    CHECK(object.at(key).get<double>() >= 0);
  }
}

TEST_CASE("escapes in the prompt are understood when asked for") {
  const auto prompt_tokens = [](const Arguments& more) {
    Arguments arguments = models().greedy({"-p", "a\\nb\\x41\\\\", "-n", "0"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run("spqr-run", arguments).out;
  };
  CHECK(prompt_tokens({}) == "a\\nb\\x41\\\\\n");
  CHECK(prompt_tokens({"-e"}) == "a\nbA\\\n");
  // The story's first paragraph.
  const Finished stopped =
      run("spqr-run", models().greedy({"-p", "Once upon a time", "-e", "--stop", "\\n", "--json"}));
  const auto object = nlohmann::json::parse(stopped.out);
  CHECK(object.at("finish_reason") == "stop");
  CHECK(object.at("text").get<std::string>().ends_with("too high."));
}

TEST_CASE("a seed gives one text, whatever the number of threads") {
  const auto text = [](const std::string& seed, const std::string& threads) {
    return run("spqr-run", {"-m", models().stories(), "-p", "One", "-n", "40", "-s", seed, "-t", threads})
        .out;
  };
  const std::string one = text("5", "1");
  CHECK(text("5", "2") == one);
  CHECK(text("5", "3") == one);
  CHECK(text("6", "2") != one);
}

TEST_CASE("a full context stops with a message, or shifts") {
  const Finished full = run("spqr-run", models().greedy({"-p", "Once", "-c", "16"}));
  CHECK(full.status == 0);
  CHECK(contains(full.err, "the context of 16 tokens is full"));
  const Finished shifted =
      run("spqr-run", models().greedy({"-p", "Once", "-c", "16", "-n", "40", "--context-shift"}));
  CHECK(shifted.status == 0);
  CHECK(shifted.out.starts_with(full.out.substr(0, full.out.size() - 1)));
  // No more than the model was made for, with a warning.
  const Finished capped = run("spqr-run", models().greedy({"-p", "Once", "-c", "1000", "-n", "1"}));
  CHECK(capped.status == 0);
  CHECK(contains(capped.err, "warning: -c 1000 is more than the model was made for; the context is 512"));
  CHECK(contains(capped.err, "context 512 tokens"));
}

TEST_CASE("Ctrl-C ends generation with what was produced") {
  for (const int signal : {SIGINT, SIGTERM}) {
    Process process(command("spqr-run", models().greedy({"-p", "Once", "--ignore-eos", "--context-shift"})));
    process.wait_for_output(60);
    process.send(signal);
    const Finished result = process.finish();
    CHECK(result.status == 0);
    CHECK(result.out.starts_with("Once upon a time"));
    CHECK(result.out.ends_with("\n"));
    CHECK(contains(result.err, "decode"));
  }
}

TEST_CASE("a reader that goes away ends generation") {
  Process process(command("spqr-run", models().greedy({"-p", "Once", "--ignore-eos", "--context-shift"})));
  process.wait_for_output(20);
  process.close_output();
  const Finished result = process.finish();
  CHECK(result.status == 0);
  CHECK(contains(result.err, "decode"));
}

TEST_CASE("a full disk behind standard output is one sentence and status 1, with every tool") {
  const std::string ids = models().write("ids.txt", "1 2 3 4");
  const std::vector<std::pair<std::string, Arguments>> commands = {
      {"spqr-run", models().greedy({"-p", "Once", "-n", "4"})},
      {"spqr-run", models().greedy({"-p", "Once", "-n", "4", "--json"})},
      {"spqr-perplexity", {"-m", models().ids_only(), "--tokens", ids}},
      {"spqr-perplexity", {"-m", models().ids_only(), "--tokens", ids, "--json"}},
      {"spqr-bench", {"-m", models().ids_only(), "-p", "4", "-n", "4", "-r", "1"}},
      {"spqr-bench", {"-m", models().ids_only(), "-p", "4", "-n", "4", "-r", "1", "-o", "json"}},
      {"spqr-eval", {"-m", models().stories(), "--data", SPQR_FIXTURES "/tasks/official", "--tasks", "piqa"}},
      {"spqr-inspect", {"-m", models().ids_only()}},
      {"spqr-tokenize", {"-m", models().stories(), "-p", "Once"}},
      {"spqr-quantize", {"--help"}},
  };
  for (const auto& each : commands) {
    const std::string& tool = each.first;
    const Finished result = run_process(command(tool, each.second), "/dev/full");
    CAPTURE(tool);
    CAPTURE(result.err);
    CHECK(result.status == 1);
    CHECK(contains(result.err, tool + ": error: cannot write to standard output: No space left on device"));
  }
}

TEST_CASE("spqr-perplexity of token ids is that of transformers") {
  const auto expected = golden();
  const auto ids = expected.at("ids").get<std::vector<std::int32_t>>();
  const std::string file = models().write("ids.txt", joined(ids));
  const Finished result = run("spqr-perplexity", {"-m", models().ids_only(), "--tokens", file, "--json"});
  CHECK(result.status == 0);
  const auto object = nlohmann::json::parse(result.out);
  CHECK(object.at("perplexity").get<double>() ==
        doctest::Approx(expected.at("perplexity").get<double>()).epsilon(1e-3));
  CHECK(object.at("standard_error").get<double>() > 0);
  CHECK(object.at("windows") == 1);
  CHECK(object.at("tokens") == ids.size());
  CHECK(object.at("seconds").get<double>() > 0);
  CHECK(object.at("bits_per_weight") == 32);
  check_refused("spqr-perplexity", {"-m", models().ids_only(), "-f", file}, 1, "--tokens");
  check_refused("spqr-perplexity", {"-m", models().ids_only(), "--tokens", models().write("one.txt", "7")}, 1,
                "two or more");
  check_refused("spqr-perplexity", {"-m", models().ids_only(), "--tokens", models().write("bad.txt", "7 x")},
                1, "'x'");
}

TEST_CASE("spqr-perplexity of a text prints running values and the final one") {
  std::string story;
  for (int i = 0; i < 8; ++i)
    story += "Once upon a time, there was a little girl named Lily. She loved to play. ";
  const std::string file = models().write("story.txt", story);
  const Finished result =
      run("spqr-perplexity", {"-m", models().stories(), "-f", file, "-c", "64", "--windows", "2"});
  CHECK(result.status == 0);
  CHECK(result.out.starts_with("[1] "));
  CHECK(contains(result.out, "\n[2] "));
  CHECK(contains(result.out, "+-"));
  CHECK(contains(result.out, "2 windows of 64 tokens"));
  check_refused("spqr-perplexity",
                {"-m", models().stories(), "-f", models().write("short.txt", "Hi"), "-c", "64"}, 1,
                "less than one window of 64");
}

}  // namespace spqr
