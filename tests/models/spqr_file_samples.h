// A small .spqr file, and the pieces that it is written from.
#pragma once

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "kernels/quantize/quantize.h"
#include "models/spqr_file.h"

namespace spqr {

inline PackedMatrix some_matrix(std::int64_t m, std::int64_t n, bool outliers) {
  std::mt19937 random(static_cast<unsigned>(m * 1000 + n));
  SpqrParts parts;
  {
    std::vector<float> w(static_cast<std::size_t>(m * n));
    for (float& value : w) value = static_cast<float>(random() % 2001) / 1000.0F - 1.0F;
    SpqrFormat format;
    format.bits = 4;
    format.beta1 = 32;
    format.scale_bits = format.zero_bits = SpqrFormat::kUnquantized;
    parts = quantize_rtn(w, m, n, format);
  }
  if (outliers) {
    parts.row_offsets.assign(static_cast<std::size_t>(m) + 1, 0);
    for (std::int64_t i = 0; i < m; ++i) {
      parts.row_offsets[static_cast<std::size_t>(i) + 1] = static_cast<std::uint32_t>(i + 1);
      parts.columns.push_back(static_cast<std::uint16_t>(i % n));
      parts.values.push_back(0.5F);
    }
  }
  return pack(parts);
}

inline std::vector<std::uint32_t> reversed(std::int64_t n) {
  std::vector<std::uint32_t> perm;
  for (std::int64_t j = n; j-- > 0;) perm.push_back(static_cast<std::uint32_t>(j));
  return perm;
}

inline const std::vector<float> kNorm(33, 1.5F);

inline SpqrFileInfo some_info() {
  return {R"({"model_type": "llama", "hidden_size": 33, "intermediate_size": 4, "num_hidden_layers": 1,
              "num_attention_heads": 1, "head_dim": 2, "vocab_size": 3})",
          {{"tokenizer.json", "{\"a\": 1}"}, {"empty", ""}},
          R"({"scheme": "spqr"})"};
}

inline void add_first(SpqrFileWriter& writer) {
  const auto perm = reversed(33);
  writer.add_packed("a.q_proj", some_matrix(5, 33, true), "a.perm", perm);
  writer.add_packed("a.k_proj", some_matrix(3, 33, false), "a.perm", perm);
  writer.note("block 0", "{\"error\": 0.5}");
}

inline void add_second(SpqrFileWriter& writer) {
  writer.add_dense("norm.weight", {kNorm.data(), DType::f32, {33}});
  writer.add_dense("lm_head.weight", {kNorm.data(), DType::f32, {3, 11}});
}

inline std::filesystem::path written(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "model.spqr";
  SpqrFileWriter writer(path, "f", false);
  add_first(writer);
  add_second(writer);
  writer.finish(some_info());
  return path;
}

}  // namespace spqr
