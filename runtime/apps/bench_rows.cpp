#include "runtime/apps/bench_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "kernels/cpu/isa.h"
#include "kernels/threads.h"
#include "runtime/memory_plan.h"

namespace spqr {
namespace {

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::int64_t parameters(const SpqrFile& file) {
  std::int64_t count = 0;
  for (const SpqrFileModule& module : file.modules()) count += module.linear.m() * module.linear.n();
  return count;
}

int threads_of(const SessionOptions& options) {
  return options.threads > 0 ? options.threads : available_cores();
}

void add_backend(BenchRow& row, const SessionOptions& options) {
  row["n_threads"] = threads_of(options);
  row["isa"] = options.backend == "cpu" ? BenchRow(name_of(isa_of(options.isa))) : BenchRow();
  row["activations"] = name_of(options.activations);
}

// Times of repetitions that each are `tokens` long.
void add_times(BenchRow& row, const std::vector<double>& seconds, std::int64_t tokens) {
  std::vector<double> rates;
  std::vector<std::int64_t> nanoseconds;
  for (const double each : seconds) {
    rates.push_back(static_cast<double>(tokens) / each);
    nanoseconds.push_back(static_cast<std::int64_t>(each * 1e9));
  }
  row["test_time"] = utc_now();
  row["avg_ns"] = static_cast<std::int64_t>(mean(seconds) * 1e9);
  row["stddev_ns"] = static_cast<std::int64_t>(standard_deviation(seconds) * 1e9);
  row["avg_ts"] = mean(rates);
  row["stddev_ts"] = standard_deviation(rates);
  row["samples_ns"] = nanoseconds;
  row["samples_ts"] = rates;
}

// A limit, and the share of it that `reached` is; null where it is not known.
void add_limit(BenchRow& row, const char* limit_key, const char* share_key, double reached,
               const std::optional<double>& limit) {
  row[limit_key] = limit ? BenchRow(*limit) : BenchRow();
  row[share_key] = limit ? BenchRow(reached / *limit) : BenchRow();
}

// Rates of a row whose times are there, beside the machine's.
void add_rates(BenchRow& row, const Work& work, const MachineRates& limits, std::int64_t tokens) {
  const double per_second = row["avg_ts"].get<double>() / static_cast<double>(tokens);
  const double gb = per_second * work.bytes / 1e9;
  const double gflop = per_second * work.flop / 1e9;
  row["bytes_per_token"] = static_cast<std::int64_t>(work.bytes / static_cast<double>(tokens));
  row["weight_bytes_per_token"] = static_cast<std::int64_t>(work.weight_bytes / static_cast<double>(tokens));
  row["flop_per_token"] = static_cast<std::int64_t>(work.flop / static_cast<double>(tokens));
  row["gb_per_s"] = gb;
  add_limit(row, "read_bandwidth_gb_per_s", "share_of_read_bandwidth", gb, limits.read_gb_per_s);
  row["gflop_per_s"] = gflop;
  add_limit(row, "peak_gflop_per_s", "share_of_peak", gflop, limits.peak_gflop_per_s);
}

std::string test_name(const BenchRow& row) {
  const auto prompt = row.at("n_prompt").get<std::int64_t>();
  const auto gen = row.at("n_gen").get<std::int64_t>();
  const auto depth = row.at("n_depth").get<std::int64_t>();
  std::string name = prompt > 0 ? fmt::format("pp{}", prompt) : "";
  if (gen > 0) name += fmt::format("{}tg{}", name.empty() ? "" : "+", gen);
  return depth > 0 ? fmt::format("{} @ d{}", name, depth) : name;
}

double number(const BenchRow& row, const char* key) {
  return row.at(key).get<double>();
}

BenchColumn percent_column(std::string title, const char* key) {
  return {std::move(title),
          [key](const BenchRow& row) { return fmt::format("{:.1f} %", 100 * number(row, key)); }};
}

BenchColumn rate_column(std::string title, const char* key) {
  return {std::move(title), [key](const BenchRow& row) { return fmt::format("{:.2f}", number(row, key)); }};
}

// A value, and what the same minute's limit of it is; nothing where that is not known.
BenchColumn limit_column(std::string title, const char* share, const char* limit) {
  return {std::move(title), [share, limit](const BenchRow& row) {
            if (row.at(limit).is_null()) return std::string();
            return fmt::format("{:.0f} % of {:.1f}", 100 * number(row, share), number(row, limit));
          }};
}

void add_rate_columns(std::vector<BenchColumn>& columns) {
  columns.push_back(rate_column("GB/s", "gb_per_s"));
  columns.push_back(limit_column("of read bandwidth", "share_of_read_bandwidth", "read_bandwidth_gb_per_s"));
  columns.push_back(rate_column("GFLOP/s", "gflop_per_s"));
  columns.push_back(limit_column("of peak", "share_of_peak", "peak_gflop_per_s"));
}

// A column that is there where the option has several values.
struct VaryingColumn {
  const char* option;
  const char* title;
  const char* key;
};

// has_value: whether a row can have a value of this key.
void add_varying(std::vector<BenchColumn>& columns, const BenchRequest& request,
                 const std::function<bool(const char* key)>& has_value,
                 std::initializer_list<VaryingColumn> candidates) {
  for (const VaryingColumn& candidate : candidates) {
    if (request.varies(candidate.option) && has_value(candidate.key))
      columns.push_back(value_column(candidate.title, candidate.key));
  }
}

// Of an instruction set, which only the cpu backend has.
bool uses_isa(const BenchRequest& request) {
  return std::ranges::any_of(request.sessions, [](const SessionOptions& on) { return on.backend == "cpu"; });
}

}  // namespace

BenchRow model_row(const Bench& bench, const BenchTest& test, const BenchResult& result) {
  const Session& session = bench.session();
  const SessionOptions& options = bench.options();
  BenchRow row = {{"build_version", SPQR_VERSION},
                  {"backends", session.backend_name()},
                  {"model_filename", options.model.string()},
                  {"model_type", session.config().model_type},
                  {"model_size", session.file().file_bytes()},
                  {"model_n_params", parameters(session.file())},
                  {"n_batch", options.batch}};
  add_backend(row, options);
  row["type_k"] = name_of(options.cache_types.k);
  row["type_v"] = name_of(options.cache_types.v);
  row["use_mmap"] = options.mmap;
  row["use_mlock"] = options.mlock;
  row["n_prompt"] = test.n_prompt;
  row["n_gen"] = test.n_gen;
  row["n_depth"] = test.n_depth;
  add_times(row, result.seconds, test.tokens());
  add_rates(row, result.work, result.limits, test.tokens());
  row["share_outside_products"] = result.outside_products();
  row["profiled_seconds"] = result.profile_seconds;
  row["seconds_by_operation"] = result.profile;
  return row;
}

BenchRow operation_parameters(const OperationCase& what, const SessionOptions& on) {
  const bool attention = what.operation == Operation::attention;
  const auto packed = [&](const auto& value) {
    return is_packed(what.operation) ? BenchRow(value) : BenchRow();
  };
  const auto cached = [&](const auto& value) { return attention ? BenchRow(value) : BenchRow(); };
  const SpqrFormat& format = what.format;
  BenchRow row = {{"build_version", SPQR_VERSION},
                  {"backends", on.backend},
                  {"op", name_of(what.operation)},
                  {"shape", attention ? fmt::format("{}x{}x{}", what.heads, what.kv_heads, what.head_dim)
                                      : fmt::format("{}x{}", what.m, what.n)}};
  add_backend(row, on);
  row["activations"] = packed(name_of(on.activations));
  row["n_prompt"] = what.tokens;
  row["n_depth"] = cached(what.depth);
  row["type_k"] = cached(name_of(on.cache_types.k));
  row["type_v"] = cached(name_of(on.cache_types.v));
  row["bits"] = packed(format.bits);
  row["beta1"] = packed(format.beta1);
  row["beta2"] = packed(format.beta2);
  row["scale_bits"] = packed(format.scale_bits);
  row["zero_bits"] = packed(format.zero_bits);
  row["outliers"] = packed(what.outlier_share);
  return row;
}

BenchRow operation_row(BenchRow parameters, std::string_view backend, const OperationCase& what,
                       const OperationResult& result) {
  BenchRow row = std::move(parameters);
  row["backends"] = backend;
  row["relative_error"] = result.relative_error;
  add_times(row, result.seconds, what.tokens);
  add_rates(row, result.work, result.limits, what.tokens);
  return row;
}

std::vector<BenchColumn> model_columns(const BenchRequest& request) {
  std::vector<BenchColumn> columns = {
      value_column("model", "model_type"),
      {"size", [](const BenchRow& row) { return human_bytes(row.at("model_size").get<std::size_t>()); }},
      {"params",
       [](const BenchRow& row) { return fmt::format("{:.2f} M", number(row, "model_n_params") / 1e6); }},
      value_column("backend", "backends"),
      value_column("threads", "n_threads")};
  const auto has_value = [&](std::string_view key) { return key != "isa" || uses_isa(request); };
  add_varying(columns, request, has_value,
              {{"model", "file", "model_filename"},
               {"isa", "isa", "isa"},
               {"activations", "activations", "activations"},
               {"batch-size", "batch", "n_batch"},
               {"cache-type-k", "type k", "type_k"},
               {"cache-type-v", "type v", "type_v"}});
  // These are of all sessions alike, and said where they are not what is standard.
  if (!request.sessions.front().mmap) columns.push_back(value_column("mmap", "use_mmap"));
  if (request.sessions.front().mlock) columns.push_back(value_column("mlock", "use_mlock"));
  columns.push_back({"test", test_name});
  columns.push_back({"tokens/s", [](const BenchRow& row) {
                       return fmt::format("{:.2f} +- {:.2f}", number(row, "avg_ts"),
                                          number(row, "stddev_ts"));
                     }});
  add_rate_columns(columns);
  columns.push_back(percent_column("outside products", "share_outside_products"));
  return columns;
}

std::vector<BenchColumn> operation_columns(const BenchRequest& request) {
  std::vector<BenchColumn> columns = {value_column("operation", "op"), value_column("shape", "shape"),
                                      value_column("backend", "backends"),
                                      value_column("threads", "n_threads")};
  const auto has_value = [&](const char* key) {
    return std::ranges::any_of(request.operations, [&](const OperationCase& what) {
      return std::ranges::any_of(request.sessions, [&](const SessionOptions& on) {
        return !operation_parameters(what, on).at(key).is_null();
      });
    });
  };
  add_varying(columns, request, has_value,
              {{"isa", "isa", "isa"},
               {"activations", "activations", "activations"},
               {"bits", "bits", "bits"},
               {"beta1", "beta1", "beta1"},
               {"beta2", "beta2", "beta2"},
               {"scale-bits", "scale bits", "scale_bits"},
               {"zero-bits", "zero bits", "zero_bits"},
               {"cache-type-k", "type k", "type_k"},
               {"cache-type-v", "type v", "type_v"},
               {"n-depth", "depth", "n_depth"}});
  columns.push_back(value_column("tokens", "n_prompt"));
  columns.push_back({"microseconds", [](const BenchRow& row) {
                       return fmt::format("{:.1f} +- {:.1f}", number(row, "avg_ns") / 1e3,
                                          number(row, "stddev_ns") / 1e3);
                     }});
  add_rate_columns(columns);
  columns.push_back(
      {"error", [](const BenchRow& row) { return fmt::format("{:.1e}", number(row, "relative_error")); }});
  return columns;
}

}  // namespace spqr
