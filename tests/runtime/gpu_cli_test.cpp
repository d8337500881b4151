// spqr-run on a GPU, real or emulated, and where there is none.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "runtime/synthetic.h"
#include "tests/models/files.h"
#include "tests/runtime/small_models.h"
#include "tests/runtime/tools.h"

namespace spqr {
namespace {

bool is_emulated() {
  return cuda_absence().empty() && !cuda_is_real();
}

class Quiet final : public QuantizeObserver {
  void warn(const std::string& /*text*/) override {}
};

// The stories model, whose weights are dense, and a packed one that takes ids.
class Models {
 public:
  Models() {
    write_stories_model(stories());
    const std::string config = directory_
                                   .write("config.json", R"({"model_type": "llama", "hidden_size": 96,
      "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
      "vocab_size": 300, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0})")
                                   .string();
    QuantizeJob job;
    job.settings = resolve_quantize_options({{"preset", "near-lossless"}});
    job.out = packed();
    Quiet quiet;
    write_synthetic(config, job, quiet);
  }
  std::string stories() const { return (directory_.path() / "stories.spqr").string(); }
  std::string packed() const { return (directory_.path() / "packed.spqr").string(); }

 private:
  TemporaryDirectory directory_;
};

const Models& models() {
  static const Models made;
  return made;
}

Arguments with(Arguments arguments, const Arguments& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// On an emulated device with so much memory.
Finished run_with_memory(const std::string& memory, const Arguments& arguments) {
  return run_process(
      with({"/usr/bin/env", "SPQR_EMULATED_DEVICE_MEMORY=" + memory}, command("spqr-run", arguments)));
}

}  // namespace

TEST_CASE("the text that comes from a GPU is the CPU's with f32 activations") {
  if (!cuda_absence().empty()) return;
  const std::vector<Arguments> texts{
      {"-m", models().stories(), "-p", "Once upon a time", "-n", "32"},
      {"-m", models().packed(), "-p", "5 17 101 250 3 44", "-n", "32", "--ignore-eos"}};
  for (const Arguments& text : texts) {
    const Arguments greedy = with(text, {"--temp", "0", "-ctk", "f32", "-ctv", "f32"});
    const Finished cpu = run("spqr-run", with(greedy, {"--backend", "cpu", "--activations", "f32"}));
    REQUIRE(cpu.status == 0);
    for (const Arguments& more : std::vector<Arguments>{{}, {"-b", "3"}, {"-ngl", "2"}, {"--no-mmap"}}) {
      const Finished gpu =
          run("spqr-run", with(with(greedy, {"--backend", "cuda", "--activations", "f32"}), more));
      CHECK(gpu.status == 0);
      CHECK_MESSAGE(gpu.out == cpu.out, gpu.err);
      CHECK(contains(gpu.err, !more.empty() && more[0] == "-ngl" ? "backend cpu+cuda" : "backend cuda"));
    }
    const Finished none =
        run("spqr-run", with(greedy, {"--backend", "cuda", "--activations", "f32", "-ngl", "0"}));
    CHECK(none.out == cpu.out);
    CHECK(contains(none.err, "backend cpu"));
  }
}

TEST_CASE("a GPU with too little memory is one sentence and status 1") {
  if (!is_emulated()) return;
  const Arguments arguments{"-m", models().stories(), "-p", "x", "-n", "2", "--backend", "cuda"};
  const auto refused = [&](const std::string& memory, const std::string& part) {
    const Finished finished = run_with_memory(memory, arguments);
    CAPTURE(finished.err);
    CHECK(finished.status == 1);
    CHECK(finished.out.empty());
    CHECK(std::ranges::count(finished.err, '\n') == 1);
    CHECK(contains(finished.err, part));
  };
  refused("100MiB", "too little memory on the GPU: ");
  refused("1000", "the GPU has no more memory");  // not even for counters
  CHECK(run_with_memory("160MiB", arguments).status == 0);
}

TEST_CASE("without a GPU --backend cuda is refused, and -ngl is warned of") {
  if (cuda_absence().empty()) return;
  check_refused("spqr-run", {"-m", models().stories(), "-p", "x", "--backend", "cuda"}, 1, cuda_absence());
  const Finished warned =
      run("spqr-run", {"-m", models().stories(), "-p", "Once", "-n", "3", "-ngl", "99", "--temp", "0"});
  CHECK(warned.status == 0);
  CHECK(contains(warned.err, "warning: all blocks run on the CPU: " + cuda_absence()));
  check_refused("spqr-run", {"-m", models().stories(), "--plan", "--backend", "cuda"}, 1,
                "--device-memory does");
}

}  // namespace spqr
