#include "runtime/import_model.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "models/json.h"
#include "models/model.h"
#include "models/spqr_container.h"
#include "runtime/block_weights.h"
#include "runtime/quantize_block.h"
#include "runtime/quantize_checks.h"
#include "runtime/quantize_plan.h"
#include "runtime/stopwatch.h"

namespace spqr {
namespace {

class Import {
 public:
  Import(const ImportJob& job, QuantizeObserver& observer)
      : job_(job),
        observer_(observer),
        source_(open_spqr_checkpoint(job.model, job.options)),
        config_(parse_config(source_->config_json(), job.model.string())) {
    require_agreement(job.given, source_->packed_format());
    require_other_file(job.out, job.model);
    if (fitting_tokenizer(*source_, config_, tokenizer_path()) == nullptr) {
      observer_.warn(fmt::format(
          "{}: has no tokenizer; the model will take and print token ids only (--base DIR or --tokenizer "
          "FILE gives it one)",
          job.model.string()));
    }
    QuantizePlan plan = plan_import(config_, source_->packed_format(), dense_size(embedding_module(config_)));
    add_tokenizer(plan, source_->tokenizer_files());
    require_room(plan, job.out);
    writer_ = std::make_unique<SpqrFileWriter>(job.out, "import", false);
  }

  QuantizeSummary run() {
    {
      const Stopwatch watch(summary_.times.total);
      write_dense(embedding_module(config_), config_.vocab_size, config_.hidden_size, false);
      for (std::int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
        for (const LinearGroupSpec& group : block_linears(config_, layer)) write_group(group);
        for (const std::string& name : block_vectors(config_, layer)) write_vector(name);
        observer_.progress(static_cast<double>(layer + 1), static_cast<double>(config_.num_hidden_layers),
                           fmt::format("block {}", layer));
        if (observer_.cancelled()) throw QuantizeCancelled("interrupted; nothing is left behind");
      }
      for (const std::string& name : norm_vectors(config_, final_norm_module(config_))) write_vector(name);
      if (!config_.tie_word_embeddings)
        write_dense(kHeadModule, config_.vocab_size, config_.hidden_size, false);
      writer_->finish({source_->config_json(), source_->tokenizer_files(), quantization_json()});
    }
    summary_.average = averages(summary_.modules);
    summary_.file_bytes = std::filesystem::file_size(job_.out);
    return std::move(summary_);
  }

 private:
  const std::filesystem::path& tokenizer_path() const {
    const SpqrCheckpointOptions& options = job_.options;
    if (!options.checkpoint.tokenizer.empty()) return options.checkpoint.tokenizer;
    return options.base.empty() ? job_.model : options.base;
  }

  static DType dense_type(const std::string& stored_as) {
    return stored_as == "F32" ? DType::f32 : stored_as == "F16" ? DType::f16 : DType::bf16;
  }
  // Bytes of an element of a matrix that is not packed.
  std::size_t dense_size(const std::string& module) const {
    const CheckpointTensor* tensor = source_->find(module + ".weight");
    return tensor == nullptr ? 0 : size_of(dense_type(tensor->stored_as));
  }

  void report(QuantizedModule module, const std::string& permutation) {
    write_module(*writer_, module, permutation);
    summary_.modules.push_back(module.report);
    observer_.module(module.report);
  }

  // Modules that read one input have one permutation in the file.
  void write_group(const LinearGroupSpec& group) {
    const std::vector<std::uint32_t>* shared = nullptr;
    std::vector<QuantizedModule> modules;
    modules.reserve(group.modules.size());
    for (std::size_t i = 0; i < group.modules.size(); ++i) {
      if (!source_->is_packed(group.modules[i])) {
        write_dense(group.modules[i], group.m[i], group.n, true);
        continue;
      }
      modules.push_back(packed(group.modules[i], group.m[i], group.n));
      if (shared != nullptr && *shared != modules.back().perm) {
        throw std::runtime_error(
            fmt::format("{}: {} and {} read one input but have their columns in different orders, which a "
                        ".spqr file cannot",
                        job_.model.string(), group.modules.front(), group.modules[i]));
      }
      shared = &modules.back().perm;
    }
    for (QuantizedModule& module : modules) {
      count_permutation(module, modules.size());
      report(std::move(module), perm_name(group));
    }
  }

  QuantizedModule packed(const std::string& name, std::int64_t m, std::int64_t n) {
    const SavedMatrix saved = source_->matrix(name, m, n);
    QuantizedModule module;
    try {
      module.packed = pack(saved);
    } catch (const std::invalid_argument& error) {
      throw std::runtime_error(fmt::format("{}: {}: {}", job_.model.string(), name, error.what()));
    }
    module.perm = saved.parts.perm;
    module.report = {.module = name, .scheme = "spqr", .m = m, .n = n};
    report_packed(module);
    std::vector<float> stored(static_cast<std::size_t>(m * n));
    dequantize(module.packed.view(), module.perm, stored);
    module.report.relative_error = relative_difference(dequantize(saved), stored);
    return module;
  }

  // A matrix that is not packed, in the type that it has.
  void write_dense(const std::string& name, std::int64_t m, std::int64_t n, bool linear) {
    const std::string tensor = name + ".weight";
    std::vector<float> values = read_tensor(*source_, tensor, {m, n});
    QuantizedModule module = convert_dense(values, dense_type(source_->find(tensor)->stored_as));
    module.report.module = name;
    module.report.scheme = name_of(module.dense_dtype);
    module.report.m = m;
    module.report.n = n;
    module.report.relative_error = 0;
    module.report.linear = linear;
    report(std::move(module), "");
  }

  void write_vector(const std::string& name) {
    const std::vector<std::int64_t>& shape = source_->at(name).shape;
    if (shape.size() != 1)
      throw std::runtime_error(fmt::format("{}: tensor {} is no vector", source_->where(), name));
    const std::vector<float> values = read_tensor(*source_, name, shape);
    writer_->add_dense(name, {values.data(), DType::f32, shape});
  }

  std::string quantization_json() const {
    nlohmann::json object = to_json(source_->packed_format());
    object["tool"] = "spqr.cpp";
    object["version"] = SPQR_VERSION;
    object["scheme"] = "spqr";
    object["source_format"] = source_->format();
    object["outliers"] = job_.options.outliers == OutlierRule::replace ? "replace" : "add";
    object.update(to_json(averages(summary_.modules)));
    for (const ModuleReport& module : summary_.modules) object["modules"].push_back(to_json(module));
    return to_text(object);
  }

  const ImportJob& job_;
  QuantizeObserver& observer_;
  std::unique_ptr<SpqrCheckpoint> source_;
  ModelConfig config_;
  std::unique_ptr<SpqrFileWriter> writer_;
  QuantizeSummary summary_;
};

}  // namespace

void require_agreement(const GivenOptions& given, const SpqrFormat& format) {
  const std::array<std::pair<std::string_view, std::int64_t>, 5> numbers{{{"bits", format.bits},
                                                                          {"beta1", format.beta1},
                                                                          {"beta2", format.beta2},
                                                                          {"scale-bits", format.scale_bits},
                                                                          {"zero-bits", format.zero_bits}}};
  for (const auto& [option, value] : given) {
    std::string expected;
    if (option == "scheme") expected = "spqr";
    for (const auto& [name, number] : numbers) {
      if (name == option)
        expected = name == "beta1" && number == SpqrFormat::kWholeRow ? "row" : fmt::format("{}", number);
    }
    if (expected.empty()) {
      throw OptionsError(
          fmt::format("--{} cannot be used: MODEL is SpQR already and is taken over as it is", option));
    }
    if (value != expected)
      throw OptionsError(
          fmt::format("--{} is {}, but MODEL is SpQR already, with {}", option, value, expected));
  }
}

QuantizeSummary import_model(const ImportJob& job, QuantizeObserver& observer) {
  return Import(job, observer).run();
}

}  // namespace spqr
