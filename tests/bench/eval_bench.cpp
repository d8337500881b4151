// What sharing saves in multiple-choice tasks: items with what their choices have in common passed once, in
// common batches; all choices for themselves in such batches; and a forward pass for each choice; in turn.
//   eval_bench MODEL.spqr DIR [TASK [ITEMS [ROUNDS]]]
// All compute logits of the scored tokens only. The likelihoods are compared before anything is printed.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/eval.h"
#include "runtime/stopwatch.h"

namespace {

using namespace spqr;

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// Every choice as an item of its own, which shares nothing.
std::vector<EncodedItem> each_choice(const std::vector<EncodedItem>& items) {
  std::vector<EncodedItem> alone;
  for (const EncodedItem& item : items) {
    for (const EncodedChoice& choice : item) alone.push_back({choice});
  }
  return alone;
}

using Values = std::vector<double>;

Values in_batches(Session& session, std::span<const EncodedItem> items) {
  Values values;
  for (const auto& of : choice_loglikelihoods(session, items, {}, {}))
    values.insert(values.end(), of.begin(), of.end());
  return values;
}

Values one_by_one(Session& session, std::span<const EncodedItem> items) {
  Values values;
  for (const EncodedItem& item : items) values.push_back(in_batches(session, {&item, 1}).front());
  return values;
}

// A way to evaluate all choices, and the seconds that it took in every round.
struct Way {
  const char* name;
  std::function<Values()> run;
  std::vector<double> seconds = {};
};

double largest_difference(const Values& a, const Values& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

int bench(const std::vector<std::string>& arguments) {
  const auto argument = [&](std::size_t i, const char* standard) {
    return arguments.size() > i ? arguments[i] : std::string(standard);
  };
  const std::string name = argument(2, "hellaswag");
  const Task task = load_task(name, arguments[1], std::stoll(argument(3, "100")));
  SessionOptions options{.model = arguments[0], .context = 1024, .logits_tokens = 256};
  Session session(options);
  const std::vector<EncodedItem> items = encode_task(task, *session.tokenizer());
  std::int64_t inputs = 0;
  for (const EncodedItem& item : items) {
    for (const EncodedChoice& choice : item) inputs += choice.input();
  }
  const std::vector<EncodedItem> alone = each_choice(items);
  Way ways[] = {{"contexts shared, in batches", [&] { return in_batches(session, items); }},
                {"nothing shared, in batches", [&] { return in_batches(session, alone); }},
                {"a pass for each choice", [&] { return one_by_one(session, alone); }}};
  double difference = 0;
  Values expected;
  for (int round = 0; round < std::stoi(argument(4, "3")); ++round) {
    for (Way& way : ways) {
      Values found;
      {
        const Stopwatch watch(way.seconds.emplace_back(0.0));
        found = way.run();
      }
      if (expected.empty()) expected = found;
      difference = std::max(difference, largest_difference(found, expected));
    }
  }
  // Activations are rounded to 16 bits row by row, the same way in all.
  if (!(difference < 0.05)) throw std::runtime_error(fmt::format("likelihoods differ by {}", difference));
  fmt::print("{}, {} items, {} tokens in all inputs, backend {}, likelihoods equal to {:.2g}\n", name,
             items.size(), inputs, session.backend_name(), difference);
  for (const Way& way : ways) {
    fmt::print("{:<28} {:7.2f} s (median of {}), the first takes {:.3f} of it\n", way.name,
               median(way.seconds), way.seconds.size(), median(ways[0].seconds) / median(way.seconds));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "eval_bench MODEL.spqr DIR [TASK [ITEMS [ROUNDS]]]\n");
    return 2;
  }
  try {
    return bench({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "eval_bench: {}\n", error.what());
    return 1;
  }
}
