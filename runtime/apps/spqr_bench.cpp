// spqr-bench: prompt and decoding speed beside the read bandwidth of the same run.
#include <fmt/core.h>

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <thread>

#include "models/json.h"
#include "runtime/apps/session_options.h"
#include "runtime/bandwidth.h"
#include "runtime/bench.h"

namespace {

using namespace spqr;

void add_bench_options(cxxopts::Options& options) {
  options.add_options()("p,n-prompt", "tokens of the prompt test; 0: none",
                        cxxopts::value<std::int64_t>()->default_value("512"))(
      "n,n-gen", "tokens of the decoding test; 0: none",
      cxxopts::value<std::int64_t>()->default_value("128"))(
      "r,repetitions", "of each test", cxxopts::value<std::int64_t>()->default_value("5"))(
      "o,output", "md or json", cxxopts::value<std::string>()->default_value("md"));
}

std::int64_t parameters(const SpqrFile& file) {
  std::int64_t count = 0;
  for (const SpqrFileModule& module : file.modules()) count += module.linear.m() * module.linear.n();
  return count;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

// llama-bench's field names, and ours at the end.
nlohmann::json to_json(const Session& session, const BenchRow& row, const SessionOptions& options,
                       double bandwidth) {
  std::vector<double> rates;
  std::vector<std::int64_t> nanoseconds;
  for (const double seconds : row.seconds) {
    rates.push_back(static_cast<double>(row.tokens()) / seconds);
    nanoseconds.push_back(static_cast<std::int64_t>(seconds * 1e9));
  }
  const int threads =
      options.threads > 0 ? options.threads : static_cast<int>(std::thread::hardware_concurrency());
  nlohmann::json object = {{"build_version", SPQR_VERSION},
                           {"backends", session.backend_name()},
                           {"model_filename", options.model.string()},
                           {"model_type", session.config().model_type},
                           {"model_size", session.file().file_bytes()},
                           {"model_n_params", parameters(session.file())},
                           {"n_batch", options.batch},
                           {"n_threads", threads},
                           {"activations", name_of(options.activations)},
                           {"type_k", name_of(options.cache_types.k)},
                           {"type_v", name_of(options.cache_types.v)},
                           {"use_mmap", options.mmap},
                           {"n_prompt", row.n_prompt},
                           {"n_gen", row.n_gen},
                           {"test_time", utc_now()},
                           {"avg_ns", static_cast<std::int64_t>(mean(row.seconds) * 1e9)},
                           {"stddev_ns", static_cast<std::int64_t>(standard_deviation(row.seconds) * 1e9)},
                           {"avg_ts", mean(rates)},
                           {"stddev_ts", standard_deviation(rates)},
                           {"samples_ns", nanoseconds},
                           {"samples_ts", rates},
                           {"read_bandwidth_gb_per_s", bandwidth}};
  if (row.n_gen > 0) {
    object["bytes_per_token"] = static_cast<std::int64_t>(row.bytes_per_token);
    object["gb_per_s"] = mean(rates) * row.bytes_per_token / 1e9;
  }
  return object;
}

std::string markdown(const nlohmann::json& rows) {
  std::string text = fmt::format(
      "| model | size | params | backend | threads | test | tokens/s | GB/s | of {:.1f} GB/s read |\n",
      rows.empty() ? 0.0 : rows[0]["read_bandwidth_gb_per_s"].get<double>());
  text += "|---|---|---|---|---|---|---|---|---|\n";
  for (const auto& row : rows) {
    const bool decode = row["n_gen"].get<std::int64_t>() > 0;
    const std::string test = decode ? fmt::format("tg{}", row["n_gen"].get<std::int64_t>())
                                    : fmt::format("pp{}", row["n_prompt"].get<std::int64_t>());
    const double gb = decode ? row["gb_per_s"].get<double>() : 0;
    text += fmt::format(
        "| {} | {} | {:.2f} M | {} | {} | {} | {:.2f} +- {:.2f} | {} | {} |\n",
        row["model_type"].get<std::string>(), human_bytes(row["model_size"].get<std::size_t>()),
        row["model_n_params"].get<double>() / 1e6, row["backends"].get<std::string>(),
        row["n_threads"].get<int>(), test, row["avg_ts"].get<double>(), row["stddev_ts"].get<double>(),
        decode ? fmt::format("{:.2f}", gb) : "",
        decode ? fmt::format("{:.0f} %", 100 * gb / row["read_bandwidth_gb_per_s"].get<double>()) : "");
  }
  return text;
}

int run(const cxxopts::ParseResult& parsed) {
  SessionOptions options = session_options(parsed);
  const std::int64_t n_prompt = none_or_more(parsed, "n-prompt");
  const std::int64_t n_gen = none_or_more(parsed, "n-gen");
  const std::int64_t repetitions = positive(parsed, "repetitions", 1000);
  const auto output = parsed["output"].as<std::string>();
  if (output != "md" && output != "json")
    throw UsageError(fmt::format("-o is '{}', expected md or json", output));
  if (n_prompt == 0 && n_gen == 0) throw UsageError("-p 0 and -n 0: nothing to measure");
  const std::int64_t longest = std::max(n_prompt, n_gen);
  if (options.context == 0) options.context = longest;
  if (options.context < longest)
    throw UsageError(fmt::format("-c {} is too small for a test of {} tokens", options.context, longest));
  install_interrupt_handler();

  const double bandwidth = read_bandwidth_gb_per_s(options.threads);
  Session session(options);
  nlohmann::json rows = nlohmann::json::array();
  if (n_prompt > 0)
    rows.push_back(
        to_json(session, run_bench(session, n_prompt, 0, repetitions, interrupted), options, bandwidth));
  if (n_gen > 0)
    rows.push_back(
        to_json(session, run_bench(session, 0, n_gen, repetitions, interrupted), options, bandwidth));
  print(output == "json" ? fmt::format("{}\n", to_text(rows, 1)) : markdown(rows));
  return kExitGood;
}

}  // namespace

int main(int argc, char** argv) {
  cxxopts::Options options("spqr-bench", "Measures prompt and decoding speed.");
  spqr::add_session_options(options);
  add_bench_options(options);
  return spqr::run_tool(argc, argv, options, run);
}
