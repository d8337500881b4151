#include "runtime/apps/bench_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/cpu/kernel_tables.h"
#include "runtime/apps/bench_lists.h"
#include "runtime/apps/bench_operations.h"
#include "runtime/apps/value_list.h"

namespace spqr {
namespace {

enum class Use : std::uint8_t { both, models, operations };

// An option of several values; it may be given several times.
struct ListOption {
  const char* names;  // as cxxopts takes them
  const char* help;
  const char* standard;  // null: must be given to have a value
  Use use;

  std::string name() const { return name_of(names); }
  static std::string name_of(const std::string& names) { return names.substr(names.find(',') + 1); }
};

constexpr ListOption kTestLists[] = {
    {"d,n-depth", "tokens in the cache before a test", "0", Use::both},
    {"p,n-prompt", "tokens of the prompt test, or that an operation takes at once; 0: none", "512",
     Use::both},
    {"n,n-gen", "tokens of the decoding test; 0: none", "128", Use::models},
    {"op",
     "measure operations instead of a model: spqr_matvec, spqr_matmul, dense_matvec, dense_matmul (f16 "
     "weights), attention",
     nullptr, Use::operations},
    {"shape",
     "of an operation's weights, such as 4096x11008 (rows x columns), or of attention, such as 32x8x128 "
     "(heads x KV heads x values)",
     nullptr, Use::operations},
    {"bits", "of packed weights", "3", Use::operations},
    {"beta1", "columns of a group, or row", "16", Use::operations},
    {"beta2", "rows of a second-level group", "16", Use::operations},
    {"scale-bits", "of scales; 16: f16, and so are zeros", "3", Use::operations},
    {"zero-bits", "of zeros", "3", Use::operations},
};

// Those of sessions, one value of which at a time is passed on to session_options(), and those of tests.
std::vector<ListOption> all_lists() {
  std::vector<ListOption> lists;
  for (const SessionValue& of : session_values()) {
    const std::string name = ListOption::name_of(of.names);
    const bool of_model = name == "model" || name == "batch-size";
    lists.push_back({of.names, of.help, of.standard, of_model ? Use::models : Use::both});
  }
  lists.insert(lists.end(), std::begin(kTestLists), std::end(kTestLists));
  return lists;
}

}  // namespace

void add_bench_options(cxxopts::Options& options) {
  auto add = options.add_options();
  for (const ListOption& list : all_lists()) {
    auto value = cxxopts::value<std::vector<std::string>>();
    if (list.standard != nullptr) value->default_value(list.standard);
    add(list.names, list.help, value, "LIST");
  }
  add("prompt-gen", "P,G: one test of a prompt of P tokens and decoding of G (-pg); may be repeated",
      cxxopts::value<std::vector<std::string>>());
  add("outliers", "share of packed weights in percent", cxxopts::value<double>()->default_value("1"));
  add("c,ctx-size", "tokens of context; 0: as the longest test needs",
      cxxopts::value<std::int64_t>()->default_value("0"));
  add("r,repetitions", "of each test", cxxopts::value<std::int64_t>()->default_value("5"));
  add("o,output", "md, csv, json or jsonl", cxxopts::value<std::string>()->default_value("md"));
  add_session_flags(options);
}

namespace {

class RequestReader {
 public:
  explicit RequestReader(const cxxopts::ParseResult& parsed) : parsed_(parsed), lists_(parsed) {}

  BenchRequest read() {
    operations_ = parsed_.count("op") > 0;
    check_use();
    request_.repetitions = positive(parsed_, "repetitions", 1000);
    request_.format = table_format(parsed_["output"].as<std::string>());
    if (operations_) {
      request_.operations = operation_cases(parsed_, lists_);
    } else {
      read_tests();
    }
    read_sessions();
    request_.varying = lists_.varying();
    return std::move(request_);
  }

 private:
  void refuse_if_given(const std::string& name) const {
    if (parsed_.count(name) == 0) return;
    throw UsageError(operations_ ? fmt::format("--op measures no model and goes without --{}", name)
                                 : fmt::format("--{} is for operations and needs --op NAMES", name));
  }

  void check_use() const {
    for (const ListOption& list : all_lists()) {
      if (list.use == (operations_ ? Use::models : Use::operations)) refuse_if_given(list.name());
    }
    if (!operations_) return refuse_if_given("outliers");
    for (const char* name : {"prompt-gen", "ctx-size", "no-mmap", "mlock", "gpu-layers", "verify"})
      refuse_if_given(name);
  }

  std::vector<std::pair<std::int64_t, std::int64_t>> prompt_gen() const {
    std::vector<std::pair<std::int64_t, std::int64_t>> pairs;
    if (parsed_.count("prompt-gen") == 0) return pairs;
    for (const auto& pair : parsed_["prompt-gen"].as<std::vector<std::string>>()) {
      const bool range = pair.find('-', 1) != std::string::npos;
      const auto numbers = range ? std::vector<std::int64_t>() : integer_list("-pg", pair, 1, kMostTokens);
      if (numbers.size() != 2)
        throw UsageError(fmt::format("-pg is '{}', expected two numbers such as 512,128", pair));
      pairs.emplace_back(numbers[0], numbers[1]);
    }
    return pairs;
  }

  void read_tests() {
    const auto prompts = lists_.integers("n-prompt", 0, kMostTokens);
    const auto gens = lists_.integers("n-gen", 0, kMostTokens);
    for (const std::int64_t depth : lists_.integers("n-depth", 0, kMostTokens)) {
      for (const std::int64_t p : prompts) request_.tests.push_back({p, 0, depth});
      for (const std::int64_t n : gens) request_.tests.push_back({0, n, depth});
      for (const auto& [p, n] : prompt_gen()) request_.tests.push_back({p, n, depth});
    }
    std::erase_if(request_.tests, [](const BenchTest& test) { return test.tokens() == 0; });
    if (request_.tests.empty()) throw UsageError("-p 0 and -n 0: nothing to measure");
  }

  std::int64_t context() const {
    std::int64_t longest = 0;
    for (const BenchTest& test : request_.tests) longest = std::max(longest, test.longest());
    const std::int64_t given = none_or_more(parsed_, "ctx-size");
    if (given > 0 && given < longest)
      throw UsageError(fmt::format("-c {} is too small for a test of {} tokens", given, longest));
    return given > 0 ? given : longest;
  }

  // All combinations of what session_options() takes, by parsing each as if it alone had been given.
  void read_sessions() {
    std::vector<std::vector<std::string>> combinations = {{"spqr-bench"}};
    for (const SessionValue& of : session_values()) {
      const std::string name = ListOption::name_of(of.names);
      if (of.standard == nullptr && parsed_.count(name) == 0) continue;
      const std::vector<std::string> values = of.number ? numbers(name) : lists_.texts(name);
      std::vector<std::vector<std::string>> more;
      for (const auto& combination : combinations) {
        for (const std::string& value : values) {
          more.push_back(combination);
          more.back().insert(more.back().end(), {"--" + name, value});
        }
      }
      combinations = std::move(more);
    }
    for (const char* flag : {"no-mmap", "mlock", "verify"}) {
      for (auto& combination : combinations) {
        if (parsed_.count(flag) > 0) combination.push_back(fmt::format("--{}", flag));
      }
    }
    if (parsed_.count("gpu-layers") > 0) {
      const std::string layers = std::to_string(parsed_["gpu-layers"].as<std::int64_t>());
      for (auto& combination : combinations) combination.insert(combination.end(), {"--gpu-layers", layers});
    }
    for (const auto& combination : combinations) request_.sessions.push_back(session(combination));
  }

  // Of --threads or --batch-size.
  std::vector<std::string> numbers(const std::string& name) {
    constexpr std::int64_t kAutomatic = -1;  // llama.cpp's default
    std::vector<std::string> values;
    const bool threads = name == "threads";
    for (const std::int64_t value : lists_.integers(name, threads ? kAutomatic : 1, threads ? 1024 : 65536))
      values.push_back(std::to_string(value));
    return values;
  }

  SessionOptions session(std::vector<std::string> words) const {
    cxxopts::Options options("spqr-bench");
    add_session_options(options);
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    const auto one = parse_arguments(options, static_cast<int>(pointers.size()), pointers.data());
    SessionOptions result = operations_ ? options_without_model(one) : session_options(one);
    result.context = operations_ ? 0 : context();
    result.beyond_maximum = true;
    return as_it_runs(std::move(result));
  }

  // What the backend does not do with an option is not said of the row, nor is it what limits are of.
  static SessionOptions as_it_runs(SessionOptions options) {
    if (options.backend == "auto") options.backend = fastest_backend();
    const Isa isa = isa_of(options.isa);
    if (options.backend == "reference") options.threads = 1;
    if (options.backend == "reference" ||
        (options.backend == "cpu" && kernel_tables(isa).strips.multiply_int16 == nullptr))
      options.activations = ActivationType::f32;
    return options;
  }

  const cxxopts::ParseResult& parsed_;
  OptionLists lists_;
  bool operations_ = false;
  BenchRequest request_;
};

}  // namespace

bool BenchRequest::varies(const std::string& option) const {
  return std::ranges::find(varying, option) != varying.end();
}

BenchRequest bench_request(const cxxopts::ParseResult& parsed) {
  return RequestReader(parsed).read();
}

}  // namespace spqr
