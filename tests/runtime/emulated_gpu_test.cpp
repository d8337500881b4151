// Sessions on the emulated GPU: the memory they take, models cut between it and the CPU, recorded steps, and
// choices from what is brought to the host.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/cuda/arena.h"
#include "kernels/cuda/emulation/emulation.h"
#include "kernels/threads.h"
#include "runtime/generate.h"
#include "runtime/synthetic.h"
#include "tests/models/files.h"
#include "tests/runtime/quantize_jobs.h"
#include "tests/runtime/small_models.h"

namespace spqr {
namespace {

using Ids = std::vector<std::int32_t>;

constexpr std::size_t kEmulatedMemory = std::size_t{24} << 30U;

// A device with so much memory, until the end.
class DeviceMemory {
 public:
  explicit DeviceMemory(std::size_t bytes) { emulation::set_memory_limit(bytes); }
  ~DeviceMemory() { emulation::set_memory_limit(kEmulatedMemory); }
};

// A packed model of 5 blocks that is cheap to run, and one of dense weights with ALiBi.
class ModelFile {
 public:
  static ModelFile packed() {
    ModelFile model;
    const std::string config = model.directory_
                                   ->write("config.json", R"({"model_type": "llama", "hidden_size": 64,
      "intermediate_size": 96, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2,
      "vocab_size": 300, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
      "eos_token_id": 299})")
                                   .string();
    QuantizeJob job;
    job.settings = resolve_quantize_options({{"preset", "3bit"}});
    job.out = model.path();
    TestObserver observer;
    write_synthetic(config, job, observer);
    return model;
  }
  static ModelFile dense(const std::string& golden) {
    ModelFile model;
    write_dense_model("golden/" + golden, "", DType::f16, model.path());
    return model;
  }
  std::filesystem::path path() const { return directory_->path() / "model.spqr"; }
  // With f32 everywhere, so that backends differ by rounding of sums only.
  SessionOptions on(const std::string& backend) const {
    return {.model = path(),
            .backend = backend,
            .activations = ActivationType::f32,
            .cache_types = {CacheType::f32, CacheType::f32}};
  }

 private:
  std::unique_ptr<TemporaryDirectory> directory_ = std::make_unique<TemporaryDirectory>();
};

Ids some_ids(std::int64_t count) {
  Ids ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>((i * 37 + 11) % 290));
  return ids;
}

Ids generated(const SessionOptions& opening, const SamplerOptions& sampling, const GenerateOptions& options) {
  Session session(opening);
  Sampler sampler(sampling);
  return generate(session, sampler, some_ids(12), options, {}).ids;
}

// The emulation at its strictest, until the end.
class Strict {
 public:
  Strict() { emulation::set_strict(true); }
  ~Strict() { emulation::set_strict(before_); }

 private:
  bool before_ = emulation::strict();
};

// Logits after each of `ids`, evaluated one by one, all at once at first.
std::vector<float> logits_after(Session& session, std::int64_t prompt, const Ids& ids) {
  std::vector<float> all;
  if (prompt > 0) session.forward(some_ids(prompt));
  for (const std::int32_t id : ids) {
    const auto logits = session.forward(std::span(&id, 1));
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  float worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

}  // namespace

TEST_CASE("what a session takes of a GPU's memory is what was planned, to the byte") {
  std::vector<ModelFile> models;
  models.push_back(ModelFile::packed());
  models.push_back(ModelFile::dense("llama-ragged"));
  models.push_back(ModelFile::dense("llama-gqa-llama3rope-tied"));
  models.push_back(ModelFile::dense("falcon-rw"));
  REQUIRE(emulation::memory_in_use() == 0);
  std::size_t bare = 0;  // of a backend that has been given nothing yet
  {
    const auto backend = make_backend("cuda", {});
    bare = emulation::memory_in_use();
  }
  for (const ModelFile& model : models) {
    for (const std::int64_t layers : {1, 9}) {
      for (const std::int64_t context : {1, 33, 100}) {
        CAPTURE(model.path().string());
        CAPTURE(layers);
        CAPTURE(context);
        SessionOptions options = model.on("cuda");
        options.gpu_layers = layers;
        options.context = context;
        options.cache_types.v = CacheType::q8_0;
        emulation::reset_memory_high_water_mark();
        Session session(options);
        Sampler sampler({.temperature = 0});
        generate(session, sampler, some_ids(std::min<std::int64_t>(20, context)), {.max_tokens = 5}, {});
        REQUIRE(session.context() == context);
        CHECK(emulation::memory_high_water_mark() == bare + session.plan().stages.back().reserved());
      }
    }
  }
}

TEST_CASE("a context that is said to fit a GPU does, and one more token does not") {
  const ModelFile model = ModelFile::packed();
  for (const std::size_t free :
       {kDeviceMargin + (std::size_t{9} << 20U), kDeviceMargin + (std::size_t{11} << 20U)}) {
    for (const CacheType type : {CacheType::f16, CacheType::q8_0}) {
      const DeviceMemory memory(free);
      SessionOptions options = model.on("cuda");
      options.batch = 16;
      options.cache_types = {type, type};
      options.beyond_maximum = true;
      options.context = 1'000'000;
      const std::string message = message_of([&] { Session session(options); });
      CAPTURE(message);
      REQUIRE(contains(message, "too little memory on the GPU"));
      const std::size_t at = message.find("; -c ");
      REQUIRE(at != std::string::npos);
      options.context = std::stoll(message.substr(at + 5));
      {
        Session session(options);
        CHECK(session.context() == options.context);
        CHECK(session.plan().longest_context() == options.context);
        session.forward(some_ids(20));
      }
      ++options.context;
      CHECK_THROWS_AS(Session{options}, std::runtime_error);
    }
  }
}

TEST_CASE("a model that does not fit a GPU is refused with the numbers, and what is advised works") {
  const ModelFile model = ModelFile::packed();
  const std::size_t usual = Session(model.on("cuda")).plan().stages.back().total();
  const std::size_t bare = std::size_t{1} << 17U;  // counters and the like, at most
  const DeviceMemory memory(usual + bare - (std::size_t{1} << 18U));
  SessionOptions options = model.on("cuda");
  options.context = 1024;
  const std::string message = message_of([&] { Session session(options); });
  CAPTURE(message);
  for (const char* part : {"of weights", "of KV cache for 1024 tokens", "of workspace",
                           "a margin of 96.0 MiB", "are free", "; -c "}) {
    CHECK(contains(message, part));
  }
  const std::size_t at = message.find("--gpu-layers ");
  REQUIRE(at != std::string::npos);
  options.gpu_layers = std::stoll(message.substr(at + 13));
  CHECK(*options.gpu_layers > 0);
  CHECK_NOTHROW(Session{options});
  ++*options.gpu_layers;
  CHECK_THROWS_AS(Session{options}, std::runtime_error);
  // Nobody asked for a context: the longest that fits.
  options.gpu_layers.reset();
  options.context = 0;
  const Session session(options);
  CHECK(session.context() == session.plan().longest_context());
  CHECK(session.context() < 1024);
}

TEST_CASE("a model cut between the CPU and a GPU says what it says in one piece") {
  const ModelFile model = ModelFile::packed();
  const Ids expected = generated(model.on("cpu"), {.temperature = 0}, {.max_tokens = 24, .ignore_eos = true});
  Session whole(model.on("cpu"));
  const std::vector<float> logits = logits_after(whole, 30, some_ids(4));
  for (const std::int64_t layers : {0, 1, 3, 4, 5, 99}) {
    CAPTURE(layers);
    SessionOptions options = model.on("cuda");
    options.gpu_layers = layers;
    CHECK(generated(options, {.temperature = 0}, {.max_tokens = 24, .ignore_eos = true}) == expected);
    options.batch = 7;
    Session session(options);
    CHECK(session.backend_name() == (layers == 0 ? "cpu" : layers < 5 ? "cpu+cuda" : "cuda"));
    CHECK(largest_difference(logits_after(session, 30, some_ids(4)), logits) < 1e-4F);
  }
}

TEST_CASE("recorded steps give the logits of steps that are not, also where they are recorded anew") {
  const ModelFile model = ModelFile::packed();
  Session recorded(model.on("cuda"));
  Session plain(model.on("cuda"));
  const Ids ids = some_ids(12);
  // Of all positions up to 256 one record serves, then comes another. visit_logits() uses none.
  const std::vector<float> of_records = logits_after(recorded, 250, ids);
  plain.forward(some_ids(250));
  std::vector<float> expected;
  for (const std::int32_t id : ids) {
    plain.visit_logits(std::span(&id, 1), [&](Matrix logits, std::int64_t) {
      expected.insert(expected.end(), logits.data, logits.data + logits.cols);
    });
  }
  CHECK(largest_difference(of_records, expected) < 1e-5F);
  // Back again, to where fewer keys are seen than the record was made for.
  recorded.rewind(3);
  plain.rewind(3);
  const auto after = recorded.forward(std::span(ids).first(1));
  const std::vector<float> again(after.begin(), after.end());
  plain.visit_logits(std::span(ids).first(1), [&](Matrix logits, std::int64_t) {
    expected.assign(logits.data, logits.data + logits.cols);
  });
  CHECK(largest_difference(again, expected) < 1e-5F);
  const Ids outside{300};
  CHECK_THROWS_AS(recorded.forward(outside), std::invalid_argument);
}

TEST_CASE("a record has only kernels that ran before: those of its attention too, from the first token on") {
  const ModelFile model = ModelFile::packed();
  const Ids ids = some_ids(4);
  Session on_cpu(model.on("cpu"));
  const std::vector<float> expected = logits_after(on_cpu, 0, ids);
  const Strict strict;
  emulation::forget_kernels();
  Session session(model.on("cuda"));
  CHECK(largest_difference(logits_after(session, 0, ids), expected) < 1e-4F);
}

TEST_CASE("a record is made anew where the memory that it works in has been replaced") {
  const ModelFile model = ModelFile::packed();
  const Ids ids = some_ids(4);
  Session undisturbed(model.on("cuda"));
  const std::vector<float> expected = logits_after(undisturbed, 0, ids);

  Backend* backend = nullptr;
  SessionOptions options = model.on("cuda");
  options.wrap_backend = [&](std::unique_ptr<Backend> inner) {
    backend = inner.get();
    return inner;
  };
  Session session(options);
  // A product of more tokens than the model takes at once needs more scratch than was reserved.
  const std::vector<float> ones(1000, 1.0F);
  const TensorView row{ones.data(), DType::f32, {1, 1000}};
  const LinearGroup weight = backend->place(LinearGroup{{Linear{row, {}}}, {}});
  const auto grow_scratch = [&](std::int64_t tokens) {
    const Buffer x = backend->allocate(static_cast<std::size_t>(tokens) * ones.size() * sizeof(float));
    const Buffer y = backend->allocate(static_cast<std::size_t>(tokens) * sizeof(float));
    backend->linear_add(y.matrix(tokens, 1), weight, x.matrix(tokens, 1000));
    backend->synchronize();
  };
  std::vector<float> found = logits_after(session, 0, Ids(ids.begin(), ids.begin() + 1));
  grow_scratch(3000);  // out of the memory that was taken at once
  for (const std::int32_t id : {ids[1], ids[2]}) {
    const auto next = session.forward(std::span(&id, 1));
    found.insert(found.end(), next.begin(), next.end());
  }
  grow_scratch(4000);
  const auto last = session.forward(std::span(ids).last(1));
  found.insert(found.end(), last.begin(), last.end());
  CHECK(largest_difference(found, expected) < 1e-5F);
}

TEST_CASE("a token chosen from the largest logits is the one chosen from all") {
  const ModelFile model = ModelFile::packed();
  const GenerateOptions options{.max_tokens = 16, .ignore_eos = true};
  for (const SamplerOptions& sampling :
       {SamplerOptions{.temperature = 0},
        SamplerOptions{.temperature = 1.2F, .top_k = 40, .min_p = 0, .seed = 7},
        SamplerOptions{.temperature = 3, .top_k = 126, .top_p = 1, .min_p = 0, .seed = 8},
        SamplerOptions{.temperature = 3, .top_k = 200, .top_p = 1, .min_p = 0, .seed = 9}}) {
    // A penalty so small that nothing comes of it: all logits are looked at.
    SamplerOptions of_all = sampling;
    of_all.presence_penalty = 1e-30F;
    CHECK(Sampler(sampling).candidates_needed(0).has_value());
    CHECK_FALSE(Sampler(of_all).candidates_needed(0).has_value());
    CHECK(generated(model.on("cuda"), sampling, options) == generated(model.on("cuda"), of_all, options));
  }
}

TEST_CASE("weights on their way to a GPU are reported") {
  const ModelFile model = ModelFile::packed();
  SessionOptions options = model.on("cuda");
  std::size_t last = 0;
  std::size_t all = 0;
  options.uploaded = [&](std::size_t bytes, std::size_t total) {
    CHECK(bytes > last);
    last = bytes;
    all = total;
  };
  const Session session(options);
  CHECK(all == session.plan().stages.back().weights);
  CHECK(last > all / 2);
  CHECK(last <= all);
}

}  // namespace spqr
