#include "runtime/inspect.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "models/model.h"
#include "tokenizer/tokenizer.h"

namespace spqr {
namespace {

constexpr std::int64_t kDefaultContext = 4096;
constexpr std::int64_t kBatch = 512;  // tokens of one forward pass, as a session has it

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// By the part of the model a tensor or module belongs to, whatever the architecture.
std::string part_of(std::string_view name) {
  if (name.starts_with("tokenizer/")) return "tokenizer";
  if (name.starts_with("padding/")) return "header and padding";
  if (name.starts_with(kEmbeddingModule)) return "embedding";
  if (name.starts_with(kHeadModule)) return "head";
  if (contains(name, "norm")) return "norms";
  if (contains(name, "attn") || contains(name, "attention")) return "attention";
  if (contains(name, "mlp")) return "mlp";
  return "other";
}

bool is_of_blocks(std::string_view part) {
  return part == "attention" || part == "mlp" || part == "other";
}

std::string kind_of(const std::string& module) {
  return module.substr(module.rfind('.') + 1);
}

std::string describe(const SpqrFormat& format) {
  const std::string groups =
      format.beta1 == SpqrFormat::kWholeRow ? std::string("rows") : fmt::format("groups of {}", format.beta1);
  if (!format.quantized_statistics()) return fmt::format("{} bits, {}, f16 statistics", format.bits, groups);
  return fmt::format("{} bits, {} x {}, statistics of {} and {} bits", format.bits, groups, format.beta2,
                     format.scale_bits, format.zero_bits);
}

struct MatrixFacts {
  std::int64_t weights = 0;
  std::int64_t outliers = 0;
  double formula_bits = 0;
  std::string stored_as;
};

MatrixFacts facts_of(const Linear& linear) {
  MatrixFacts facts;
  facts.weights = linear.m() * linear.n();
  const auto weights = static_cast<double>(facts.weights);
  if (const auto* packed = std::get_if<SpqrMatrix>(&linear.weight)) {
    facts.outliers = static_cast<std::int64_t>(packed->col_vals.size());
    facts.formula_bits =
        weights * bits_per_weight(packed->format, packed->n, static_cast<double>(facts.outliers) / weights);
    facts.stored_as = describe(packed->format);
  } else {
    const DType dtype = std::get<TensorView>(linear.weight).dtype;
    facts.formula_bits = weights * 8.0 * static_cast<double>(size_of(dtype));
    facts.stored_as = name_of(dtype);
  }
  return facts;
}

void add(PartSize& part, const MatrixFacts& facts) {
  part.matrices += 1;
  part.weights += facts.weights;
  part.outliers += facts.outliers;
  part.formula_bits += facts.formula_bits;
  if (part.stored_as.empty()) {
    part.stored_as = facts.stored_as;
  } else if (!contains(part.stored_as, facts.stored_as)) {
    part.stored_as += "; " + facts.stored_as;
  }
}

PartSize& named(std::vector<PartSize>& parts, const std::string& name) {
  const auto found =
      std::find_if(parts.begin(), parts.end(), [&](const PartSize& p) { return p.name == name; });
  if (found != parts.end()) return *found;
  parts.push_back({});
  parts.back().name = name;
  return parts.back();
}

// The module that a tensor is a piece of (weight, bias, outliers, permutation); nullptr: none.
using Owners = std::map<std::string, const SpqrFileModule*, std::less<>>;

Owners owners_of(const SpqrFile& file) {
  Owners owners;
  for (const SpqrFileModule& module : file.modules()) {
    for (const char* piece : {".weight", ".bias", ".dense", ".row_counts", ".col_vals"})
      owners.emplace(module.name + piece, &module);
    if (!module.perm_name.empty()) owners.emplace(module.perm_name, &module);
  }
  return owners;
}

void count_sizes(const SpqrFile& file, Inspection& result) {
  for (const char* name : {"attention", "mlp", "embedding", "head", "norms"}) named(result.parts, name);
  for (const SpqrFileModule& module : file.modules()) {
    const MatrixFacts facts = facts_of(module.linear);
    const std::string part = part_of(module.name);
    add(named(result.parts, part), facts);
    add(result.whole, facts);
    if (!is_of_blocks(part)) continue;
    add(named(result.kinds, kind_of(module.name)), facts);
    add(result.blocks, facts);
  }
  const Owners owners = owners_of(file);
  std::size_t left = file.file_bytes();
  for (const SafetensorsTensor& tensor : file.tensors()) {
    const auto owner = owners.find(tensor.name);
    const std::string part = part_of(owner == owners.end() ? tensor.name : owner->second->name);
    if (part == "header and padding") continue;
    named(result.parts, part).bytes += tensor.data.size();
    left -= tensor.data.size();
    if (owner == owners.end() || !is_of_blocks(part)) continue;
    named(result.kinds, kind_of(owner->second->name)).bytes += tensor.data.size();
    result.blocks.bytes += tensor.data.size();
  }
  named(result.parts, "header and padding").bytes = left;
  std::erase_if(result.parts, [](const PartSize& part) { return part.bytes == 0; });
  result.blocks.name = "blocks";
  result.whole.name = "whole file";
  result.whole.bytes = file.file_bytes();
}

TokenizerSummary tokenizer_of(const TokenizerFiles& files) {
  static constexpr std::array<std::pair<const char*, const char*>, 5> kKinds{
      {{"tokenizer.json", "Hugging Face tokenizer"},
       {"tokenizer.model", "SentencePiece model"},
       {"gguf_tokenizer.json", "GGUF vocabulary"},
       {"tokenizer.bin", "llama2.c vocabulary"},
       {"vocab.json", "byte-level BPE vocabulary and merges"}}};
  TokenizerSummary summary;
  summary.kind = "none: the model takes and gives token ids";
  for (const auto& [name, kind] : kKinds) {
    if (!files.contains(name)) continue;
    try {
      const auto tokenizer = load_tokenizer(files);
      return {kind, tokenizer->vocab_size(), !tokenizer->chat_template().empty()};
    } catch (const std::runtime_error& error) {
      return {fmt::format("{} that cannot be read: {}", kind, error.what()), 0, false};
    }
  }
  return summary;
}

// What a session would ask for, found where it would look for it.
void check_complete(const SpqrFile& file, const ModelConfig& config) {
  const auto source = make_weight_source(file);
  const auto check = [&](const std::vector<std::string>& modules, const std::vector<std::int64_t>& m,
                         std::int64_t n) { source->linear_group(modules, m, n); };
  check({kEmbeddingModule}, {config.vocab_size}, config.hidden_size);
  if (!config.tie_word_embeddings) check({kHeadModule}, {config.vocab_size}, config.hidden_size);
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (const LinearGroupSpec& group : block_linears(config, layer)) check(group.modules, group.m, group.n);
    for (const std::string& name : block_vectors(config, layer)) {
      const std::string module = name.substr(0, name.rfind('.'));
      const SpqrFileModule* found = file.find_module(module);  // a bias is part of its module
      if (found != nullptr ? found->linear.bias.empty() : !file.find_tensor(name)) {
        throw std::runtime_error(fmt::format("{}: has no tensor '{}'", file.path().string(), name));
      }
    }
  }
  source->vector(kFinalNorm, config.hidden_size);
}

}  // namespace

Inspection inspect(const SpqrFile& file, std::int64_t context) {
  Inspection result;
  result.config = parse_config(file.info().config_json, file.path().string() + ": config");
  result.context = context > 0 ? context : std::min(result.config.max_position_embeddings, kDefaultContext);
  result.tokenizer = tokenizer_of(file.info().tokenizer_files);
  check_complete(file, result.config);
  count_sizes(file, result);
  const MemoryNeeds needs =
      memory_needs(result.config, file.file_bytes(), DType::f16, std::min(kBatch, result.context), 1);
  result.memory = plan_memory(needs, result.context, result.config.max_position_embeddings,
                              std::numeric_limits<std::size_t>::max());
  return result;
}

}  // namespace spqr
