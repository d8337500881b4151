#include "models/spqr_container.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <cmath>
#include <limits>
#include <stdexcept>

namespace spqr::container {
namespace {

constexpr const char* kWholeRow = "row";

std::int64_t integer(const nlohmann::json& object, const char* key, std::int64_t least,
                     const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end()) throw std::runtime_error(fmt::format("{}: has no '{}'", where, key));
  if (!found->is_number_integer() || *found < least || *found > std::numeric_limits<std::int32_t>::max()) {
    throw std::runtime_error(
        fmt::format("{}: '{}' is {}, expected a whole number from {}", where, key, found->dump(), least));
  }
  return found->get<std::int64_t>();
}

std::int64_t beta1_of(const nlohmann::json& object, const std::string& where) {
  const auto found = object.find("beta1");
  if (found != object.end() && *found == kWholeRow) return SpqrFormat::kWholeRow;
  return integer(object, "beta1", 1, where);
}

}  // namespace

std::string checksum(std::span<const std::byte> bytes) {
  return fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()));
}

std::string framed(const std::string& header, std::uint64_t size) {
  std::string text(sizeof(std::uint64_t), '\0');
  const std::uint64_t length = size - text.size();
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(length >> (8 * i) & 0xffU);
  text += header;
  text.resize(size, ' ');
  return text;
}

std::string dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    default:
      throw std::invalid_argument(
          fmt::format("a dense tensor of {} cannot be stored, expected f32, f16 or bf16", name_of(dtype)));
  }
}

std::vector<std::uint16_t> row_counts(std::span<const std::uint32_t> row_offsets) {
  std::vector<std::uint16_t> counts;
  for (std::size_t row = 0; row + 1 < row_offsets.size(); ++row) {
    const std::uint32_t count = row_offsets[row + 1] - row_offsets[row];
    if (row_offsets[row + 1] < row_offsets[row] || count > std::numeric_limits<std::uint16_t>::max()) {
      throw std::invalid_argument(
          fmt::format("row {} has outliers {} to {}; a row of a .spqr file has 0 to 65535 of them", row,
                      row_offsets[row], row_offsets[row + 1]));
    }
    counts.push_back(static_cast<std::uint16_t>(count));
  }
  return counts;
}

std::size_t stored_bytes(const SpqrMatrix& matrix) {
  const std::size_t counts =
      matrix.col_vals.empty() ? 0 : static_cast<std::size_t>(matrix.m) * sizeof(std::uint16_t);
  return matrix.dense.size_bytes() + counts + matrix.col_vals.size_bytes();
}

std::vector<std::uint32_t> row_offsets(std::span<const std::uint16_t> row_counts, std::int64_t nnz,
                                       const std::string& where) {
  std::vector<std::uint32_t> offsets;
  offsets.reserve(row_counts.size() + 1);
  std::int64_t sum = 0;
  offsets.push_back(0);
  for (const std::uint16_t count : row_counts) {
    sum += count;
    if (sum > nnz) break;
    offsets.push_back(static_cast<std::uint32_t>(sum));
  }
  if (sum != nnz) {
    throw std::runtime_error(fmt::format("{}: its counts add up to {} outliers {}, expected {}", where, sum,
                                         sum > nnz ? "or more" : "in all", nnz));
  }
  return offsets;
}

nlohmann::json to_json(const MatrixEntry& entry) {
  const SpqrFormat& f = entry.format;
  nlohmann::json object = {{"m", entry.m},
                           {"n", entry.n},
                           {"bits", f.bits},
                           {"beta1", f.beta1},
                           {"beta2", f.beta2},
                           {"scale_bits", f.scale_bits},
                           {"zero_bits", f.zero_bits},
                           {"factor", entry.factor},
                           {"nnz", entry.nnz}};
  if (f.beta1 == SpqrFormat::kWholeRow) object["beta1"] = kWholeRow;
  if (!entry.perm.empty()) object["perm"] = entry.perm;
  return object;
}

MatrixEntry matrix_entry(const nlohmann::json& object, const std::string& where) {
  if (!object.is_object()) throw std::runtime_error(fmt::format("{}: is not a JSON object", where));
  for (const auto& item : object.items()) {
    constexpr const char* kFields[] = {"m",          "n",         "bits",   "beta1", "beta2",
                                       "scale_bits", "zero_bits", "factor", "nnz",   "perm"};
    bool known = false;
    for (const char* field : kFields) known = known || item.key() == field;
    if (!known)
      throw std::runtime_error(
          fmt::format("{}: unknown field '{}': written by a newer version?", where, item.key()));
  }
  MatrixEntry entry;
  entry.m = integer(object, "m", 1, where);
  entry.n = integer(object, "n", 1, where);
  entry.nnz = integer(object, "nnz", 0, where);
  entry.format.bits = static_cast<int>(integer(object, "bits", 0, where));
  entry.format.beta1 = beta1_of(object, where);
  entry.format.beta2 = static_cast<int>(integer(object, "beta2", 0, where));
  entry.format.scale_bits = static_cast<int>(integer(object, "scale_bits", 0, where));
  entry.format.zero_bits = static_cast<int>(integer(object, "zero_bits", 0, where));
  const auto factor = object.find("factor");
  if (factor == object.end() || !factor->is_number())
    throw std::runtime_error(fmt::format("{}: has no number 'factor'", where));
  entry.factor = factor->get<float>();
  if (!std::isfinite(entry.factor) || entry.factor <= 0) {
    throw std::runtime_error(
        fmt::format("{}: 'factor' is {}, expected a positive number", where, factor->dump()));
  }
  if (const auto perm = object.find("perm"); perm != object.end()) {
    if (!perm->is_string()) throw std::runtime_error(fmt::format("{}: 'perm' is not a string", where));
    entry.perm = perm->get<std::string>();
  }
  try {
    validate(entry.format);
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(fmt::format("{}: {}", where, error.what()));
  }
  return entry;
}

}  // namespace spqr::container
