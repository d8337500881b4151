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

constexpr std::int64_t kBatch = 512;  // tokens of one forward pass, as a session has it

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// By the part of the model a tensor or module belongs to, whatever the architecture.
std::string part_of(std::string_view name) {
  if (name.starts_with("tokenizer/")) return "tokenizer";
  if (name.starts_with("padding/")) return "header and padding";
  if (contains(name, ".sensitivity")) return "sensitivity";
  if (contains(name, "embed")) return "embedding";
  if (name.starts_with(kHeadModule)) return "head";
  if (contains(name, "norm") || contains(name, ".ln_")) return "norms";
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

// Of one matrix, without its bytes.
PartSize facts_of(const SpqrFileModule& module) {
  const Linear& linear = module.linear;
  PartSize facts;
  facts.name = module.name;
  facts.matrices = 1;
  facts.weights = linear.m() * linear.n();
  const auto weights = static_cast<double>(facts.weights);
  if (const auto* packed = std::get_if<SpqrMatrix>(&linear.weight)) {
    facts.outliers = static_cast<std::int64_t>(packed->col_vals.size());
    facts.formula_bits = weights * bits_per_weight(packed->format, packed->n, facts.outlier_share());
    facts.stored_as = describe(packed->format);
  } else {
    const DType dtype = std::get<TensorView>(linear.weight).dtype;
    facts.formula_bits = weights * 8.0 * static_cast<double>(size_of(dtype));
    facts.stored_as = name_of(dtype);
  }
  return facts;
}

void add(PartSize& part, const PartSize& other) {
  part.matrices += other.matrices;
  part.weights += other.weights;
  part.outliers += other.outliers;
  part.formula_bits += other.formula_bits;
  part.bytes += other.bytes;
  const std::string known = "; " + part.stored_as + "; ";
  if (part.stored_as.empty()) {
    part.stored_as = other.stored_as;
  } else if (!contains(known, "; " + other.stored_as + "; ")) {
    part.stored_as += "; " + other.stored_as;
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

// Tensor name to the modules (their places in the file's list) that it is a piece of: weight, bias, outliers;
// a permutation may belong to several.
using Users = std::map<std::string, std::vector<std::size_t>, std::less<>>;

Users users_of_tensors(const SpqrFile& file) {
  Users users;
  const std::vector<SpqrFileModule>& modules = file.modules();
  for (std::size_t i = 0; i < modules.size(); ++i) {
    for (const char* piece : {".weight", ".bias", ".dense", ".row_counts", ".col_vals"})
      users[modules[i].name + piece].push_back(i);
    if (!modules[i].perm_name.empty()) users[modules[i].perm_name].push_back(i);
  }
  return users;
}

// What several modules share is divided among them.
std::vector<ModuleSize> sizes_of_modules(const SpqrFile& file, const Users& users) {
  std::vector<ModuleSize> sizes;
  for (const SpqrFileModule& module : file.modules())
    sizes.push_back({facts_of(module), module.linear.m(), module.linear.n(), module.perm_name});
  for (const SafetensorsTensor& tensor : file.tensors()) {
    const auto found = users.find(tensor.name);
    if (found == users.end()) continue;
    std::size_t left = tensor.data.size();
    for (std::size_t sharers = found->second.size(); const std::size_t module : found->second) {
      const std::size_t share = left / sharers--;
      sizes[module].size.bytes += share;
      left -= share;
    }
  }
  return sizes;
}

void count_sizes(const SpqrFile& file, Inspection& result) {
  for (const char* name : {"attention", "mlp", "embedding", "head", "norms"}) named(result.parts, name);
  const Users users = users_of_tensors(file);
  result.modules = sizes_of_modules(file, users);
  for (const ModuleSize& module : result.modules) {
    const std::string part = part_of(module.size.name);
    add(named(result.parts, part), module.size);
    add(result.whole, module.size);
    if (!is_of_blocks(part)) continue;
    add(named(result.kinds, kind_of(module.size.name)), module.size);
    add(result.blocks, module.size);
  }
  std::size_t left = file.file_bytes() - result.whole.bytes;
  for (const SafetensorsTensor& tensor : file.tensors()) {
    const std::string part = part_of(tensor.name);
    if (users.contains(tensor.name) || part == "header and padding") continue;
    named(result.parts, part).bytes += tensor.data.size();
    left -= tensor.data.size();
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
  const TokenizerSummary none{"none: the model takes and gives token ids", 0, false};
  for (const auto& [name, kind] : kKinds) {
    if (!files.contains(name)) continue;
    try {
      const auto tokenizer = load_tokenizer(files);
      if (tokenizer == nullptr) return none;  // a vocabulary without its merges
      return {kind, tokenizer->vocab_size(), !tokenizer->chat_template().empty()};
    } catch (const std::runtime_error& error) {
      return {fmt::format("{} that cannot be read: {}", kind, error.what()), 0, false};
    }
  }
  return none;
}

// What a session would ask for, found where it would look for it.
void check_complete(const SpqrFile& file, const ModelConfig& config) {
  const auto source = make_weight_source(file);
  const auto check = [&](const std::vector<std::string>& modules, const std::vector<std::int64_t>& m,
                         std::int64_t n) { source->linear_group(modules, m, n); };
  check({embedding_module(config)}, {config.vocab_size}, config.hidden_size);
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
  read_norm(config, *source, final_norm_module(config), config.hidden_size);
}

}  // namespace

Inspection inspect(const SpqrFile& file, std::int64_t context) {
  Inspection result;
  result.config = parse_config(file.info().config_json, file.path().string() + ": config");
  result.context = context > 0 ? context : std::min(result.config.max_position_embeddings, kDefaultContext);
  result.tokenizer = tokenizer_of(file.info().tokenizer_files);
  check_complete(file, result.config);
  count_sizes(file, result);
  const MemoryNeeds needs = memory_needs(result.config, file.file_bytes(), *make_backend("cpu", {}),
                                         CacheTypes{}, std::min(kBatch, result.context), 1);
  result.memory = plan_memory(needs, result.context, result.config.max_position_embeddings,
                              std::numeric_limits<std::size_t>::max());
  return result;
}

}  // namespace spqr
