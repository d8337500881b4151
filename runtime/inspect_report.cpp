// An inspection as text and as JSON.
#include <fmt/core.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

#include "models/json.h"
#include "runtime/inspect.h"

namespace spqr {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const PartSize& part) {
  Json object{{"name", part.name}, {"bytes", part.bytes}};
  if (part.matrices == 0) return object;
  object["matrices"] = part.matrices;
  object["weights"] = part.weights;
  object["formula_bits_per_weight"] = part.formula_bits_per_weight();
  object["stored_bits_per_weight"] = part.stored_bits_per_weight();
  object["outliers"] = part.outliers;
  object["outlier_share"] = part.outlier_share();
  object["stored_as"] = part.stored_as;
  return object;
}

Json list(const std::vector<PartSize>& parts) {
  Json array = Json::array();
  for (const PartSize& part : parts) array.push_back(to_json(part));
  return array;
}

// A JSON text of the file, which readers keep as it is; as a string where it is not JSON.
Json embedded(const std::string& text) {
  try {
    return Json(parse_json_strict(text, "quantization"));
  } catch (const std::runtime_error&) {
    return text;
  }
}

Json to_json(const ModuleSize& module) {
  Json object = to_json(module.size);
  object.erase("matrices");
  object["shape"] = {module.m, module.n};
  object["permutation"] = module.perm.empty() ? Json(nullptr) : Json(module.perm);
  return object;
}

std::string row(const PartSize& part) {
  if (part.matrices == 0) return fmt::format("{:<20} {:>12}\n", part.name, human_bytes(part.bytes));
  return fmt::format("{:<20} {:>12} {:>8} {:>15} {:>9.4f} {:>9.4f} {:>10.4f}  {}\n", part.name,
                     human_bytes(part.bytes), part.matrices, part.weights, part.stored_bits_per_weight(),
                     part.formula_bits_per_weight(), 100 * part.outlier_share(), part.stored_as);
}

std::string module_table(const Inspection& inspection) {
  std::string text = fmt::format("\n{:<44} {:>14} {:>12} {:>9} {:>9} {:>10}  {}\n", "matrix", "shape", "size",
                                 "bits", "formula", "outliers %", "stored as; its input's permutation");
  for (const ModuleSize& module : inspection.modules) {
    text += fmt::format("{:<44} {:>14} {:>12} {:>9.4f} {:>9.4f} {:>10.4f}  {}{}\n", module.size.name,
                        fmt::format("{} x {}", module.m, module.n), human_bytes(module.size.bytes),
                        module.size.stored_bits_per_weight(), module.size.formula_bits_per_weight(),
                        100 * module.size.outlier_share(), module.size.stored_as,
                        module.perm.empty() ? "" : "; " + module.perm);
  }
  return text;
}

std::string size_table(const Inspection& inspection) {
  std::string text = fmt::format("{:<20} {:>12} {:>8} {:>15} {:>9} {:>9} {:>10}  {}\n", "part", "size",
                                 "matrices", "weights", "bits", "formula", "outliers %", "stored as");
  for (const PartSize& part : inspection.parts) text += row(part);
  text += row(inspection.whole) + "\nMatrices of the blocks (their average is the paper's bits per weight)\n";
  for (const PartSize& kind : inspection.kinds) text += row(kind);
  return text + row(inspection.blocks);
}

std::string positions_text(const ModelConfig& c) {
  if (c.alibi) return "ALiBi";
  const std::string text = fmt::format("RoPE theta {:g}", c.rope_theta);
  switch (c.rope_scaling.type) {
    case RopeScaling::Type::none:
      return text;
    case RopeScaling::Type::linear:
      return text + fmt::format(", linear scaling by {:g}", c.rope_scaling.factor);
    case RopeScaling::Type::llama3:
      return text + fmt::format(", llama3 scaling by {:g}", c.rope_scaling.factor);
  }
  return text;
}

std::string config_text(const ModelConfig& c) {
  std::string text = fmt::format(
      "model      {}, {} blocks, hidden size {}, intermediate size {}, {} heads of {} ({} of keys and "
      "values)\n"
      "           vocabulary {}, {} head, at most {} tokens, {}",
      c.model_type, c.num_hidden_layers, c.hidden_size, c.intermediate_size, c.num_attention_heads,
      c.head_dim, c.num_key_value_heads, c.vocab_size, c.tie_word_embeddings ? "tied" : "separate",
      c.max_position_embeddings, positions_text(c));
  if (c.sliding_window > 0) text += fmt::format(", window of {}", c.sliding_window);
  return text + "\n";
}

// The options, without the results of every matrix.
std::string quantization_text(const SpqrFile& file) {
  const Json quantization = embedded(file.info().quantization_json);
  if (!quantization.is_object()) return fmt::format("quantized  {}\n", quantization.dump());
  std::string text;
  const auto line = [&](const std::string& key, const Json& value) {
    if (value.is_array() || (value.is_object() && value.size() > 16)) return;
    text += fmt::format("{:<10} {}: {}\n", text.empty() ? "quantized" : "", key,
                        value.is_string() ? value.get<std::string>() : value.dump());
  };
  for (const auto& item : quantization.items()) line(item.key(), item.value());
  return text;
}

std::string tokenizer_text(const Inspection& inspection, const SpqrFile& file) {
  const TokenizerSummary& tokenizer = inspection.tokenizer;
  std::string text = fmt::format("tokenizer  {}", tokenizer.kind);
  if (tokenizer.vocab_size > 0) {
    text += fmt::format(", {} tokens, {} chat template", tokenizer.vocab_size,
                        tokenizer.has_chat_template ? "with" : "without");
  }
  text += "\n";
  for (const auto& [name, bytes] : file.info().tokenizer_files)
    text += fmt::format("           {} ({})\n", name, human_bytes(bytes.size()));
  return text;
}

std::string memory_text(const Inspection& inspection) {
  const MemoryPlan& plan = inspection.memory;
  return fmt::format("memory     {} for {} tokens: {} of weights, {} of KV cache (f16), {} of workspace\n",
                     human_bytes(plan.total()), inspection.context, human_bytes(plan.needs.weights),
                     human_bytes(plan.cache()), human_bytes(plan.needs.workspace));
}

std::string tensor_lines(const SpqrFile& file) {
  std::string text = "\n";
  for (const SafetensorsTensor& tensor : file.tensors()) {
    text += fmt::format("{:<56} {:<5} [{}] {} bytes\n", tensor.name, tensor.dtype,
                        fmt::join(tensor.shape, ", "), tensor.data.size());
  }
  return text;
}

}  // namespace

nlohmann::json to_json(const Inspection& inspection, const SpqrFile& file, bool tensors) {
  const MemoryPlan& plan = inspection.memory;
  Json object{{"file", file.path().string()},
              {"file_bytes", file.file_bytes()},
              {"config", embedded(file.info().config_json)},
              {"quantization", embedded(file.info().quantization_json)},
              {"tokenizer",
               {{"kind", inspection.tokenizer.kind},
                {"vocab_size", inspection.tokenizer.vocab_size},
                {"chat_template", inspection.tokenizer.has_chat_template},
                {"files", Json::object()}}},
              {"parts", list(inspection.parts)},
              {"kinds", list(inspection.kinds)},
              {"blocks", to_json(inspection.blocks)},
              {"whole", to_json(inspection.whole)},
              {"memory",
               {{"context", inspection.context},
                {"weights", plan.needs.weights},
                {"kv_cache", plan.cache()},
                {"workspace", plan.needs.workspace},
                {"total", plan.total()}}}};
  for (const auto& [name, bytes] : file.info().tokenizer_files)
    object["tokenizer"]["files"][name] = bytes.size();
  if (tensors) {
    for (const ModuleSize& module : inspection.modules) object["modules"].push_back(to_json(module));
    for (const SafetensorsTensor& tensor : file.tensors()) {
      object["tensors"].push_back({{"name", tensor.name},
                                   {"dtype", tensor.dtype},
                                   {"shape", tensor.shape},
                                   {"bytes", tensor.data.size()}});
    }
  }
  return object;
}

std::string to_text(const Inspection& inspection, const SpqrFile& file, bool tensors) {
  std::string text = fmt::format("{}: {}\n", file.path().string(), human_bytes(file.file_bytes()));
  text += config_text(inspection.config) + tokenizer_text(inspection, file) + quantization_text(file) +
          memory_text(inspection) + "\n" + size_table(inspection);
  return tensors ? text + module_table(inspection) + tensor_lines(file) : text;
}

}  // namespace spqr
