#include "runtime/apps/session_options.h"

#include <fmt/core.h>

#include <memory>
#include <stdexcept>

#include "kernels/cpu/isa.h"
#include "kernels/cuda/cuda_backend.h"

namespace spqr {

std::span<const SessionValue> session_values() {
  static constexpr SessionValue kValues[] = {
      {"m,model", "the .spqr file", nullptr, false},
      {"b,batch-size", "tokens evaluated at once", "512", true},
      {"t,threads", "threads; 0: one per core", "0", true},
      {"activations", "of products with packed weights: auto (16 bits) or f32", "auto", false},
      {"isa",
       "instruction set of the cpu backend: auto, amx-bf16, avx512-bf16, avx512, avx2-vnni, avx2 or portable",
       "auto", false},
      {"backend", "auto, cuda, cpu or reference", "auto", false},
      {"cache-type-k", "type of the cached keys (-ctk): f16, f32 or q8_0", "f16", false},
      {"cache-type-v", "type of the cached values (-ctv), the same", "f16", false}};
  return kValues;
}

void add_session_flags(cxxopts::Options& options) {
  options.add_options()("no-mmap", "read the file instead of mapping it; on huge pages, which are faster")(
      "mlock", "bring all of the file into memory first and keep it there")(
      "gpu-layers", "blocks to run on the GPU, from the last (-ngl), the others on the CPU; default: all",
      cxxopts::value<std::int64_t>())("verify", "check every tensor's checksum first");
}

void add_session_options(cxxopts::Options& options, const char* context) {
  auto add = options.add_options();
  for (const SessionValue& of : session_values()) {
    auto value = of.number ? std::shared_ptr<cxxopts::Value>(cxxopts::value<std::int64_t>())
                           : cxxopts::value<std::string>();
    if (of.standard != nullptr) value->default_value(of.standard);
    add(of.names, of.help, value);
  }
  add("c,ctx-size", context, cxxopts::value<std::int64_t>()->default_value("0"));
  add_session_flags(options);
}

std::int64_t positive(const cxxopts::ParseResult& parsed, const std::string& name, std::int64_t most) {
  const auto value = parsed[name].as<std::int64_t>();
  if (value < 1 || value > most)
    throw UsageError(fmt::format("--{} is {}, expected 1 to {}", name, value, most));
  return value;
}

std::int64_t none_or_more(const cxxopts::ParseResult& parsed, const std::string& name, std::int64_t most) {
  return parsed[name].as<std::int64_t>() == 0 ? 0 : positive(parsed, name, most);
}

int thread_count(const cxxopts::ParseResult& parsed) {
  constexpr std::int64_t kMostThreads = 1024;
  if (parsed["threads"].as<std::int64_t>() == -1) return 0;  // llama.cpp's default
  return static_cast<int>(none_or_more(parsed, "threads", kMostThreads));
}

CacheType cache_type(const std::string& name) {
  for (const CacheType type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
    if (name == name_of(type)) return type;
  }
  throw UsageError(fmt::format("there is no KV cache of type '{}'; there are f32, f16 and q8_0", name));
}

SessionOptions session_options(const cxxopts::ParseResult& parsed) {
  if (parsed.count("model") == 0) throw UsageError("no model; give one with -m FILE");
  SessionOptions options = options_without_model(parsed);
  options.model = parsed["model"].as<std::string>();
  return options;
}

std::string backend_name(const std::string& name) {
  bool known = name == "auto";
  for (const std::string_view other : known_backends()) known = known || name == other;
  if (!known)
    throw UsageError(fmt::format("there is no backend '{}'; there are auto, cuda, cpu and reference", name));
  return name;
}

SessionOptions memory_options(const cxxopts::ParseResult& parsed) {
  SessionOptions options;
  options.context = none_or_more(parsed, "ctx-size");
  options.batch = positive(parsed, "batch-size", 65536);
  options.backend = backend_name(parsed["backend"].as<std::string>());
  options.cache_types = {cache_type(parsed["cache-type-k"].as<std::string>()),
                         cache_type(parsed["cache-type-v"].as<std::string>())};
  // llama.cpp's -1 is all of them.
  if (parsed.count("gpu-layers") > 0 && parsed["gpu-layers"].as<std::int64_t>() != -1)
    options.gpu_layers = none_or_more(parsed, "gpu-layers");
  return options;
}

void warn_of_absent_gpu(const SessionOptions& options) {
  if (options.gpu_layers.value_or(0) == 0 || options.backend == "cuda" || cuda_is_real()) return;
  std::string reason = cuda_absence();
  if (reason.empty()) reason = "the GPU is an emulated one, which --backend cuda takes";
  if (options.backend != "auto") reason = fmt::format("--backend is {}", options.backend);
  print_error(fmt::format("warning: all blocks run on the CPU: {}\n", reason));
}

SessionOptions options_without_model(const cxxopts::ParseResult& parsed) {
  SessionOptions options = memory_options(parsed);
  options.threads = thread_count(parsed);
  const auto activations = parsed["activations"].as<std::string>();
  if (activations != "auto" && activations != "f32")
    throw UsageError(fmt::format("--activations is '{}', expected auto or f32", activations));
  options.activations = activations == "auto" ? ActivationType::automatic : ActivationType::f32;
  options.isa = parsed["isa"].as<std::string>();
  try {
    isa_of(options.isa);
  } catch (const std::invalid_argument& error) {
    throw UsageError(error.what());
  }
  options.mmap = parsed.count("no-mmap") == 0;
  options.mlock = parsed.count("mlock") > 0;
  options.verify = parsed.count("verify") > 0;
  return options;
}

}  // namespace spqr
