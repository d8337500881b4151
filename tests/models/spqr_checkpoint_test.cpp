// Checkpoints that are SpQR already: directories of the reference implementation (fixtures made with torch)
// and packed ones (written here, from the description of their layout).
#include "models/spqr_checkpoint.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "kernels/half.h"
#include "models/config.h"
#include "models/model.h"
#include "models/safetensors.h"
#include "tests/models/files.h"

namespace spqr {
namespace {

const std::filesystem::path kFixtures = std::filesystem::path(SPQR_FIXTURES) / "torch";

std::string open_error(const std::filesystem::path& path) {
  return message_of([&] {
    const auto checkpoint = open_spqr_checkpoint(path, {});
    const ModelConfig config = parse_config(checkpoint->config_json(), "config.json");
    for (const LinearGroupSpec& group : block_linears(config, 0)) {
      for (std::size_t i = 0; i < group.modules.size(); ++i)
        pack(checkpoint->matrix(group.modules[i], group.m[i], group.n));
    }
  });
}

// W of a packed matrix in the original order of columns.
std::vector<float> stored(const PackedMatrix& packed, const std::vector<std::uint32_t>& perm) {
  std::vector<float> w;
  std::vector<float> row(static_cast<std::size_t>(packed.n));
  std::vector<float> ordered = row;
  for (std::int64_t i = 0; i < packed.m; ++i) {
    dequantize_row(packed.view(), i, row.data());
    for (std::size_t j = 0; j < row.size(); ++j) ordered[perm.empty() ? j : perm[j]] = row[j];
    w.insert(w.end(), ordered.begin(), ordered.end());
  }
  return w;
}

// A packed directory of one layer, hidden size 40 (ragged), made of random words.
struct Packed {
  static constexpr std::int64_t kHidden = 40;
  nlohmann::json config{
      {"model_type", "llama"},
      {"hidden_size", kHidden},
      {"intermediate_size", 24},
      {"num_hidden_layers", 1},
      {"num_attention_heads", 2},
      {"vocab_size", 3},
      {"architectures", nullptr},
      {"tie_word_embeddings", true},
      {"quantization_config", {{"quant_method", "spqr"}, {"bits", 3}, {"beta1", 16}, {"beta2", 16}}}};
  std::vector<TestTensor> tensors;

  TestTensor& find(const std::string& name) {
    for (TestTensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    throw std::logic_error(name);
  }
};

std::string repeated(std::size_t count, const std::function<std::string(std::size_t)>& bytes) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += bytes(i);
  return all;
}

void add_module(Packed& packed, const std::string& name, std::int64_t m, std::int64_t n, bool by_row,
                std::mt19937& random) {
  const auto tile_rows = static_cast<std::size_t>((m + 15) / 16);
  const std::size_t tiles = tile_rows * static_cast<std::size_t>((n + 15) / 16);
  std::string words;
  for (std::size_t tile = 0; tile < tiles; ++tile) {
    // ss, zs, sz, zz: scale 2^-4 .. , zero points as they come
    const std::uint16_t level[4] = {f32_to_f16(0.0625F + 0.001F * static_cast<float>(tile)), f32_to_f16(1.5F),
                                    f32_to_f16(-0.75F), f32_to_f16(static_cast<float>(tile) - 2)};
    const auto* level_bytes = reinterpret_cast<const unsigned char*>(level);
    for (std::size_t row = 0; row < 16; ++row) {
      const std::uint64_t codes =
          (static_cast<std::uint64_t>(random()) << 32 | random()) & ((std::uint64_t{1} << 54) - 1);
      words += bytes_of(codes | static_cast<std::uint64_t>(level_bytes[row / 2]) << 54);
    }
  }
  packed.tensors.push_back({name + ".dense_weights", "I64", {static_cast<std::int64_t>(tiles) * 16}, words});
  // Two outliers: row 1 column 3, and the last of the matrix; of CSR, or interleaved by rows of a tile.
  const auto entry = [](float value, std::int64_t column) {
    return bytes_of(static_cast<std::uint32_t>(f32_to_f16(value)) << 16 | static_cast<std::uint32_t>(column));
  };
  std::string offsets, entries;
  if (by_row) {
    offsets = repeated(static_cast<std::size_t>(m) + 1, [&](std::size_t row) {
      return bytes_of(static_cast<std::int32_t>(row < 2 ? 0 : static_cast<std::int64_t>(row) < m ? 1 : 2));
    });
    entries = entry(1.25F, 3) + entry(-2.5F, n - 1);
  } else {
    offsets = repeated(tile_rows + 1, [&](std::size_t block) {
      return bytes_of(static_cast<std::int32_t>(block == 0 ? 0 : block < tile_rows ? 16 : 32));
    });
    entries = repeated(32, [&](std::size_t i) {
      if (i == 1) return entry(1.25F, 3);
      return i == 16 + static_cast<std::size_t>((m - 1) % 16) ? entry(-2.5F, n - 1) : bytes_of(0U);
    });
  }
  packed.tensors.push_back(
      {name + ".row_offsets", "I32", {static_cast<std::int64_t>(offsets.size() / 4)}, offsets});
  packed.tensors.push_back(
      {name + ".col_vals", "I32", {static_cast<std::int64_t>(entries.size() / 4)}, entries});
  const std::string perm = repeated(static_cast<std::size_t>(n), [&](std::size_t j) {
    return bytes_of(static_cast<std::uint16_t>(static_cast<std::size_t>(n) - 1 - j));
  });
  packed.tensors.push_back({name + ".in_perm", "I32", {n / 2}, perm});
}

Packed packed_model(bool by_row) {
  Packed packed;
  std::mt19937 random(1);
  const ModelConfig config = [&] {
    nlohmann::json plain = packed.config;
    plain.erase("quantization_config");
    return parse_config(plain.dump(), "config.json");
  }();
  for (const LinearGroupSpec& group : block_linears(config, 0)) {
    for (std::size_t i = 0; i < group.modules.size(); ++i)
      add_module(packed, group.modules[i], group.m[i], group.n, by_row, random);
  }
  packed.tensors.push_back({"lm_head.weight", "F16", {3, 40}, std::string(240, '\x33')});
  return packed;
}

void write(const Packed& packed, const TemporaryDirectory& directory) {
  directory.write("config.json", packed.config.dump());
  directory.write("model.safetensors", safetensors_bytes(packed.tensors));
}

// An element of down_proj (40, 24) by the layout's description, in original column order.
float expected_weight(const std::string& words, std::int64_t row, std::int64_t column, bool add) {
  const std::int64_t n = 24;
  const std::int64_t stored_column = n - 1 - column;
  const std::int64_t tile = row / 16 * 2 + stored_column / 16;
  const auto word_at = [&](std::int64_t r) {
    std::uint64_t word = 0;
    std::memcpy(&word, words.data() + 8 * (tile * 16 + r), 8);
    return word;
  };
  std::uint64_t level = 0;
  for (int k = 0; k < 8; ++k) level |= (word_at(2 * k) >> 54 & 0xffU) << (8 * k);
  const auto half = [&](int i) { return f16_to_f32(static_cast<std::uint16_t>(level >> (16 * i))); };
  const std::uint64_t word = word_at(row % 16);
  const float s = half(0) * (static_cast<float>(word & 7U) - half(2));
  const float z = half(1) * (static_cast<float>(word >> 3 & 7U) - half(3));
  const float dense = s * (static_cast<float>(word >> (6 + 3 * (stored_column % 16)) & 7U) - z);
  const float outlier = row == 1 && stored_column == 3     ? 1.25F
                        : row == 39 && stored_column == 23 ? -2.5F
                                                           : 0.0F;
  if (outlier == 0) return dense;
  return add ? dense + outlier : outlier;
}

// The packed linears of the first block against what torch computes from them.
void check_weights(const SpqrCheckpoint& checkpoint, const SafetensorsFile& expected) {
  const ModelConfig config = parse_config(checkpoint.config_json(), "config.json");
  for (const LinearGroupSpec& group : block_linears(config, 0)) {
    for (std::size_t i = 0; i < group.modules.size(); ++i) {
      CAPTURE(group.modules[i]);
      const SafetensorsTensor* tensor = expected.find(group.modules[i] + ".weight");
      REQUIRE(tensor != nullptr);
      REQUIRE(checkpoint.is_packed(group.modules[i]));
      const SavedMatrix matrix = checkpoint.matrix(group.modules[i], group.m[i], group.n);
      std::vector<float> w(tensor->data.size() / sizeof(float));
      std::memcpy(w.data(), tensor->data.data(), tensor->data.size());
      CHECK(dequantize(matrix) == w);
      // Rounding to f16: of addends, and of statistics that were saved as f32.
      const std::vector<float> kept = stored(pack(matrix), matrix.parts.perm);
      double change = 0;
      double total = 0;
      for (std::size_t j = 0; j < w.size(); ++j) {
        change += std::pow(static_cast<double>(kept[j]) - w[j], 2);
        total += std::pow(static_cast<double>(w[j]), 2);
      }
      CHECK(std::sqrt(change / total) < 0x1p-11);
    }
  }
}

}  // namespace

TEST_CASE("reference directories mean the weights that torch computes from them") {
  for (const char* name : {"reference", "reference-round-zero"}) {
    CAPTURE(name);
    const auto checkpoint = open_spqr_checkpoint(kFixtures / name, {});
    CHECK(checkpoint->format() == "SpQR reference");
    CHECK(checkpoint->packed_format() ==
          SpqrFormat{.bits = 3, .beta1 = 16, .beta2 = 16, .scale_bits = 3, .zero_bits = 3});
    CHECK(checkpoint->tensors().size() == 5);
    CHECK_FALSE(checkpoint->is_packed("lm_head"));
    check_weights(*checkpoint, SafetensorsFile::open(kFixtures / name / "weights.safetensors"));
  }
}

// Written by the reference's engine, as f16 in groups of 16 and as f32 for whole rows.
TEST_CASE("reference directories whose statistics are not quantized") {
  for (const bool row : {false, true}) {
    CAPTURE(row);
    const auto directory = kFixtures / (row ? "reference-statistics-row" : "reference-statistics");
    const auto checkpoint = open_spqr_checkpoint(directory, {});
    const SpqrFormat& format = checkpoint->packed_format();
    CHECK(format.bits == 3);
    CHECK(format.beta1 == (row ? SpqrFormat::kWholeRow : 16));
    CHECK_FALSE(format.quantized_statistics());
    check_weights(*checkpoint, SafetensorsFile::open(directory / "weights.safetensors"));
  }
  for (const char* alone : {"args-qq_scale_bits.pt", "args-qq_zero_bits.pt"}) {
    const TemporaryDirectory directory;
    std::filesystem::copy(kFixtures / "reference-statistics", directory.path(),
                          std::filesystem::copy_options::recursive);
    std::filesystem::rename(directory.path() / alone, directory.path() / "args.pt");
    CHECK(contains(open_error(directory.path()), "only one of qq_scale_bits and qq_zero_bits is set"));
  }
}

TEST_CASE("reference directories: what does not fit is refused") {
  const TemporaryDirectory directory;
  std::filesystem::copy(kFixtures / "reference", directory.path(), std::filesystem::copy_options::recursive);
  CHECK(open_error(directory.path()) == "no error");
  const auto file = directory.path() / "0" / "mlp.up_proj";
  std::filesystem::remove(file);
  std::filesystem::copy(directory.path() / "0" / "mlp.down_proj", file);
  CHECK(contains(open_error(directory.path()), "quant_weights has another shape than 48 x 32"));
  std::filesystem::remove(file);
  std::filesystem::copy(directory.path() / "not_quantized_weights.pt", file);
  CHECK(contains(open_error(directory.path()), "quant_weights is missing"));
  std::filesystem::remove(directory.path() / "config.json");
  CHECK(contains(open_error(directory.path()), "--base DIR"));
}

TEST_CASE("packed directories: both layouts of outliers, which replace or are added") {
  for (const bool by_row : {true, false}) {
    for (const bool add : {false, true}) {
      CAPTURE(by_row);
      CAPTURE(add);
      const TemporaryDirectory directory;
      Packed packed = packed_model(by_row);
      write(packed, directory);
      CHECK(is_packed_directory(directory.path()));
      const auto checkpoint = open_spqr_checkpoint(
          directory.path(),
          {.checkpoint = {}, .base = {}, .outliers = add ? OutlierRule::add : OutlierRule::replace});
      CHECK(checkpoint->read("model.embed_tokens.weight").size() == 120);
      CHECK_FALSE(contains(checkpoint->config_json(), "spqr"));
      const std::string module = "model.layers.0.mlp.down_proj";
      const SavedMatrix matrix = checkpoint->matrix(module, 40, 24);
      const std::vector<float> w = dequantize(matrix);
      const std::vector<float> kept = stored(pack(matrix), matrix.parts.perm);
      const std::string& words = packed.find(module + ".dense_weights").data;
      for (std::int64_t row = 0; row < 40; ++row) {
        for (std::int64_t column = 0; column < 24; ++column) {
          const auto at = static_cast<std::size_t>(row * 24 + column);
          const float expected = expected_weight(words, row, column, add);
          CHECK(w[at] == expected);
          CHECK(std::abs(kept[at] - expected) <= 0x1p-11F * 4);
        }
      }
    }
  }
}

TEST_CASE("packed directories: what does not fit is refused") {
  const std::string module = "model.layers.0.mlp.down_proj";
  const auto error = [&](const std::function<void(Packed&)>& edit) {
    const TemporaryDirectory directory;
    Packed packed = packed_model(true);
    edit(packed);
    write(packed, directory);
    return open_error(directory.path());
  };
  CHECK(error([](Packed&) {}) == "no error");
  CHECK(
      contains(error([](Packed& p) { p.config["quantization_config"]["bits"] = 4; }), "another bits than 3"));
  CHECK(contains(error([](Packed& p) { p.config["quantization_config"].erase("beta1"); }),
                 "another beta1 than 16"));
  CHECK(contains(error([&](Packed& p) { p.find(module + ".in_perm").data[0] = 1; }), "no permutation"));
  CHECK(contains(error([&](Packed& p) { p.find(module + ".in_perm").name = "gone"; }),
                 "gone is stored as I32"));
  const auto resize = [&](const char* part, std::int64_t extent, std::size_t element) {
    return error([&](Packed& p) {
      TestTensor& tensor = p.find(module + part);
      tensor.shape = {extent};
      tensor.data.resize(static_cast<std::size_t>(extent) * element, '\0');
    });
  };
  CHECK(contains(resize(".dense_weights", 95, 8), "has 95 words, expected 96"));
  CHECK(contains(resize(".row_offsets", 40, 4), "has 40 entries, expected 41 or 4"));
  CHECK(contains(resize(".row_offsets", 0, 4), "has 0 entries"));
  CHECK(contains(resize(".col_vals", 3, 4), "goes from 0 to 2, expected 0 to 3"));
  CHECK(contains(resize(".in_perm", 11, 4), "permutation of 22 columns, expected 24"));
  CHECK(resize(".in_perm", 0, 4) == "no error");
  const auto set = [&](const char* part, std::size_t at, const std::string& bytes) {
    return error([&](Packed& p) { p.find(module + part).data.replace(at, bytes.size(), bytes); });
  };
  CHECK(contains(set(".row_offsets", 8, bytes_of(-1)), "falls after entry 1"));
  CHECK(contains(set(".row_offsets", 8, bytes_of(1 << 30)), "falls after entry 1"));
  CHECK(contains(set(".col_vals", 0, bytes_of(0x3c000018U)), "column 24 of 40 x 24"));
  CHECK(contains(set(".col_vals", 0, bytes_of(0x7c000003U)), "not finite"));
  CHECK(contains(error([&](Packed& p) {
                   TestTensor& words = p.find(module + ".dense_weights");
                   for (std::size_t row = 0; row < 4; ++row) {
                     words.data[8 * row + 7] = '\x3f';
                     words.data[8 * row + 6] = static_cast<char>(words.data[8 * row + 6] | '\xc0');
                   }
                 }),
                 "statistics that are not finite"));
}

}  // namespace spqr
