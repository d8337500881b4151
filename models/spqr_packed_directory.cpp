// Hugging Face directories with quant_method "spqr": matrices in the layout of the official kernel, 3 bits in
// tiles of 16 x 16. A 64-bit word for each row of a tile: scale code (3 bits), zero code (3), 16 codes (3
// each), 8 bits of the tile's second level. Of that, the words of even rows have a byte each: f16 ss, zs, sz,
// zz.
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "kernels/half.h"
#include "models/config.h"
#include "models/json.h"
#include "models/safetensors.h"
#include "models/shard_index.h"
#include "models/spqr_checkpoint.h"
#include "models/spqr_saved_parts.h"
#include "models/stored_types.h"
#include "models/tied_tensors.h"
#include "models/tokenizer_files.h"

namespace spqr {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr std::int64_t kTile = 16;
constexpr const char* kQuantization = "quantization_config";
constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";

bool has_suffix(std::string_view name) {
  return name.ends_with(".dense_weights") || name.ends_with(".row_offsets") || name.ends_with(".col_vals") ||
         name.ends_with(".in_perm");
}

// The four numbers of a tile, from the words of its 16 rows.
std::array<float, 4> second_level(const std::uint64_t* words) {
  std::array<float, 4> values{};
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint64_t low = words[4 * i] >> 54 & 0xFFU;
    const std::uint64_t high = words[4 * i + 2] >> 54 & 0xFFU;
    values[i] = f16_to_f32(static_cast<std::uint16_t>(low | high << 8));
  }
  return values;
}

// words: one tile after the other along rows of tiles.
void unpack_tiles(const std::vector<std::uint64_t>& words, SpqrParts& parts) {
  const std::int64_t groups = parts.format.groups(parts.n);
  const std::int64_t tiles = parts.format.tiles(parts.m);
  parts.codes.resize(static_cast<std::size_t>(parts.m * parts.n));
  parts.scale_codes.resize(static_cast<std::size_t>(groups * parts.m));
  parts.zero_codes.resize(parts.scale_codes.size());
  for (auto* values : {&parts.scale_scale, &parts.scale_zero, &parts.zero_scale, &parts.zero_zero})
    values->resize(static_cast<std::size_t>(groups * tiles));
  for (std::int64_t t = 0; t < tiles; ++t) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::uint64_t* tile = words.data() + (t * groups + g) * kTile;
      const auto [ss, zs, sz, zz] = second_level(tile);
      const auto at = static_cast<std::size_t>(g * tiles + t);
      parts.scale_scale[at] = ss;
      parts.scale_zero[at] = sz;
      parts.zero_scale[at] = zs;
      parts.zero_zero[at] = zz;
      for (std::int64_t row = t * kTile; row < std::min(parts.m, (t + 1) * kTile); ++row) {
        const std::uint64_t word = tile[row - t * kTile];
        parts.scale_codes[static_cast<std::size_t>(g * parts.m + row)] = static_cast<std::uint8_t>(word & 7U);
        parts.zero_codes[static_cast<std::size_t>(g * parts.m + row)] =
            static_cast<std::uint8_t>(word >> 3 & 7U);
        for (std::int64_t j = 0; j < std::min(kTile, parts.n - g * kTile); ++j)
          parts.codes[static_cast<std::size_t>(row * parts.n + g * kTile + j)] =
              static_cast<std::uint8_t>(word >> (6 + 3 * j) & 7U);
      }
    }
  }
}

class PackedDirectory final : public SpqrCheckpoint {
 public:
  PackedDirectory(const fs::path& directory, const SpqrCheckpointOptions& options)
      : directory_(directory), rule_(options.outliers) {
    const std::string where = (directory / "config.json").string();
    Json config = parse_json_strict(read_small_file(directory / "config.json"), where);
    check_quantization(config[kQuantization], where);
    config.erase(kQuantization);
    config_json_ = config.dump(2);
    const ModelConfig parsed = parse_config(config_json_, where);
    tokenizer_files_ = chosen_tokenizer_files(
        tokenizer_files_in(options.base.empty() ? directory : options.base), options.checkpoint);
    if (fs::exists(directory / "model.safetensors")) {
      add_file(directory / "model.safetensors");
    } else {
      for (const auto& shard : read_shard_index(directory / "model.safetensors.index.json", ".safetensors"))
        add_file(directory / shard.first);
    }
    if (parsed.tie_word_embeddings) tie_names(stored_, tensors_, kEmbedding, kHead);
  }

  const std::string& config_json() const override { return config_json_; }
  const TokenizerFiles& tokenizer_files() const override { return tokenizer_files_; }
  const std::vector<CheckpointTensor>& tensors() const override { return tensors_; }
  std::string format() const override { return "SpQR packed"; }
  std::string where() const override { return directory_.string(); }
  const SpqrFormat& packed_format() const override { return format_; }

  void read(std::string_view name, float* out) const override {
    const auto it = stored_.find(name);
    if (it == stored_.end()) fail(fmt::format("has no tensor {}", name));
    widen(*find_stored_type(it->second.dtype), it->second.data, out);
  }

  bool is_packed(const std::string& module) const override {
    return stored_.contains(module + ".dense_weights");
  }

  SavedMatrix matrix(const std::string& module, std::int64_t m, std::int64_t n) const override {
    SavedMatrix saved{{}, rule_};
    SpqrParts& parts = saved.parts;
    parts.format = format_;
    parts.m = m;
    parts.n = n;
    const auto words = elements<std::uint64_t>(module + ".dense_weights", "I64");
    const std::int64_t expected = parts.format.tiles(m) * parts.format.groups(n) * kTile;
    if (static_cast<std::int64_t>(words.size()) != expected)
      fail(fmt::format("{}.dense_weights has {} words, expected {} for {} x {}", module, words.size(),
                       expected, m, n));
    unpack_tiles(words, parts);
    set_outliers(parts, outliers(module, m), where(module));
    const auto halves = elements<std::uint16_t>(module + ".in_perm", "I32");
    if (!halves.empty()) set_permutation(parts, {halves.begin(), halves.end()}, where(module));
    check_saved_parts(parts, where(module));
    return saved;
  }

 private:
  std::string where(const std::string& what) const {
    return fmt::format("{}: {}", directory_.string(), what);
  }
  [[noreturn]] void fail(const std::string& what) const { throw std::runtime_error(where(what)); }

  static void check_quantization(const Json& quantization, const std::string& where) {
    for (const auto& [key, value] : {std::pair("bits", 3), std::pair("beta1", 16), std::pair("beta2", 16)}) {
      if (quantization.contains(key) && quantization[key] == value) continue;
      throw std::runtime_error(
          fmt::format("{}: {} has another {} than {}, which the official kernel's layout has no place for",
                      where, kQuantization, key, value));
    }
  }

  void add_file(const fs::path& path) {
    files_.push_back(SafetensorsFile::open(path));
    for (const SafetensorsTensor& tensor : files_.back().tensors()) {
      if (!stored_.emplace(tensor.name, tensor).second)
        fail(fmt::format("tensor {} appears twice", tensor.name));
      if (has_suffix(tensor.name)) continue;
      if (tensor.dtype != "F16" && tensor.dtype != "BF16" && tensor.dtype != "F32")
        fail(fmt::format("tensor {} is stored as {}, which is not supported", tensor.name, tensor.dtype));
      tensors_.push_back({tensor.name, tensor.shape, tensor.dtype});
    }
  }

  // Bytes of a one-dimensional tensor as numbers of this type; where it is empty its dtype says nothing.
  template <typename T>
  std::vector<T> elements(const std::string& name, std::string_view dtype) const {
    const auto it = stored_.find(name);
    if (it == stored_.end()) fail(fmt::format("has no tensor {}", name));
    const SafetensorsTensor& tensor = it->second;
    if (tensor.shape.size() != 1 || (tensor.dtype != dtype && !tensor.data.empty()))
      fail(fmt::format("tensor {} is {} of {} dimensions, expected {} of one", name, tensor.dtype,
                       tensor.shape.size(), dtype));
    std::vector<T> values(tensor.data.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
    return values;
  }

  // Rows of CSR, or entries of 16 rows interleaved, filled up with zero words. Values of 0 stand for none.
  std::vector<SavedOutlier> outliers(const std::string& module, std::int64_t m) const {
    const auto offsets = elements<std::int32_t>(module + ".row_offsets", "I32");
    const auto entries = elements<std::uint32_t>(module + ".col_vals", "I32");
    const auto size = static_cast<std::int64_t>(offsets.size());
    const bool by_row = size == m + 1;
    if (!by_row && size != (m + kTile - 1) / kTile + 1)
      fail(fmt::format("{}.row_offsets has {} entries, expected {} or {}", module, size, m + 1,
                       (m + kTile - 1) / kTile + 1));
    if (offsets.front() != 0 || offsets.back() != static_cast<std::int64_t>(entries.size()))
      fail(fmt::format("{}.row_offsets goes from {} to {}, expected 0 to {}", module, offsets.front(),
                       offsets.back(), entries.size()));
    std::vector<SavedOutlier> result;
    for (std::size_t block = 0; block + 1 < offsets.size(); ++block) {
      if (offsets[block] > offsets[block + 1] || offsets[block + 1] > offsets.back())
        fail(fmt::format("{}.row_offsets falls after entry {}", module, block));
      for (std::int64_t i = offsets[block]; i < offsets[block + 1]; ++i) {
        const std::uint32_t entry = entries[static_cast<std::size_t>(i)];
        if ((entry >> 16 & 0x7FFFU) == 0) continue;
        const auto first = static_cast<std::int64_t>(block);
        const std::int64_t row = by_row ? first : first * kTile + (i - offsets[block]) % kTile;
        result.push_back({row, entry & 0xFFFFU, f16_to_f32(static_cast<std::uint16_t>(entry >> 16))});
      }
    }
    return result;
  }

  fs::path directory_;
  OutlierRule rule_;
  std::string config_json_;
  TokenizerFiles tokenizer_files_;
  SpqrFormat format_{.bits = 3, .beta1 = kTile, .beta2 = kTile, .scale_bits = 3, .zero_bits = 3};
  std::vector<SafetensorsFile> files_;
  std::vector<CheckpointTensor> tensors_;
  std::map<std::string, SafetensorsTensor, std::less<>> stored_;
};

}  // namespace

bool is_packed_directory(const fs::path& path) {
  if (!fs::exists(path / "config.json")) return false;
  const Json config =
      parse_json_strict(read_small_file(path / "config.json"), (path / "config.json").string());
  if (!config.is_object() || !config.contains(kQuantization) || !config[kQuantization].is_object())
    return false;
  const Json& quantization = config[kQuantization];
  return quantization.contains("quant_method") && quantization["quant_method"] == "spqr";
}

std::unique_ptr<SpqrCheckpoint> open_packed_directory(const fs::path& path,
                                                      const SpqrCheckpointOptions& options) {
  return std::make_unique<PackedDirectory>(path, options);
}

}  // namespace spqr
