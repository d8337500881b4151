#include "quantizer_cases.h"

#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

namespace spqr {

namespace {

// Settings are strings of JSON values in the file's metadata.
template <class T>
T setting(const nlohmann::json& metadata, const std::string& key, T otherwise) {
  if (!metadata.contains(key)) return otherwise;
  const auto text = metadata.at(key).get<std::string>();
  const auto value = nlohmann::json::parse(text, nullptr, false);
  if constexpr (std::is_same_v<T, std::string>) {
    return value.is_string() ? value.get<std::string>() : text;
  } else if constexpr (std::is_same_v<T, bool>) {
    return text == "true" || text == "True";
  } else {
    return value.get<T>();
  }
}

QuantizeOptions read_options(const nlohmann::json& metadata) {
  QuantizeOptions options;
  options.format.bits = setting(metadata, "bits", 3);
  options.format.beta1 = setting(metadata, "groupsize", SpqrFormat::kWholeRow);
  options.format.beta2 = setting(metadata, "qq_groupsize", 16);
  options.format.scale_bits = setting(metadata, "qq_scale_bits", SpqrFormat::kUnquantized);
  options.format.zero_bits = setting(metadata, "qq_zero_bits", SpqrFormat::kUnquantized);
  options.outlier_threshold =
      setting(metadata, "outlier_relative_threshold", std::numeric_limits<double>::infinity());
  options.simplified_outliers = setting(metadata, "simplified_outliers", false);
  options.permutation = setting<std::string>(metadata, "permutation_order", "identity") == "act_order"
                            ? PermutationOrder::act_order
                            : PermutationOrder::identity;
  options.damp = setting(metadata, "percdamp", 0.01);
  return options;
}

}  // namespace

QuantizerCase read_quantizer_case(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), sizeof(header_size));
  const auto header = nlohmann::json::parse(bytes.data() + 8, bytes.data() + 8 + header_size);
  const auto tensor = [&](const std::string& name) {
    const auto offsets = header.at(name).at("data_offsets").get<std::vector<std::size_t>>();
    std::vector<float> values((offsets.at(1) - offsets.at(0)) / sizeof(float));
    std::memcpy(values.data(), bytes.data() + 8 + header_size + offsets.at(0), values.size() * sizeof(float));
    return values;
  };
  const auto& metadata = header.at("__metadata__");
  QuantizerCase result;
  result.name = path.stem().string();
  result.options = read_options(metadata);
  result.m = header.at("W").at("shape").at(0).get<std::int64_t>();
  result.n = header.at("W").at("shape").at(1).get<std::int64_t>();
  result.relative_error = setting(metadata, "relative_error", 0.0);
  result.outliers = setting(metadata, "outliers", std::int64_t{0});
  result.w = tensor("W");
  result.h = tensor("H");
  result.dequantized = tensor("dequantized");
  return result;
}

std::vector<float> decode_parts(const SpqrParts& parts) {
  std::vector<float> w(parts.codes.size());
  for (std::int64_t i = 0; i < parts.m; ++i) {
    std::vector<float> row(static_cast<std::size_t>(parts.n));
    for (std::int64_t j = 0; j < parts.n; ++j) {
      const std::int64_t group = j / parts.format.group_columns(parts.n);
      float s = 0.0F;
      float z = 0.0F;
      if (parts.format.quantized_statistics()) {
        const std::int64_t tile = group * parts.format.tiles(parts.m) + i / parts.format.beta2;
        s = parts.scale_scale.at(tile) *
            (parts.scale_codes.at(group * parts.m + i) - parts.scale_zero.at(tile));
        z = parts.zero_scale.at(tile) * (parts.zero_codes.at(group * parts.m + i) - parts.zero_zero.at(tile));
      } else {
        s = parts.scales.at(group * parts.m + i);
        z = parts.zeros.at(group * parts.m + i);
      }
      row[j] = s * (parts.codes.at(i * parts.n + j) - z);
    }
    if (!parts.row_offsets.empty()) {
      for (std::uint32_t k = parts.row_offsets.at(i); k < parts.row_offsets.at(i + 1); ++k) {
        row.at(parts.columns.at(k)) += parts.values.at(k);
      }
    }
    for (std::int64_t j = 0; j < parts.n; ++j)
      w[i * parts.n + (parts.perm.empty() ? j : parts.perm[j])] = row[j];
  }
  return w;
}

}  // namespace spqr
