// Log-likelihoods of choices: shared contexts, rewound caches and batches against one pass per choice.
#include "runtime/eval.h"

#include <doctest/doctest.h>

#include <cmath>

#include "runtime/logits.h"
#include "runtime/perplexity.h"
#include "tests/models/files.h"
#include "tests/runtime/small_models.h"

namespace spqr {
namespace {

// A pass of its own for a choice, all logits of it.
double plain_loglikelihood(Session& session, const EncodedChoice& choice, std::int64_t context) {
  std::vector<std::int32_t> ids = choice.context;
  ids.insert(ids.end(), choice.continuation.begin(), choice.continuation.end());
  if (static_cast<std::int64_t>(ids.size()) > context + 1) ids.erase(ids.begin(), ids.end() - context - 1);
  const std::size_t predicted = ids.size() - choice.continuation.size();
  double sum = 0;
  session.rewind(0);
  session.visit_logits(std::span(ids).first(ids.size() - 1), [&](Matrix logits, std::int64_t first) {
    for (std::int64_t t = 0; t < logits.rows; ++t) {
      const auto next = static_cast<std::size_t>(first + t + 1);
      if (next < predicted) continue;
      sum -= negative_log_likelihood({logits.data + t * logits.cols, static_cast<std::size_t>(logits.cols)},
                                     ids[next]);
    }
  });
  return sum;
}

// Contexts in common, in part or not at all; choices of one token, choices that begin alike, or that another
// one begins with.
std::vector<EncodedItem> varied_items() {
  return {{{{1, 2, 3, 4, 5}, {6, 7, 8}}, {{1, 2, 3, 4, 5}, {6, 9}}, {{1, 2, 3, 4, 5}, {10, 11, 12, 13}}},
          {{{20, 21, 22}, {23}}, {{20, 21, 22}, {24}}, {{20, 21, 22}, {25}}},
          {{{30, 31, 32, 33}, {40, 41, 42}}, {{30, 31, 35, 33, 34}, {40, 41, 42}}},
          {{{50}, {51, 52, 53}}, {{60, 61, 62}, {63, 64}}},
          {{{70, 71}, {72, 73}}, {{70, 71}, {72, 73, 74, 75}}, {{70, 71}, {72}}, {{70, 71}, {72, 73}}}};
}

void check_close(double found, double expected) {
  // Sums of the same numbers in another order, f32, over at most 4 tokens of a few nats.
  CHECK(std::abs(found - expected) <= 1e-4 * (1 + std::abs(expected)));
}

TaskChoice text(const std::string& context, const std::string& continuation) {
  return {context, continuation, 1};
}

}  // namespace

TEST_CASE("choices: what is shared gives what a pass for each gives, in batches of any size") {
  const TemporaryDirectory directory;
  const auto items = varied_items();
  for (const std::string name : {"llama-mha", "mistral-sliding", "qwen3", "falcon-7b"}) {
    const auto path = directory.path() / (name + ".spqr");
    write_dense_model("golden/" + name, "", DType::f32, path);
    for (const std::string& backend : backend_names()) {
      CAPTURE(name);
      CAPTURE(backend);
      std::vector<std::vector<double>> expected;
      for (const auto& [batch, logits] : {std::pair(512, 64), {7, 3}, {3, 256}, {1, 1}}) {
        CAPTURE(batch);
        Session session({.model = path,
                         .backend = backend,
                         .batch = batch,
                         .logits_tokens = logits,
                         .cache_types = {CacheType::f32, CacheType::f32}});
        if (expected.empty()) {
          for (const EncodedItem& item : items) {
            expected.emplace_back();
            for (const EncodedChoice& choice : item)
              expected.back().push_back(plain_loglikelihood(session, choice, session.context()));
          }
        }
        std::vector<std::int64_t> told;
        const auto found =
            choice_loglikelihoods(session, items, [&](std::int64_t done) { told.push_back(done); }, {});
        REQUIRE(found.size() == items.size());
        for (std::size_t i = 0; i < items.size(); ++i) {
          CAPTURE(i);
          REQUIRE(found[i].size() == items[i].size());
          for (std::size_t c = 0; c < items[i].size(); ++c) check_close(found[i][c], expected[i][c]);
        }
        CHECK(std::ranges::is_sorted(told));
        CHECK(told.back() == static_cast<std::int64_t>(items.size()));
        CHECK(session.length() == 0);
      }
    }
  }
}

TEST_CASE("choices: inputs lose their beginning where they are longer than the context") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "model.spqr";
  write_dense_model("golden/llama-mha", "", DType::f32, path);
  Session session({.model = path, .context = 6, .logits_tokens = 4});
  const std::vector<EncodedItem> items = {{{{1, 2, 3, 4, 5, 6, 7}, {8, 9}},
                                           {{1, 2, 3, 4, 5, 6, 7}, {8, 10, 11, 12}},
                                           {{1, 2}, {3, 4, 5, 6, 7, 8}}}};
  CHECK(longest_input(items) == 10);
  const auto found = choice_loglikelihoods(session, items, {}, {});
  for (std::size_t c = 0; c < items[0].size(); ++c)
    check_close(found[0][c], plain_loglikelihood(session, items[0][c], 6));
  const std::vector<EncodedItem> longer = {{{{1}, {2, 3, 4, 5, 6, 7}}, {{1}, {2, 3, 4, 5, 6, 7, 8}}}};
  CHECK(contains(message_of([&] { choice_loglikelihoods(session, longer, {}, {}); }),
                 "item 0: a continuation of 7 tokens does not fit a context of 6"));
}

TEST_CASE("choices: what was finished counts where the evaluation is stopped") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "model.spqr";
  write_dense_model("golden/llama-mha", "", DType::f32, path);
  Session session({.model = path, .batch = 8, .logits_tokens = 4});
  const auto items = varied_items();
  const auto all = choice_loglikelihoods(session, items, {}, {});
  const auto blocks = static_cast<int>(session.config().num_hidden_layers);
  int asked = 0;
  // The first item's 5 + 2 + 1 + 3 inputs and the second's 3 are 14 tokens: two batches end in the third
  // item.
  const auto some = choice_loglikelihoods(session, items, {}, [&] { return ++asked > 2 * blocks; });
  REQUIRE(some.size() == 2);
  CHECK(some[0] == all[0]);
  CHECK(some[1] == all[1]);
}

TEST_CASE("branches are checked") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "model.spqr";
  write_dense_model("golden/llama-mha", "", DType::f32, path);
  Session session({.model = path, .context = 6});
  const std::vector<std::int32_t> ids{1, 2, 3, 4};
  const auto visit = [](Matrix, std::int64_t) {};
  CHECK_THROWS_AS(session.visit_branches(std::vector<Branch>{{1, ids}}, {}, visit), std::invalid_argument);
  CHECK_THROWS_AS(session.visit_branches(std::vector<Branch>{{0, ids}, {5, ids}}, {}, visit),
                  std::invalid_argument);
  CHECK_THROWS_AS(session.visit_branches(std::vector<Branch>{{0, ids}, {3, ids}}, {}, visit),
                  std::out_of_range);
  CHECK_THROWS_AS(session.visit_branches(std::vector<Branch>{{0, {}}}, {}, visit), std::invalid_argument);
}

TEST_CASE("context and choice are encoded together, and white space between them is the choice's") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "stories.spqr";
  write_stories_model(path);
  const SpqrFile file = SpqrFile::open(path, {});
  const auto tokenizer = load_tokenizer(file.info().tokenizer_files);
  Task task{"t", "t.jsonl", true, {}};
  task.items.push_back({{text("Once upon", " a time"), text("Once upon \n", "a time"), text("", "Once"),
                         text("  ", "Once upon")},
                        0});
  const auto items = encode_task(task, *tokenizer);
  const auto plain = [&](const std::string& of) { return tokenizer->encode(of, {.add_special = false}); };
  const auto joined = [](const EncodedChoice& choice) {
    std::vector<std::int32_t> ids = choice.context;
    ids.insert(ids.end(), choice.continuation.begin(), choice.continuation.end());
    return ids;
  };
  CHECK(items[0][0].context == plain("Once upon"));
  CHECK(joined(items[0][0]) == plain("Once upon a time"));
  CHECK(items[0][1].context == plain("Once upon"));
  CHECK(joined(items[0][1]) == plain("Once upon \na time"));
  CHECK(items[0][2].context == std::vector<std::int32_t>{tokenizer->bos_id()});
  CHECK(items[0][2].continuation == plain("Once"));
  CHECK(items[0][3].continuation == plain("  Once upon"));
  task.items.push_back({{text("Once", "")}, 0});
  CHECK(message_of([&] { encode_task(task, *tokenizer); }) ==
        "t.jsonl: item 1: choice 0 adds no token to its context");
}

TEST_CASE("scores: accuracy, its standard error, and likelihood per character") {
  Task task{"t", "t.jsonl", true, {}};
  // Longer choices are less likely: per character the second one is better.
  for (int i = 0; i < 4; ++i)
    task.items.push_back({{{"c", " ab", 2}, {"c", " abcdefgh", 8}}, i == 3 ? 0 : 1});
  const TaskScore score = score_task(task, {{-4, -6}, {-4, -3}, {-5, -5}, {-1, -6}});
  CHECK(score.items == 4);
  CHECK(score.chosen == std::vector<std::int64_t>{0, 1, 0, 0});
  CHECK(score.acc.value == 0.5);
  CHECK(score.acc.error == doctest::Approx(std::sqrt(0.25 / 3)));
  CHECK(score.chosen_normed == std::vector<std::int64_t>{1, 1, 1, 0});
  CHECK(score.acc_norm.value == 1);
  CHECK(score.acc_norm.error == 0);
  CHECK(score_task(task, {}).items == 0);
}

}  // namespace spqr
