#include "runtime/generate.h"

#include <doctest/doctest.h>

#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/models/files.h"
#include "tests/runtime/small_models.h"

namespace spqr {
namespace {

// What llama2.c prints for its stories260K at temperature 0 (doc/stories260K.md), the beginning.
const std::string kStory =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, "
    "she saw a "
    "big, red ball. She wanted to play with it, but it was too high.\nLily's mom said, \"Lily, let's go to "
    "the park.\" "
    "Lily was sad and didn't know what to do.";

SamplerOptions greedy() {
  SamplerOptions options;
  options.temperature = 0;
  return options;
}

class Stories {
 public:
  Stories() { write_stories_model(path()); }
  std::filesystem::path path() const { return directory_.path() / "stories.spqr"; }
  GenerateResult run(const std::string& prompt, const GenerateOptions& options, SessionOptions opening = {},
                     const SamplerOptions& sampling = greedy(),
                     const GenerateCallbacks& callbacks = {}) const {
    opening.model = path();
    Session session(opening);
    Sampler sampler(sampling);
    return generate(session, sampler, session.tokenizer()->encode(prompt, {}), options, callbacks);
  }

 private:
  TemporaryDirectory directory_;
};

// What is shown when `text` arrives in pieces of `size` bytes.
std::string shown(const std::vector<std::string>& stops, const std::string& text, std::size_t size) {
  StopMatcher matcher(stops);
  std::string out;
  for (std::size_t at = 0; at < text.size() && !matcher.matched(); at += size)
    out += matcher.push(text.substr(at, size));
  return out + matcher.finish();
}

}  // namespace

TEST_CASE("text that may begin a stop string is held back until it is known") {
  StopMatcher matcher({"</s>", "User:"});
  CHECK(matcher.push("Hello <") == "Hello ");
  CHECK(matcher.push("/") == "");
  CHECK(matcher.push("b> U") == "</b> ");
  CHECK(matcher.push("ser") == "");
  CHECK_FALSE(matcher.matched());
  CHECK(matcher.push(": what") == "");
  CHECK(matcher.matched());
  CHECK(matcher.push("more") == "");
  CHECK(matcher.finish() == "");
}

TEST_CASE("what was held back is shown at the end") {
  StopMatcher matcher({"stop"});
  CHECK(matcher.push("st") == "");
  CHECK(matcher.finish() == "st");
  CHECK_FALSE(matcher.matched());
}

TEST_CASE("the stop string that ends first wins; empty ones mean nothing") {
  CHECK(shown({"cd", "b"}, "abcde", 5) == "a");
  CHECK(shown({"bcd", "c"}, "abcde", 5) == "ab");
  CHECK(shown({""}, "abc", 1) == "abc");
  CHECK(shown({}, "abc", 1) == "abc");
}

TEST_CASE("a stop string is found however the text is cut") {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string text, stop;
    for (auto i = random() % 20; i > 0; --i) text += static_cast<char>('a' + random() % 2);
    for (auto i = 1 + random() % 5; i > 0; --i) stop += static_cast<char>('a' + random() % 2);
    const std::string expected = text.substr(0, text.find(stop));
    for (const std::size_t size : {1, 2, 3, 20}) {
      CHECK_MESSAGE(shown({stop}, text, size) == expected, text << " cut at " << stop << " by " << size);
    }
  }
}

TEST_CASE("greedy text of a trained model is what llama2.c prints") {
  const Stories stories;
  for (const std::string& backend : backend_names()) {
    const GenerateResult result = stories.run(
        "", {.max_tokens = 140}, {.backend = backend, .cache_types = {CacheType::f32, CacheType::f32}});
    CHECK_MESSAGE(result.text.starts_with(kStory), backend << ": " << result.text);
    CHECK(result.ids.size() == 140);
    CHECK(result.reason == FinishReason::length);
    CHECK(result.prompt_tokens == 1);
  }
}

TEST_CASE("text streams in pieces that make up the result, and goes on after the prompt") {
  const Stories stories;
  std::string streamed;
  int pieces = 0;
  GenerateCallbacks callbacks;
  callbacks.text = [&](std::string_view text) {
    streamed += text;
    ++pieces;
    return true;
  };
  const GenerateResult result =
      stories.run("Once upon a time, there was", {.max_tokens = 20}, {}, greedy(), callbacks);
  CHECK(streamed == result.text);
  CHECK(pieces > 10);
  CHECK(result.text.starts_with(" a little girl named Lily. She loved"));
}

TEST_CASE("generation ends at a stop string, and shows nothing of it") {
  const Stories stories;
  std::string streamed;
  GenerateCallbacks callbacks;
  callbacks.text = [&](std::string_view text) {
    streamed += text;
    return true;
  };
  const GenerateOptions options{.max_tokens = 100, .stop = {"no such text", " outside in"}};
  const GenerateResult result = stories.run("Once upon a time", options, {}, greedy(), callbacks);
  CHECK(result.reason == FinishReason::stop);
  CHECK(result.text == ", there was a little girl named Lily. She loved to play");
  CHECK(streamed == result.text);
}

TEST_CASE("no tokens asked for, none generated") {
  const GenerateResult result = Stories().run("Once", {.max_tokens = 0});
  CHECK(result.ids.empty());
  CHECK(result.text.empty());
  CHECK(result.reason == FinishReason::length);
}

TEST_CASE("a full context ends generation") {
  const Stories stories;
  const SessionOptions opening{.context = 16};
  const GenerateResult result = stories.run("Once upon a time", {}, opening);
  CHECK(result.reason == FinishReason::context);
  // The last token needs no room in the cache.
  CHECK(result.prompt_tokens + static_cast<std::int64_t>(result.ids.size()) == 17);
  const GenerateResult whole = stories.run("Once upon a time", {.max_tokens = 40});
  CHECK(std::equal(result.ids.begin(), result.ids.end(), whole.ids.begin()));
}

TEST_CASE("a shifted context keeps BOS and the later half, evaluated anew") {
  const Stories stories;
  const SessionOptions opening{.backend = "reference", .context = 24};
  const GenerateResult result =
      stories.run("Once upon a time", {.max_tokens = 60, .context_shift = true}, opening);
  CHECK(result.reason == FinishReason::length);
  CHECK(result.ids.size() == 60);
  CHECK(result.shifts >= 3);

  // Until the next shift the tokens are those that a new session gives to the kept ones.
  Session session({.model = stories.path(), .backend = "reference"});
  std::vector<std::int32_t> all = session.tokenizer()->encode("Once upon a time", {});
  all.insert(all.end(), result.ids.begin(), result.ids.end());
  REQUIRE(all[0] == session.tokenizer()->bos_id());
  std::vector<std::int32_t> kept{all[0]};
  kept.insert(kept.end(), all.begin() + 25 - 11, all.begin() + 25);
  Sampler sampler(greedy());
  const GenerateResult fresh = generate(session, sampler, kept, {.max_tokens = 13}, {});
  CHECK(fresh.ids == std::vector<std::int32_t>(all.begin() + 25, all.begin() + 38));
}

TEST_CASE("a context that earlier turns have filled is shifted as a whole") {
  const Stories stories;
  Session session({.model = stories.path(), .backend = "reference", .context = 24});
  Sampler sampler(greedy());
  const auto first = session.tokenizer()->encode("Once upon a time", {});
  const auto turn = generate(session, sampler, first, {.max_tokens = 16}, {});
  const std::vector<std::int32_t> more{turn.ids.back()};  // chosen, not yet evaluated
  const auto next = generate(session, sampler, more, {.max_tokens = 20, .context_shift = true}, {});
  CHECK(next.shifts >= 1);

  Session whole({.model = stories.path(), .backend = "reference", .context = 24});
  Sampler same(greedy());
  const auto expected = generate(whole, same, first, {.max_tokens = 36, .context_shift = true}, {});
  std::vector<std::int32_t> ids = turn.ids;
  ids.insert(ids.end(), next.ids.begin(), next.ids.end());
  CHECK(ids == expected.ids);
}

TEST_CASE("what decoding reads of the cache is counted, shifts or not") {
  const Stories stories;
  const GenerateResult result = stories.run("Once upon a time", {.max_tokens = 60, .context_shift = true},
                                            {.backend = "reference", .context = 24});
  CHECK(result.decode_passes == 59);
  CHECK(result.decode_cache_tokens >= 59 * 5);
  CHECK(result.decode_cache_tokens <= 59 * 24);
}

TEST_CASE("generation ends when told to, with what was produced") {
  const Stories stories;
  GenerateCallbacks callbacks;
  std::string shown;
  callbacks.text = [&](std::string_view text) {
    shown += text;
    return true;
  };
  callbacks.interrupted = [&] { return shown.size() >= 20; };
  const GenerateResult result = stories.run("Once", {}, {}, greedy(), callbacks);
  CHECK(result.reason == FinishReason::interrupted);
  CHECK(result.text == shown);
  CHECK(shown.size() >= 20);
  CHECK(shown.size() < 40);

  callbacks.interrupted = nullptr;
  shown.clear();
  callbacks.text = [](std::string_view) { return false; };  // nobody reads any more
  CHECK(stories.run("Once", {}, {}, greedy(), callbacks).reason == FinishReason::interrupted);
}

TEST_CASE("a prompt is left between two blocks when told to") {
  const Stories stories;
  GenerateCallbacks callbacks;
  int asked = 0;
  callbacks.interrupted = [&] { return ++asked > 7; };
  Session session({.model = stories.path(), .batch = 2});
  REQUIRE(session.config().num_hidden_layers == 5);
  Sampler sampler(greedy());
  const GenerateResult result = generate(session, sampler, std::vector<std::int32_t>(20, 7), {}, callbacks);
  CHECK(result.reason == FinishReason::interrupted);
  CHECK(result.ids.empty());
  CHECK(asked == 8);
  CHECK(session.length() == 2);  // the batch of which all blocks were done
}

TEST_CASE("same seed, same text, whatever the number of threads") {
  const Stories stories;
  SamplerOptions sampling;
  sampling.temperature = 1;
  sampling.seed = 7;
  const auto text = [&](int threads) {
    return stories.run("One day", {.max_tokens = 60}, {.threads = threads}, sampling).text;
  };
  const std::string one = text(1);
  CHECK(text(2) == one);
  CHECK(text(3) == one);
  sampling.seed = 8;
  CHECK(text(1) != one);
}

TEST_CASE("the end of text ends generation unless it is ignored") {
  const Stories stories;
  const GenerateResult story = stories.run("", {.max_tokens = 500});
  CHECK(story.reason == FinishReason::eos);
  CHECK(story.text.ends_with("You are a good friend.\""));
  const std::size_t end = story.ids.size();
  CHECK(end < 400);

  const GenerateResult ignored = stories.run("", {.max_tokens = 500, .ignore_eos = true});
  CHECK(ignored.ids.size() == 500);
  CHECK(std::equal(story.ids.begin(), story.ids.end(), ignored.ids.begin()));
  for (const std::int32_t id : {1, 2}) {
    CHECK(std::find(ignored.ids.begin(), ignored.ids.end(), id) == ignored.ids.end());
  }
}

TEST_CASE("models without a tokenizer take and give ids") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "ids.spqr";
  write_dense_model("golden/llama-mha", "", DType::f16, path);
  const auto golden = nlohmann::json::parse(
      read_bytes(std::filesystem::path(SPQR_FIXTURES) / "golden" / "llama-mha" / "golden.json"));
  Session session({.model = path, .cache_types = {CacheType::f32, CacheType::f32}});
  CHECK(session.tokenizer() == nullptr);
  Sampler sampler(greedy());
  std::string streamed;
  GenerateCallbacks callbacks;
  callbacks.text = [&](std::string_view text) {
    streamed += text;
    return true;
  };
  const auto prompt = golden.at("greedy_prompt").get<std::vector<std::int32_t>>();
  const GenerateResult result = generate(session, sampler, prompt, {.max_tokens = 20}, callbacks);
  CHECK(result.ids == golden.at("greedy_next_20").get<std::vector<std::int32_t>>());
  CHECK(streamed.starts_with("70 225 319 "));
}

TEST_CASE("sessions refuse what they cannot do, with a sentence") {
  const Stories stories;
  CHECK(Session({.model = stories.path(), .context = 100'000}).context() == 512);
  CHECK_THROWS_AS(Session({.model = "/nowhere.spqr"}), std::runtime_error);
  Session session({.model = stories.path(), .context = 8});
  Sampler sampler(greedy());
  const std::vector<std::int32_t> nine(9, 1);
  CHECK(contains(message_of([&] { generate(session, sampler, nine, {}, {}); }),
                 "the prompt has 9 tokens, the context room for 8"));
  CHECK_THROWS_AS(generate(session, sampler, {}, {}, {}), std::runtime_error);
  CHECK_THROWS_AS(session.forward(nine), std::out_of_range);
  const std::vector<std::int32_t> outside{512};
  CHECK_THROWS_AS(session.forward(outside), std::invalid_argument);
}

}  // namespace spqr
