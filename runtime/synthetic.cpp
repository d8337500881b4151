#include "runtime/synthetic.h"

#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "kernels/half.h"
#include "kernels/threads.h"
#include "models/json.h"
#include "models/model.h"
#include "models/spqr_container.h"
#include "runtime/quantize_block.h"
#include "runtime/quantize_plan.h"
#include "runtime/stopwatch.h"
#include "runtime/target_bits.h"
#include "runtime/tied_head.h"

namespace spqr {
namespace {

constexpr float kDeviation = 0.02F;
constexpr float kOutlier = 0.1F;

struct Shape {
  std::string_view name;
  std::int64_t hidden_size, intermediate_size, layers, heads, kv_heads;
};
constexpr std::array<Shape, 7> kShapes{{{"tinyllama-1.1b", 2048, 5632, 22, 32, 4},
                                        {"llama-7b", 4096, 11008, 32, 32, 32},
                                        {"llama-13b", 5120, 13824, 40, 40, 40},
                                        {"llama-33b", 6656, 17920, 60, 52, 52},
                                        {"llama-65b", 8192, 22016, 80, 64, 64},
                                        {"falcon-7b", 4544, 18176, 32, 71, 1},
                                        {"falcon-40b", 8192, 32768, 60, 128, 8}}};

// SplitMix64: one independent stream for each (seed, index).
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t index) : state_(seed * 0x9E3779B97F4A7C15U + index) { next(); }
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }
  // [0, 1)
  float uniform() { return static_cast<float>(next() >> 40U) * 0x1p-24F; }
  float between(float low, float high) { return low + (high - low) * uniform(); }

 private:
  std::uint64_t state_;
};

// Rows of codes below 2^bits, eight from each random number.
void fill_codes(std::vector<std::uint8_t>& codes, std::int64_t rows, std::int64_t columns, int bits,
                std::uint64_t seed) {
  codes.resize(static_cast<std::size_t>(rows * columns));
  const std::uint64_t mask = 0x0101010101010101U * ((1U << bits) - 1);
  parallel_for(rows, [&](std::int64_t i) {
    Random random(seed, static_cast<std::uint64_t>(i));
    std::uint8_t* row = codes.data() + i * columns;
    for (std::int64_t j = 0; j < columns; j += 8) {
      const std::uint64_t eight = random.next() & mask;
      std::memcpy(row + j, &eight, static_cast<std::size_t>(std::min<std::int64_t>(8, columns - j)));
    }
  });
}

// Values between low and high, each with up to a tenth more or less.
void fill(std::vector<float>& values, std::int64_t count, float low, float high, std::uint64_t seed) {
  values.resize(static_cast<std::size_t>(count));
  Random random(seed, 0);
  for (float& value : values) value = random.between(low, high);
}

void fill_statistics(SpqrParts& parts, std::uint64_t seed) {
  const SpqrFormat& format = parts.format;
  const std::int64_t groups = format.groups(parts.n);
  const auto largest_code = static_cast<float>((1 << format.bits) - 1);
  // Codes are uniform on 0 .. largest_code, whose deviation is this.
  const float code_deviation = std::sqrt((largest_code * (largest_code + 2)) / 12);
  const float scale = kDeviation / code_deviation;
  if (!format.quantized_statistics()) {
    fill(parts.scales, groups * parts.m, 0.75F * scale, 1.25F * scale, seed + 1);
    fill(parts.zeros, groups * parts.m, 0.4F * largest_code, 0.6F * largest_code, seed + 2);
    return;
  }
  const auto scale_codes = static_cast<float>((1 << format.scale_bits) - 1);
  const auto zero_codes = static_cast<float>((1 << format.zero_bits) - 1);
  const std::int64_t second = groups * format.tiles(parts.m);
  fill_codes(parts.scale_codes, groups, parts.m, format.scale_bits, seed + 1);
  fill_codes(parts.zero_codes, groups, parts.m, format.zero_bits, seed + 2);
  // s between 0.75 and 1.25 of `scale`, z between 0.4 and 0.6 of the largest code.
  const float scale_step = 0.5F * scale / scale_codes;
  const float zero_step = 0.2F * largest_code / zero_codes;
  fill(parts.scale_scale, second, 0.9F * scale_step, 1.1F * scale_step, seed + 3);
  fill(parts.scale_zero, second, -1.5F * scale_codes, -1.5F * scale_codes, seed + 4);
  fill(parts.zero_scale, second, zero_step, zero_step, seed + 5);
  fill(parts.zero_zero, second, -2 * zero_codes, -2 * zero_codes, seed + 6);
}

// Each row's outliers lie one in each of equal stretches of columns: ascending without sorting.
void fill_outliers(SpqrParts& parts, double share, std::uint64_t seed) {
  if (share <= 0) return;
  Random random(seed, 0);
  const double expected = share * static_cast<double>(parts.n);
  parts.row_offsets.assign(1, 0);
  double owed = 0;
  for (std::int64_t i = 0; i < parts.m; ++i) {
    owed += expected;
    const auto count = std::min(parts.n, static_cast<std::int64_t>(owed));
    owed -= static_cast<double>(count);
    for (std::int64_t k = 0; k < count; ++k) {
      const std::int64_t begin = k * parts.n / count;
      const std::int64_t width = (k + 1) * parts.n / count - begin;
      const auto offset = static_cast<std::int64_t>(random.next() % static_cast<std::uint64_t>(width));
      parts.columns.push_back(static_cast<std::uint16_t>(begin + offset));
      parts.values.push_back(random.between(-kOutlier, kOutlier));
    }
    parts.row_offsets.push_back(static_cast<std::uint32_t>(parts.columns.size()));
  }
}

std::vector<std::uint32_t> random_order(std::int64_t n, std::uint64_t seed) {
  std::vector<std::uint32_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0U);
  Random random(seed, 0);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.next() % i]);
  return order;
}

void fill_dense(QuantizedModule& module, std::int64_t m, std::int64_t n, Scheme scheme, std::uint64_t seed) {
  module.dense_dtype = dense_dtype(scheme);
  const std::size_t element = size_of(module.dense_dtype);
  module.dense.resize(static_cast<std::size_t>(m * n) * element);
  const float limit = kDeviation * std::sqrt(3.0F);
  parallel(m, [&](Indices& mine) {
    std::vector<float> row(static_cast<std::size_t>(n));
    while (mine.next()) {
      const std::int64_t i = mine.index();
      Random random(seed, static_cast<std::uint64_t>(i));
      for (float& value : row) value = random.between(-limit, limit);
      std::uint8_t* out = module.dense.data() + static_cast<std::size_t>(i * n) * element;
      if (scheme == Scheme::f32) {
        std::memcpy(out, row.data(), row.size() * sizeof(float));
      } else if (scheme == Scheme::bf16) {
        f32_to_bf16(row.data(), reinterpret_cast<std::uint16_t*>(out), row.size());
      } else {
        f32_to_f16(row.data(), reinterpret_cast<std::uint16_t*>(out), row.size());
      }
    }
  });
}

nlohmann::json llama_config(const Shape& shape) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", shape.hidden_size},
          {"intermediate_size", shape.intermediate_size},
          {"num_hidden_layers", shape.layers},
          {"num_attention_heads", shape.heads},
          {"num_key_value_heads", shape.kv_heads},
          {"vocab_size", 32000},
          {"max_position_embeddings", 2048},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"hidden_act", "silu"},
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"tie_word_embeddings", false}};
}

nlohmann::json falcon_config(const Shape& shape) {
  const bool grouped = shape.kv_heads > 1;
  return {{"architectures", {"FalconForCausalLM"}},
          {"model_type", "falcon"},
          {"hidden_size", shape.hidden_size},
          {"ffn_hidden_size", shape.intermediate_size},
          {"num_hidden_layers", shape.layers},
          {"num_attention_heads", shape.heads},
          {"num_kv_heads", grouped ? shape.kv_heads : shape.heads},
          {"multi_query", true},
          {"new_decoder_architecture", grouped},
          {"parallel_attn", true},
          {"alibi", false},
          {"bias", false},
          {"vocab_size", 65024},
          {"max_position_embeddings", 2048},
          {"layer_norm_epsilon", 1e-5},
          {"rope_theta", 10000.0},
          {"activation", "gelu"},
          {"bos_token_id", 11},
          {"eos_token_id", 11},
          {"tie_word_embeddings", true}};
}

class SyntheticWriter {
 public:
  SyntheticWriter(const std::string& shape, const QuantizeJob& job, QuantizeObserver& observer)
      : shape_(shape),
        job_(job),
        observer_(observer),
        settings_(job.settings),
        config_json_(synthetic_config(shape)),
        config_(parse_config(config_json_, shape)) {
    set_threads(job.threads);
    if (settle_head(settings_, config_)) config_json_ = untied_config(config_json_);
    if (settings_.target_bits && !settings_.target_of_preset) require_reachable(config_, settings_);
    const QuantizePlan plan = plan_synthetic(config_, settings_);
    observer.tell(describe(plan));
    require_room(plan, job.out);
    writer_ = std::make_unique<SpqrFileWriter>(job.out, "synthetic", false);
  }

  QuantizeSummary run() {
    {
      const Stopwatch watch(summary_.times.total);
      write();
    }
    summary_.average = averages(summary_.modules);
    summary_.file_bytes = std::filesystem::file_size(job_.out);
    return std::move(summary_);
  }

 private:
  void write() {
    add_table(embedding_module(config_), settings_.embedding);
    for (std::int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      for (const LinearGroupSpec& group : block_linears(config_, layer)) add_group(group);
      for (const std::string& name : block_vectors(config_, layer))
        add_vector(name, vector_size(name, layer));
      observer_.progress(static_cast<double>(layer + 1), static_cast<double>(config_.num_hidden_layers),
                         fmt::format("block {}", layer));
      if (observer_.cancelled()) throw QuantizeCancelled("interrupted; nothing is left behind");
    }
    for (const std::string& name : norm_vectors(config_, final_norm_module(config_)))
      add_vector(name, config_.hidden_size);
    if (!config_.tie_word_embeddings) add_table(kHeadModule, settings_.head);
    writer_->finish({config_json_, {}, quantization_json()});
  }

  std::uint64_t next_seed() { return Random(settings_.seed, ++matrices_).next(); }

  void add(QuantizedModule module, const std::string& perm) {
    write_module(*writer_, module, perm);
    summary_.modules.push_back(module.report);
    observer_.module(module.report);
  }

  QuantizedModule make(const std::string& name, std::int64_t m, std::int64_t n, Scheme scheme,
                       const SpqrFormat& format, double share) {
    QuantizedModule module;
    const std::uint64_t seed = next_seed();
    if (is_dense(scheme)) {
      fill_dense(module, m, n, scheme, seed);
      module.report.bits = 8.0 * static_cast<double>(size_of(module.dense_dtype));
      module.report.stored_bits = module.report.bits;
    } else {
      module.packed = pack(random_parts(format, m, n, share, seed));
      report_packed(module);
    }
    module.report.module = name;
    module.report.scheme = name_of(scheme);
    module.report.m = m;
    module.report.n = n;
    return module;
  }

  void add_group(const LinearGroupSpec& group) {
    std::vector<std::uint32_t> perm;
    if (needs_calibration(settings_.scheme) && settings_.options.permutation == PermutationOrder::act_order)
      perm = random_order(group.n, next_seed());
    for (std::size_t i = 0; i < group.modules.size(); ++i) {
      QuantizedModule module =
          make(group.modules[i], group.m[i], group.n, settings_.scheme, settings_.options.format,
               settings_.scheme == Scheme::spqr ? settings_.synthetic_outlier_share : 0);
      module.perm = perm;
      count_permutation(module, group.modules.size());
      add(std::move(module), perm_name(group));
    }
  }

  void add_table(const std::string& name, const TableScheme& table) {
    const bool packed_alike = settings_.scheme == Scheme::spqr;
    const SpqrFormat format = table_format(table, packed_alike ? settings_.options.format : SpqrFormat());
    QuantizedModule module = make(name, config_.vocab_size, config_.hidden_size, table.scheme, format,
                                  table.scheme == Scheme::spqr ? settings_.synthetic_outlier_share : 0);
    module.report.scheme = name_of(table);
    module.report.linear = false;
    add(std::move(module), "");
  }

  // Norms are 1, biases 0.
  void add_vector(const std::string& name, std::int64_t size) {
    const std::vector<float> values(static_cast<std::size_t>(size), name.ends_with(".bias") ? 0.0F : 1.0F);
    writer_->add_dense(name, {values.data(), DType::f32, {size}});
  }

  std::int64_t vector_size(const std::string& name, std::int64_t layer) const {
    for (const LinearGroupSpec& group : block_linears(config_, layer)) {
      for (std::size_t i = 0; i < group.modules.size(); ++i) {
        if (name == group.modules[i] + ".bias") return group.m[i];
      }
    }
    return name.ends_with("q_norm.weight") || name.ends_with("k_norm.weight") ? config_.head_dim
                                                                              : config_.hidden_size;
  }

  std::string quantization_json() const {
    nlohmann::json object = to_json(settings_);
    for (const char* searched : {"target_bits", "outlier_threshold", "damp", "true_sequential"})
      object.erase(searched);
    object["tool"] = "spqr.cpp";
    object["version"] = SPQR_VERSION;
    object["synthetic"] = shape_;
    object["seed"] = settings_.seed;
    object.update(to_json(averages(summary_.modules)));
    return to_text(object);
  }

  std::string shape_;
  const QuantizeJob& job_;
  QuantizeObserver& observer_;
  QuantizeSettings settings_;
  std::string config_json_;
  ModelConfig config_;
  std::unique_ptr<SpqrFileWriter> writer_;
  QuantizeSummary summary_;
  std::uint64_t matrices_ = 0;
};

}  // namespace

std::vector<std::string> synthetic_shapes() {
  std::vector<std::string> names;
  for (const Shape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

std::string synthetic_config(const std::string& shape) {
  for (const Shape& known : kShapes) {
    if (known.name != shape) continue;
    return (shape.starts_with("falcon") ? falcon_config(known) : llama_config(known)).dump(2);
  }
  std::ifstream file(shape, std::ios::binary);
  if (!file || std::filesystem::is_directory(shape)) {
    throw OptionsError(fmt::format("--synthetic is '{}', expected {} or the path of a config.json", shape,
                                   fmt::join(synthetic_shapes(), ", ")));
  }
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

SpqrParts random_parts(const SpqrFormat& format, std::int64_t m, std::int64_t n, double outlier_share,
                       std::uint64_t seed) {
  SpqrParts parts;
  parts.format = format;
  parts.m = m;
  parts.n = n;
  fill_codes(parts.codes, m, n, format.bits, seed);
  fill_statistics(parts, seed);
  fill_outliers(parts, outlier_share, seed + 7);
  return parts;
}

QuantizeSummary write_synthetic(const std::string& shape, const QuantizeJob& job,
                                QuantizeObserver& observer) {
  return SyntheticWriter(shape, job, observer).run();
}

}  // namespace spqr
