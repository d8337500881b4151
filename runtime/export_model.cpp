#include "runtime/export_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "kernels/half.h"
#include "models/current_config.h"
#include "models/fused_qkv.h"
#include "models/json.h"
#include "models/output_file.h"
#include "models/spqr_file.h"
#include "runtime/module_quantizer.h"
#include "runtime/quantize_plan.h"

namespace spqr {
namespace {

namespace fs = std::filesystem;

struct ExportTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::function<std::vector<float>()> values;

  std::size_t elements() const {
    std::size_t count = 1;
    for (const std::int64_t extent : shape) count *= static_cast<std::size_t>(extent);
    return count;
  }
};

std::vector<float> widened(const TensorView& view) {
  std::vector<float> values(static_cast<std::size_t>(view.elements()));
  const auto* halves = static_cast<const std::uint16_t*>(view.data);
  if (view.dtype == DType::f16) {
    f16_to_f32(halves, values.data(), values.size());
  } else if (view.dtype == DType::bf16) {
    bf16_to_f32(halves, values.data(), values.size());
  } else {
    std::memcpy(values.data(), view.data, values.size() * sizeof(float));
  }
  return values;
}

std::vector<float> weights_of(const SpqrFile& file, const SpqrFileModule& module) {
  if (const auto* dense = std::get_if<TensorView>(&module.linear.weight); dense != nullptr)
    return widened(*dense);
  std::vector<float> w(static_cast<std::size_t>(module.linear.m() * module.linear.n()));
  dequantize(std::get<SpqrMatrix>(module.linear.weight), file.perm(module.perm_name), w);
  return w;
}

std::vector<ExportTensor> tensors_of(const SpqrFile& file) {
  std::vector<ExportTensor> tensors;
  for (const SpqrFileModule& module : file.modules()) {
    tensors.push_back({module.name + ".weight", {module.linear.m(), module.linear.n()}, [&file, &module] {
                         return weights_of(file, module);
                       }});
    const std::span<const float> bias = module.linear.bias;
    if (!bias.empty())
      tensors.push_back({module.name + ".bias", {module.linear.m()}, [bias] {
                           return std::vector<float>(bias.begin(), bias.end());
                         }});
  }
  for (const SafetensorsTensor& tensor : file.tensors()) {
    const auto view = file.find_tensor(tensor.name);
    const bool is_bias = std::ranges::find(tensors, tensor.name, &ExportTensor::name) != tensors.end();
    if (view && !is_bias) tensors.push_back({tensor.name, view->shape, [view] { return widened(*view); }});
  }
  return tensors;
}

// Rows of Falcon's query_key_value, put together again from those of q_proj, k_proj and v_proj.
struct FusedTensor {
  struct Part {
    ExportTensor tensor;
    std::vector<std::int64_t> heads;  // where they are among those of the fused tensor
  };
  std::vector<Part> parts;
  std::size_t head_size = 0;  // elements

  std::vector<float> values() const {
    std::size_t heads = 0;
    for (const Part& part : parts) heads += part.heads.size();
    std::vector<float> fused(heads * head_size);
    for (const Part& part : parts) {
      const std::vector<float> rows = part.tensor.values();
      for (std::size_t i = 0; i < part.heads.size(); ++i)
        std::copy_n(rows.data() + i * head_size, head_size,
                    fused.data() + static_cast<std::size_t>(part.heads[i]) * head_size);
    }
    return fused;
  }
};

// Of a Falcon, as its checkpoints have it; others are left alone.
std::vector<ExportTensor> with_fused_qkv(std::vector<ExportTensor> tensors, const ModelConfig& config) {
  std::vector<ExportTensor> whole;
  std::map<std::string, FusedTensor> fused;
  for (ExportTensor& tensor : tensors) {
    std::optional<QkvPart> part = qkv_part(config, QkvOrder::by_kv_head, tensor.name);
    if (!part) {
      whole.push_back(std::move(tensor));
      continue;
    }
    FusedTensor& into = fused[part->fused];
    into.head_size = tensor.elements() / part->heads.size();
    into.parts.push_back({std::move(tensor), std::move(part->heads)});
  }
  for (const auto& [name, tensor] : fused) {
    std::vector<std::int64_t> shape = tensor.parts.front().tensor.shape;
    shape.front() = 0;
    for (const FusedTensor::Part& part : tensor.parts) shape.front() += part.tensor.shape.front();
    whole.push_back({name, shape, [tensor] { return tensor.values(); }});
  }
  return whole;
}

std::vector<std::uint16_t> as_f16(const ExportTensor& tensor) {
  const std::vector<float> values = tensor.values();
  std::vector<std::uint16_t> halves(values.size());
  f32_to_f16(values.data(), halves.data(), halves.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(f16_to_f32(halves[i])))
      throw std::runtime_error(fmt::format("{} holds {}, which f16 cannot", tensor.name, values[i]));
  }
  return halves;
}

void write_safetensors(const std::vector<ExportTensor>& tensors, const fs::path& path) {
  nlohmann::json header{{"__metadata__", {{"format", "pt"}}}};
  std::size_t end = 0;
  for (const ExportTensor& tensor : tensors) {
    const std::size_t begin = end;
    end += tensor.elements() * sizeof(std::uint16_t);
    header[tensor.name] = {{"dtype", "F16"}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string start(sizeof(std::uint64_t), '\0');
  for (std::size_t i = 0; i < start.size(); ++i) start[i] = static_cast<char>(text.size() >> (8 * i) & 0xffU);
  OutputFile out(path, OutputFile::Mode::create);
  out.write(0, start + text);
  std::uint64_t offset = start.size() + text.size();
  for (const ExportTensor& tensor : tensors) {
    const std::vector<std::uint16_t> halves = as_f16(tensor);
    out.write(offset, std::as_bytes(std::span(halves)));
    offset += halves.size() * sizeof(std::uint16_t);
  }
  out.sync();
}

void write_text(const std::string& text, const fs::path& path) {
  OutputFile out(path, OutputFile::Mode::create);
  out.write(0, text);
}

// Those of its own tokenizer formats that Hugging Face's libraries do not read are left out.
std::vector<std::string> write_tokenizer(const TokenizerFiles& files, const fs::path& directory) {
  bool vocabulary = false;
  for (const auto& [name, bytes] : files) {
    if (name == "gguf_tokenizer.json" || name == "tokenizer.bin" || name == "tokenizer.tiktoken") continue;
    write_text(bytes, directory / fs::path(name).filename());
    vocabulary = vocabulary || name == "tokenizer.json" || name == "tokenizer.model" || name == "vocab.json";
  }
  if (vocabulary) return {};
  return {"the model has no tokenizer in Hugging Face's format: the directory has none"};
}

std::string dense_config(const std::string& config_json, const std::string& where) {
  nlohmann::json config = nlohmann::json::parse(current_config_json(config_json, where));
  config.erase("dtype");  // the newer name of the other
  config["torch_dtype"] = "float16";
  return to_text(config, 2) + "\n";
}

QuantizePlan plan_export(const std::vector<ExportTensor>& tensors) {
  QuantizePlan plan;
  for (const ExportTensor& tensor : tensors) {
    plan.weights = std::max(plan.weights, tensor.elements() * (sizeof(float) + sizeof(std::uint16_t)));
    plan.file += tensor.elements() * sizeof(std::uint16_t);
  }
  return plan;
}

}  // namespace

std::vector<std::string> export_hf_dense(const fs::path& path, const fs::path& directory) {
  const SpqrFile file = SpqrFile::open(path, {});
  const fs::path normal = directory.lexically_normal();
  const fs::path out = normal.has_filename() ? normal : normal.parent_path();  // without a slash at the end
  std::error_code error;
  if (fs::exists(out, error) && !(fs::is_directory(out, error) && fs::is_empty(out, error)))
    throw std::runtime_error(fmt::format("{}: is there already; export to a new directory", out.string()));
  const std::vector<ExportTensor> tensors =
      with_fused_qkv(tensors_of(file), parse_config(file.info().config_json, path.string()));
  require_room(plan_export(tensors), out);
  const fs::path partial = out.string() + ".partial";
  fs::remove_all(partial);
  std::vector<std::string> warnings;
  try {
    fs::create_directories(partial);
    write_text(dense_config(file.info().config_json, path.string()), partial / "config.json");
    warnings = write_tokenizer(file.info().tokenizer_files, partial);
    write_safetensors(tensors, partial / "model.safetensors");
    rename_file(partial, out);
  } catch (...) {
    fs::remove_all(partial, error);
    throw;
  }
  return warnings;
}

}  // namespace spqr
