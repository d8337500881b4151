// Directories that the reference implementation's --save wrote: args.pt (its options),
// not_quantized_weights.pt, and per block a folder with a file for each matrix.
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <stdexcept>
#include <utility>

#include "models/config.h"
#include "models/fused_qkv.h"
#include "models/spqr_checkpoint.h"
#include "models/spqr_saved_parts.h"
#include "models/stored_types.h"
#include "models/tokenizer_files.h"
#include "models/torch_file.h"
#include "models/weight_file.h"

namespace spqr {
namespace {

namespace fs = std::filesystem;
using pickle::Dict;
using pickle::Sequence;
using pickle::Tensor;

constexpr const char* kArguments = "args.pt";
constexpr const char* kNotQuantized = "not_quantized_weights.pt";
// What stands before the number of a block in the name of a module.
constexpr std::array<std::string_view, 2> kBlocks = {"model.layers.", "transformer.h."};

// One file's dictionary, with checked access by key.
class SavedFile {
 public:
  explicit SavedFile(const fs::path& path) : where_(path.string()), file_(TorchFile::open(path)) {
    dict_ = file_.root().as<Dict>();
    if (dict_ == nullptr) fail("does not hold a dictionary");
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(fmt::format("{}: {}", where_, what));
  }
  const std::string& where() const { return where_; }

  template <typename T>
  const T& get(const char* key) const {
    const pickle::Value* value = dict_->find(key);
    if (value == nullptr || value->as<T>() == nullptr)
      fail(fmt::format("{} is missing or of another kind", key));
    return *value->as<T>();
  }
  bool is_none(const char* key) const {
    const pickle::Value* value = dict_->find(key);
    return value == nullptr || value->as<std::monostate>() != nullptr;
  }
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high) const {
    const auto number = get<std::int64_t>(key);
    if (number < low || number > high)
      fail(fmt::format("{} is {}, expected {} to {}", key, number, low, high));
    return number;
  }

  // Elements of a tensor of this many, of a dtype of `size` bytes.
  template <typename T>
  std::vector<T> elements(const Tensor& tensor, std::int64_t count, const char* key,
                          const char* dtype) const {
    if (tensor.storage.dtype != dtype || element_count(tensor.shape) != count)
      fail(fmt::format("{} has {} elements of {}, expected {} of {}", key, element_count(tensor.shape),
                       tensor.storage.dtype, count, dtype));
    const std::vector<std::byte> bytes = file_.read(tensor);
    std::vector<T> values(static_cast<std::size_t>(count));
    if (count > 0) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  std::vector<float> floats(const Tensor& tensor, std::int64_t count, const char* key) const {
    const StoredType* type = find_stored_type(tensor.storage.dtype);
    if (type == nullptr || element_count(tensor.shape) != count)
      fail(fmt::format("{} has {} elements of {}, expected {} of F32, F16 or BF16", key,
                       element_count(tensor.shape), tensor.storage.dtype, count));
    std::vector<float> values(static_cast<std::size_t>(count));
    widen(*type, file_.read(tensor), values.data());
    return values;
  }

  // The tensors of a list, one for each group of columns.
  std::vector<const Tensor*> list(const char* key, std::int64_t groups) const {
    const Sequence& sequence = get<Sequence>(key);
    if (static_cast<std::int64_t>(sequence.items.size()) != groups)
      fail(fmt::format("{} has {} groups, expected {}", key, sequence.items.size(), groups));
    std::vector<const Tensor*> tensors;
    for (const pickle::Value* item : sequence.items) {
      if (item->as<Tensor>() == nullptr) fail(fmt::format("{} is no list of tensors", key));
      tensors.push_back(item->as<Tensor>());
    }
    return tensors;
  }
  std::vector<float> float_list(const char* key, std::int64_t groups, std::int64_t each) const {
    std::vector<float> values;
    for (const Tensor* tensor : list(key, groups)) {
      const std::vector<float> part = floats(*tensor, each, key);
      values.insert(values.end(), part.begin(), part.end());
    }
    return values;
  }
  std::vector<std::uint8_t> code_list(const char* key, std::int64_t groups, std::int64_t each) const {
    std::vector<std::uint8_t> codes;
    for (const Tensor* tensor : list(key, groups)) {
      const auto part = elements<std::uint8_t>(*tensor, each, key, "I8");
      codes.insert(codes.end(), part.begin(), part.end());
    }
    return codes;
  }

 private:
  std::string where_;
  TorchFile file_;
  const Dict* dict_ = nullptr;
};

void read_float_zeros(const SavedFile& file, std::int64_t groups, SpqrParts& parts) {
  for (const float zero : file.float_list("quant_layer_zeros", groups, parts.m)) {
    if (!(zero >= 0 && zero < static_cast<float>(1 << parts.format.zero_bits)) ||
        zero != static_cast<float>(static_cast<int>(zero)))
      file.fail(fmt::format("zero point {} is not one of {} bits", zero, parts.format.zero_bits));
    parts.zero_codes.push_back(static_cast<std::uint8_t>(zero));
  }
}

// Zero points that were rounded to whole numbers have no second level: their codes are they themselves.
void read_whole_zeros(const SavedFile& file, std::int64_t groups, SpqrParts& parts) {
  const auto tensors = file.list("quant_layer_zeros", groups);
  if (!tensors.empty() && tensors.front()->storage.dtype == "I8") {
    parts.zero_codes = file.code_list("quant_layer_zeros", groups, parts.m);
  } else {
    read_float_zeros(file, groups, parts);
  }
  parts.zero_scale.assign(static_cast<std::size_t>(groups * parts.format.tiles(parts.m)), 1.0F);
  parts.zero_zero.assign(parts.zero_scale.size(), 0.0F);
}

void read_statistics(const SavedFile& file, SpqrParts& parts) {
  const std::int64_t groups = parts.format.groups(parts.n);
  if (!parts.format.quantized_statistics()) {
    parts.scales = file.float_list("quant_layer_scale", groups, parts.m);
    parts.zeros = file.float_list("quant_layer_zeros", groups, parts.m);
    return;
  }
  const std::int64_t tiles = parts.format.tiles(parts.m);
  if (parts.m % parts.format.beta2 != 0)
    file.fail(
        fmt::format("{} rows are no multiple of the {} that share statistics", parts.m, parts.format.beta2));
  parts.scale_codes = file.code_list("quant_layer_scale", groups, parts.m);
  parts.scale_scale = file.float_list("quant_layer_scale_qq_scale", groups, tiles);
  parts.scale_zero = file.float_list("quant_layer_scale_qq_zero", groups, tiles);
  if (file.get<Sequence>("quant_layer_zero_qq_scale").items.empty())
    return read_whole_zeros(file, groups, parts);
  parts.zero_codes = file.code_list("quant_layer_zeros", groups, parts.m);
  parts.zero_scale = file.float_list("quant_layer_zero_qq_scale", groups, tiles);
  parts.zero_zero = file.float_list("quant_layer_zero_qq_zero", groups, tiles);
}

// Values of 0 stand for none.
void read_outliers(const SavedFile& file, SpqrParts& parts) {
  const auto& sparse = file.get<pickle::SparseTensor>("outliers_matrix");
  if (sparse.shape != std::vector<std::int64_t>{parts.m, parts.n})
    file.fail("outliers_matrix has another shape");
  const std::int64_t count = sparse.values->shape[0];
  const auto indices = file.elements<std::int64_t>(*sparse.indices, 2 * count, "outliers_matrix", "I64");
  const std::vector<float> values = file.floats(*sparse.values, count, "outliers_matrix");
  std::vector<SavedOutlier> outliers;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] != 0) outliers.push_back({indices[i], indices[values.size() + i], values[i]});
  }
  set_outliers(parts, std::move(outliers), file.where());
}

SpqrFormat format_of(const SavedFile& arguments) {
  SpqrFormat format;
  format.bits = static_cast<int>(arguments.integer("wbits", 2, 8));
  format.beta1 =
      arguments.is_none("groupsize") ? SpqrFormat::kWholeRow : arguments.integer("groupsize", 1, 1 << 24);
  if (arguments.is_none("qq_scale_bits") != arguments.is_none("qq_zero_bits"))
    arguments.fail(
        "only one of qq_scale_bits and qq_zero_bits is set, but a .spqr file has both scales and zero points "
        "quantized, or neither");
  if (arguments.is_none("qq_scale_bits")) {
    format.scale_bits = format.zero_bits = SpqrFormat::kUnquantized;
  } else {
    format.scale_bits = static_cast<int>(arguments.integer("qq_scale_bits", 2, 8));
    format.zero_bits = static_cast<int>(arguments.integer("qq_zero_bits", 2, 8));
    format.beta2 = static_cast<int>(arguments.integer("qq_groupsize", 1, 1 << 24));
  }
  try {
    validate(format);
  } catch (const std::invalid_argument& error) {
    arguments.fail(fmt::format("{}, which is not supported", error.what()));
  }
  return format;
}

// What is not quantized, with the configuration and the tokenizer of the model's own directory.
class NotQuantized final : public Checkpoint {
 public:
  NotQuantized(const fs::path& file, const fs::path& base, const CheckpointOptions& options) : path_(file) {
    if (!fs::exists(base / "config.json")) {
      throw std::runtime_error(fmt::format(
          "{}: has no config.json: give the directory of the model that was quantized with --base DIR",
          base.string()));
    }
    config_json_ = read_small_file(base / "config.json");
    tokenizer_files_ = chosen_tokenizer_files(tokenizer_files_in(base), options);
    for (WeightTensor& tensor : torch_weights(file)) {
      require_widenable(tensor, file.string());
      tensors_.push_back({tensor.name, tensor.shape, tensor.dtype});
      stored_[tensor.name] = std::move(tensor);
    }
  }

  const std::string& config_json() const override { return config_json_; }
  const TokenizerFiles& tokenizer_files() const override { return tokenizer_files_; }
  const std::vector<CheckpointTensor>& tensors() const override { return tensors_; }
  std::string format() const override { return "SpQR reference"; }
  std::string where() const override { return path_.string(); }

  void read(std::string_view name, float* out) const override {
    const auto it = stored_.find(name);
    if (it == stored_.end())
      throw std::runtime_error(fmt::format("{}: has no tensor {}", path_.string(), name));
    it->second.read(out);
  }

 private:
  fs::path path_;
  std::string config_json_;
  TokenizerFiles tokenizer_files_;
  std::vector<CheckpointTensor> tensors_;
  std::map<std::string, WeightTensor, std::less<>> stored_;
};

class ReferenceDirectory final : public SpqrCheckpoint {
 public:
  ReferenceDirectory(const fs::path& directory, const SpqrCheckpointOptions& options)
      : directory_(directory),
        dense_(with_split_qkv(std::make_unique<NotQuantized>(directory / kNotQuantized,
                                                             options.base.empty() ? directory : options.base,
                                                             options.checkpoint),
                              QkvOrder::by_kv_head)),
        config_(parse_config(dense_->config_json(), directory.string())),
        format_(format_of(SavedFile(directory / kArguments))) {}

  const std::string& config_json() const override { return dense_->config_json(); }
  const TokenizerFiles& tokenizer_files() const override { return dense_->tokenizer_files(); }
  const std::vector<CheckpointTensor>& tensors() const override { return dense_->tensors(); }
  std::string format() const override { return dense_->format(); }
  std::string where() const override { return dense_->where(); }
  void read(std::string_view name, float* out) const override { dense_->read(name, out); }
  const SpqrFormat& packed_format() const override { return format_; }

  bool is_packed(const std::string& module) const override {
    const std::optional<QkvPart> part = qkv_part(config_, QkvOrder::by_kv_head, module);
    return fs::exists(file_of(part ? part->fused : module));
  }

  SavedMatrix matrix(const std::string& module, std::int64_t m, std::int64_t n) const override {
    const std::optional<QkvPart> part = qkv_part(config_, QkvOrder::by_kv_head, module);
    if (!part) return read_matrix(file_of(module), m, n);
    const fs::path file = file_of(part->fused);
    SavedMatrix saved = read_matrix(file, part->fused_heads * config_.head_dim, n);
    saved.parts = select_rows(saved.parts, part->heads, config_.head_dim, file.string());
    return saved;
  }

 private:
  SavedMatrix read_matrix(const fs::path& path, std::int64_t m, std::int64_t n) const {
    const SavedFile file(path);
    SavedMatrix saved;
    SpqrParts& parts = saved.parts;
    parts.format = format_;
    parts.m = m;
    parts.n = n;
    const auto& codes = file.get<Tensor>("quant_weights");
    if (codes.shape != std::vector<std::int64_t>{m, n})
      file.fail(fmt::format("quant_weights has another shape than {} x {} of the configuration", m, n));
    if (format_.beta1 != SpqrFormat::kWholeRow && file.integer("groupsize", 1, 1 << 24) != format_.beta1)
      file.fail(fmt::format("has another groupsize than {}", kArguments));
    if (!file.is_none("keep_last_columns") && file.integer("keep_last_columns", 0, n) != 0)
      file.fail("has columns that were not quantized (keep_last_columns), which is not supported");
    parts.codes = file.elements<std::uint8_t>(codes, m * n, "quant_weights", "I8");
    read_statistics(file, parts);
    read_outliers(file, parts);
    const auto perm = file.elements<std::int32_t>(file.get<Tensor>("perm"), n, "perm", "I32");
    set_permutation(parts, {perm.begin(), perm.end()}, file.where());
    check_saved_parts(parts, file.where());
    return saved;
  }

  // model.layers.7.mlp.up_proj lies in 7/mlp.up_proj.
  fs::path file_of(const std::string& module) const {
    for (const std::string_view prefix : kBlocks) {
      const std::size_t dot = module.find('.', prefix.size());
      if (module.starts_with(prefix) && dot != std::string::npos)
        return directory_ / module.substr(prefix.size(), dot - prefix.size()) / module.substr(dot + 1);
    }
    return directory_ / "none";
  }

  fs::path directory_;
  std::unique_ptr<Checkpoint> dense_;
  ModelConfig config_;
  SpqrFormat format_;
};

}  // namespace

bool is_reference_directory(const fs::path& path) {
  return fs::exists(path / kArguments) && fs::exists(path / kNotQuantized);
}

std::unique_ptr<SpqrCheckpoint> open_reference_directory(const fs::path& path,
                                                         const SpqrCheckpointOptions& options) {
  return std::make_unique<ReferenceDirectory>(path, options);
}

}  // namespace spqr
