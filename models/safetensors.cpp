#include "models/safetensors.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "models/json.h"

namespace spqr {
namespace {

constexpr std::uint64_t kMaximumHeader = 100'000'000;
constexpr std::size_t kLengthBytes = 8;

// Every dtype of the specification whose elements are whole bytes.
constexpr std::array<std::pair<std::string_view, std::uint64_t>, 15> kDtypes{{{"BOOL", 1},
                                                                              {"U8", 1},
                                                                              {"I8", 1},
                                                                              {"F8_E5M2", 1},
                                                                              {"F8_E4M3", 1},
                                                                              {"F8_E8M0", 1},
                                                                              {"I16", 2},
                                                                              {"U16", 2},
                                                                              {"F16", 2},
                                                                              {"BF16", 2},
                                                                              {"I32", 4},
                                                                              {"U32", 4},
                                                                              {"F32", 4},
                                                                              {"F64", 8},
                                                                              {"I64", 8}}};

std::uint64_t dtype_bytes(const std::string& dtype, const std::string& where) {
  if (dtype == "U64") return 8;
  for (const auto& [name, bytes] : kDtypes) {
    if (name == dtype) return bytes;
  }
  throw std::runtime_error(fmt::format("{}: dtype '{}' is not one of the safetensors format", where, dtype));
}

// Header text of the file; throws where the file cannot hold it.
std::string_view header_text(std::span<const std::byte> bytes, const std::string& where) {
  if (bytes.size() < kLengthBytes) {
    throw std::runtime_error(
        fmt::format("{}: {} bytes long, too short for a safetensors file", where, bytes.size()));
  }
  std::uint64_t length = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;) length = length << 8 | static_cast<std::uint64_t>(bytes[i]);
  if (length > kMaximumHeader) {
    throw std::runtime_error(fmt::format(
        "{}: header of {} bytes, more than the format's 100 MB; not a safetensors file?", where, length));
  }
  if (length > bytes.size() - kLengthBytes) {
    throw std::runtime_error(
        fmt::format("{}: header is {} bytes long but the file only {}: incomplete download?", where, length,
                    bytes.size()));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  if (text.empty() || text.front() != '{') {
    throw std::runtime_error(
        fmt::format("{}: header does not start with '{{': not a safetensors file", where));
  }
  return text;
}

std::uint64_t unsigned_of(const nlohmann::json& value, const std::string& where) {
  if (!value.is_number_unsigned()) {
    throw std::runtime_error(fmt::format("{}: {} is not a whole number of 0 or more", where, value.dump()));
  }
  return value.get<std::uint64_t>();
}

const nlohmann::json& field(const nlohmann::json& entry, const char* key, const std::string& where) {
  const auto found = entry.find(key);
  if (found == entry.end()) throw std::runtime_error(fmt::format("{}: has no '{}'", where, key));
  return *found;
}

std::uint64_t bytes_of_shape(const nlohmann::json& shape, std::uint64_t element,
                             std::vector<std::int64_t>& extents, const std::string& where) {
  if (!shape.is_array()) throw std::runtime_error(fmt::format("{}: shape is not an array", where));
  // A zero extent must not hide an overflow of the others: the product is taken over the non-zero ones.
  std::uint64_t product = element;
  bool empty = false;
  for (const auto& value : shape) {
    const std::uint64_t extent = unsigned_of(value, where);
    if (extent == 0) empty = true;
    if (extent > static_cast<std::uint64_t>(INT64_MAX) ||
        (extent != 0 && __builtin_mul_overflow(product, extent, &product))) {
      throw std::runtime_error(fmt::format("{}: shape {} overflows", where, shape.dump()));
    }
    extents.push_back(static_cast<std::int64_t>(extent));
  }
  return empty ? 0 : product;
}

// One entry of the header, its data located in `data` but not yet checked against the other entries.
SafetensorsTensor parse_tensor(const std::string& name, const nlohmann::json& entry,
                               std::span<const std::byte> data, const std::string& file) {
  const std::string where = fmt::format("{}: tensor '{}'", file, name);
  if (!entry.is_object()) throw std::runtime_error(fmt::format("{}: header entry is not an object", where));
  for (const auto& item : entry.items()) {
    if (item.key() != "dtype" && item.key() != "shape" && item.key() != "data_offsets") {
      throw std::runtime_error(fmt::format("{}: unknown field '{}'", where, item.key()));
    }
  }
  SafetensorsTensor tensor;
  tensor.name = name;
  const auto& dtype = field(entry, "dtype", where);
  if (!dtype.is_string()) throw std::runtime_error(fmt::format("{}: dtype is not a string", where));
  tensor.dtype = dtype.get<std::string>();
  const std::uint64_t expected =
      bytes_of_shape(field(entry, "shape", where), dtype_bytes(tensor.dtype, where), tensor.shape, where);
  const auto& offsets = field(entry, "data_offsets", where);
  if (!offsets.is_array() || offsets.size() != 2) {
    throw std::runtime_error(fmt::format("{}: data_offsets is not a pair", where));
  }
  const std::uint64_t begin = unsigned_of(offsets[0], where);
  const std::uint64_t end = unsigned_of(offsets[1], where);
  if (begin > end || end > data.size()) {
    throw std::runtime_error(
        fmt::format("{}: data_offsets [{}, {}] lie outside the file's {} bytes of data: incomplete download?",
                    where, begin, end, data.size()));
  }
  if (end - begin != expected) {
    throw std::runtime_error(fmt::format("{}: {} bytes of data, but dtype {} and shape {} need {}", where,
                                         end - begin, tensor.dtype, entry["shape"].dump(), expected));
  }
  tensor.data = data.subspan(begin, end - begin);
  return tensor;
}

void check_contiguous(const std::vector<SafetensorsTensor>& tensors, std::span<const std::byte> data,
                      const std::string& where) {
  const std::byte* next = data.data();
  for (const SafetensorsTensor& tensor : tensors) {
    if (tensor.data.data() != next) {
      throw std::runtime_error(fmt::format(
          "{}: tensor '{}' starts at byte {} of the data, expected {}: tensors overlap or leave a gap", where,
          tensor.name, tensor.data.data() - data.data(), next - data.data()));
    }
    next = tensor.data.data() + tensor.data.size();
  }
  if (next != data.data() + data.size()) {
    throw std::runtime_error(
        fmt::format("{}: {} bytes after the last tensor", where, data.data() + data.size() - next));
  }
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path, bool mmap) {
  return parse(mmap ? FileBytes::map(path) : FileBytes::read(path), path.string());
}

SafetensorsFile SafetensorsFile::parse(FileBytes bytes, const std::string& where) {
  SafetensorsFile file;
  file.bytes_ = std::move(bytes);
  const std::string_view text = header_text(file.bytes_.bytes(), where);
  const auto data = file.bytes_.bytes().subspan(kLengthBytes + text.size());
  const nlohmann::json header = parse_json_strict(text, where + ": header");
  for (const auto& item : header.items()) {
    if (item.key() != "__metadata__") {
      file.tensors_.push_back(parse_tensor(item.key(), item.value(), data, where));
      continue;
    }
    if (!item.value().is_object()) throw std::runtime_error(where + ": __metadata__ is not an object");
    for (const auto& pair : item.value().items()) {
      if (!pair.value().is_string()) {
        throw std::runtime_error(fmt::format("{}: __metadata__ '{}' is not a string", where, pair.key()));
      }
      file.metadata_.emplace(pair.key(), pair.value().get<std::string>());
    }
  }
  // Empty tensors share their offset with the next one: they come first.
  std::stable_sort(file.tensors_.begin(), file.tensors_.end(), [](const auto& a, const auto& b) {
    return std::pair(a.data.data(), a.data.size()) < std::pair(b.data.data(), b.data.size());
  });
  check_contiguous(file.tensors_, data, where);
  for (std::size_t i = 0; i < file.tensors_.size(); ++i) file.index_.emplace(file.tensors_[i].name, i);
  return file;
}

const SafetensorsTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace spqr
