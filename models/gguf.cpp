#include "models/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <type_traits>

namespace spqr {
namespace {

using Json = nlohmann::json;

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kLargestAlignment = 1U << 20;
constexpr std::size_t kLongestKey = 65535;
constexpr std::size_t kLongestTensorName = 64;
constexpr std::uint32_t kMostDimensions = 4;
constexpr int kDeepestArray = 4;
// A value takes more memory than its bytes in the file; a vocabulary of a million tokens has three or four
// million.
constexpr std::uint64_t kMostValues = std::uint64_t{1} << 25;
constexpr const char* kAlignmentKey = "general.alignment";

enum class ValueType : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

// Names of the element types by number; gaps are numbers that were given up.
std::string_view element_type_name(std::uint32_t type) {
  switch (type) {
    case 0:
      return "F32";
    case 1:
      return "F16";
    case 2:
      return "Q4_0";
    case 3:
      return "Q4_1";
    case 6:
      return "Q5_0";
    case 7:
      return "Q5_1";
    case 8:
      return "Q8_0";
    case 9:
      return "Q8_1";
    case 10:
      return "Q2_K";
    case 11:
      return "Q3_K";
    case 12:
      return "Q4_K";
    case 13:
      return "Q5_K";
    case 14:
      return "Q6_K";
    case 15:
      return "Q8_K";
    case 16:
      return "IQ2_XXS";
    case 17:
      return "IQ2_XS";
    case 18:
      return "IQ3_XXS";
    case 19:
      return "IQ1_S";
    case 20:
      return "IQ4_NL";
    case 21:
      return "IQ3_S";
    case 22:
      return "IQ2_S";
    case 23:
      return "IQ4_XS";
    case 24:
      return "I8";
    case 25:
      return "I16";
    case 26:
      return "I32";
    case 27:
      return "I64";
    case 28:
      return "F64";
    case 29:
      return "IQ1_M";
    case 30:
      return "BF16";
    case 34:
      return "TQ1_0";
    case 35:
      return "TQ2_0";
    case 39:
      return "MXFP4";
    case 40:
      return "NVFP4";
    default:
      return "";
  }
}

// Well-formed UTF-8 (Unicode 15, table 3-7): no overlong forms, surrogates, or values past U+10FFFF.
bool is_utf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    if (lead < 0x80) continue;
    const int more = lead >= 0xc2 && lead <= 0xdf   ? 1
                     : (lead & 0xf0) == 0xe0        ? 2
                     : lead >= 0xf0 && lead <= 0xf4 ? 3
                                                    : 0;
    if (more == 0 || text.size() - i < static_cast<std::size_t>(more)) return false;
    const auto second = static_cast<unsigned char>(text[i]);
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f)) return false;
    if ((lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) return false;
    for (int k = 0; k < more; ++k) {
      if ((static_cast<unsigned char>(text[i++]) & 0xc0) != 0x80) return false;
    }
  }
  return true;
}

// Reads the header front to back; every read is checked against the end of the file.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(fmt::format("{}: {}", where_, what));
  }

  std::size_t position() const { return position_; }
  std::size_t left() const { return bytes_.size() - position_; }

  template <typename T>
  T number(const char* what) {
    need(sizeof(T), what);
    T value{};
    std::memcpy(&value, bytes_.data() + position_, sizeof value);
    position_ += sizeof value;
    return value;
  }

  std::string string(const char* what, std::size_t longest) {
    const auto length = number<std::uint64_t>(what);
    if (length > longest) fail(fmt::format("{} has {} bytes, at most {} are allowed", what, length, longest));
    need(static_cast<std::size_t>(length), what);
    std::string text(reinterpret_cast<const char*>(bytes_.data()) + position_,
                     static_cast<std::size_t>(length));
    position_ += text.size();
    if (!is_utf8(text)) fail(fmt::format("{} is not UTF-8", what));
    return text;
  }

  Json value(std::uint32_t type, const std::string& key, int depth) {
    if (++values_ > kMostValues) fail(fmt::format("the metadata has more than {} values", kMostValues));
    const char* what = key.c_str();
    switch (static_cast<ValueType>(type)) {
      case ValueType::u8:
        return number<std::uint8_t>(what);
      case ValueType::i8:
        return number<std::int8_t>(what);
      case ValueType::u16:
        return number<std::uint16_t>(what);
      case ValueType::i16:
        return number<std::int16_t>(what);
      case ValueType::u32:
        return number<std::uint32_t>(what);
      case ValueType::i32:
        return number<std::int32_t>(what);
      case ValueType::u64:
        return number<std::uint64_t>(what);
      case ValueType::i64:
        return number<std::int64_t>(what);
      case ValueType::f32:
        return static_cast<double>(number<float>(what));
      case ValueType::f64:
        return number<double>(what);
      case ValueType::boolean:
        return boolean(key);
      case ValueType::string:
        return string(what, left());
      case ValueType::array:
        return array(key, depth);
    }
    fail(fmt::format("{} has the unknown value type {}", key, type));
  }

 private:
  void need(std::size_t count, const char* what) const {
    if (count > left()) {
      fail(fmt::format("{} at byte {} needs {} bytes but the file ends after {}: incomplete download?", what,
                       position_, count, left()));
    }
  }

  Json boolean(const std::string& key) {
    const auto byte = number<std::uint8_t>(key.c_str());
    if (byte > 1) fail(fmt::format("{} must be 0 or 1, found {}", key, byte));
    return byte == 1;
  }

  Json array(const std::string& key, int depth) {
    if (depth == kDeepestArray) fail(fmt::format("{} nests arrays deeper than {}", key, kDeepestArray));
    const auto type = number<std::uint32_t>(key.c_str());
    const auto count = number<std::uint64_t>(key.c_str());
    // Every element takes at least a byte, so this also bounds what is reserved.
    if (count > left())
      fail(fmt::format("{} has {} elements but {} bytes follow: incomplete download?", key, count, left()));
    if (count > kMostValues)
      fail(fmt::format("{} has {} elements, at most {} are allowed", key, count, kMostValues));
    if (type > static_cast<std::uint32_t>(ValueType::f64))
      fail(fmt::format("{} has the unknown element type {}", key, type));
    Json elements = Json::array();
    for (std::uint64_t i = 0; i < count; ++i) elements.push_back(value(type, key, depth + 1));
    return elements;
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::size_t position_ = 0;
  std::uint64_t values_ = 0;
};

struct Header {
  std::uint64_t tensors = 0;
  std::uint64_t values = 0;
};

Header read_header(Reader& in) {
  if (in.number<std::uint32_t>("the magic number") != kMagic)
    in.fail("is no GGUF file (it does not begin with GGUF)");
  const auto version = in.number<std::uint32_t>("the version");
  if (version != 0 && (version & 0xffffU) == 0) {
    in.fail("is a big-endian GGUF file, which is not supported: convert it to little-endian");
  }
  if (version != 2 && version != 3) {
    in.fail(fmt::format("is a GGUF file of version {}, which is not supported; supported: 2 and 3", version));
  }
  Header header;
  header.tensors = in.number<std::uint64_t>("the number of tensors");
  header.values = in.number<std::uint64_t>("the number of metadata values");
  // A tensor's entry has at least 8 + 4 + 8 + 4 + 8 bytes, a value's at least 8 + 4 + 1.
  if (header.tensors > in.left() / 32) {
    in.fail(fmt::format("{} tensors cannot be described in {} bytes: incomplete download?", header.tensors,
                        in.left()));
  }
  if (header.values > in.left() / 13) {
    in.fail(fmt::format("{} metadata values cannot lie in {} bytes: incomplete download?", header.values,
                        in.left()));
  }
  return header;
}

struct TensorEntry {
  GgufTensor tensor;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

TensorEntry read_tensor_entry(Reader& in) {
  TensorEntry entry;
  entry.tensor.name = in.string("a tensor's name", kLongestTensorName);
  const std::string& name = entry.tensor.name;
  const auto dimensions = in.number<std::uint32_t>("a tensor's number of dimensions");
  if (dimensions == 0 || dimensions > kMostDimensions) {
    in.fail(fmt::format("tensor {} has {} dimensions, expected 1 to {}", name, dimensions, kMostDimensions));
  }
  for (std::uint32_t i = 0; i < dimensions; ++i) {
    const auto extent = in.number<std::int64_t>("a tensor's shape");
    if (extent <= 0) in.fail(fmt::format("tensor {} has an extent of {}", name, extent));
    entry.tensor.shape.insert(entry.tensor.shape.begin(), extent);
  }
  const auto type = in.number<std::uint32_t>("a tensor's type");
  const std::string_view type_name = element_type_name(type);
  if (type_name.empty()) in.fail(fmt::format("tensor {} has the unknown element type {}", name, type));
  entry.tensor.type = find_stored_type(type_name);
  if (entry.tensor.type == nullptr) {
    in.fail(
        fmt::format("tensor {} is stored as {}, which is not supported; supported: F32, F16, BF16, Q8_0, "
                    "Q5_0, Q5_1, Q4_0, "
                    "Q4_1, Q2_K to Q6_K",
                    name, type_name));
  }
  if (entry.tensor.shape.back() % entry.tensor.type->block_elements != 0) {
    in.fail(fmt::format("tensor {} has rows of {} elements, no multiple of the {} that {} packs together",
                        name, entry.tensor.shape.back(), entry.tensor.type->block_elements, type_name));
  }
  const std::int64_t elements = element_count(entry.tensor.shape);
  const std::int64_t bytes = elements < 0 ? -1 : stored_bytes(*entry.tensor.type, elements);
  if (bytes < 0) in.fail(fmt::format("tensor {} is too large: its size overflows", name));
  entry.bytes = static_cast<std::uint64_t>(bytes);
  entry.offset = in.number<std::uint64_t>("a tensor's offset");
  return entry;
}

std::uint64_t alignment_of(const GgufFile& file, const Reader& in) {
  const Json* value = file.find_value(kAlignmentKey);
  if (value == nullptr) return kDefaultAlignment;
  if (!value->is_number_unsigned()) in.fail(fmt::format("{} must be an unsigned integer", kAlignmentKey));
  const auto alignment = value->get<std::uint64_t>();
  const bool power_of_two = alignment != 0 && (alignment & (alignment - 1)) == 0;
  if (!power_of_two || alignment > kLargestAlignment) {
    in.fail(fmt::format("{} must be a power of two up to {}, found {}", kAlignmentKey, kLargestAlignment,
                        alignment));
  }
  return alignment;
}

// Gives each tensor its bytes: inside `data`, aligned, no two overlapping.
void place_tensors(std::vector<TensorEntry>& entries, std::span<const std::byte> data,
                   std::uint64_t alignment, const Reader& in) {
  std::vector<const TensorEntry*> by_offset;
  for (TensorEntry& entry : entries) {
    if (entry.offset % alignment != 0) {
      in.fail(fmt::format("tensor {} begins at {}, which is not aligned to {}", entry.tensor.name,
                          entry.offset, alignment));
    }
    if (entry.offset > data.size() || entry.bytes > data.size() - entry.offset) {
      in.fail(fmt::format(
          "tensor {} has {} bytes from {} on, but the file holds {} bytes of tensors: incomplete download?",
          entry.tensor.name, entry.bytes, entry.offset, data.size()));
    }
    entry.tensor.data =
        data.subspan(static_cast<std::size_t>(entry.offset), static_cast<std::size_t>(entry.bytes));
    by_offset.push_back(&entry);
  }
  std::ranges::sort(by_offset, {}, &TensorEntry::offset);
  for (std::size_t i = 1; i < by_offset.size(); ++i) {
    if (by_offset[i]->offset < by_offset[i - 1]->offset + by_offset[i - 1]->bytes) {
      in.fail(
          fmt::format("tensors {} and {} overlap", by_offset[i - 1]->tensor.name, by_offset[i]->tensor.name));
    }
  }
}

}  // namespace

GgufFile GgufFile::open(const std::filesystem::path& path) {
  FileBytes bytes = FileBytes::map(path);
  GgufFile file = parse(bytes.bytes(), path.string());
  file.bytes_ = std::move(bytes);
  return file;
}

GgufFile GgufFile::parse(std::span<const std::byte> bytes, const std::string& where) {
  GgufFile file;
  Reader in(bytes, where);
  const Header header = read_header(in);
  for (std::uint64_t i = 0; i < header.values; ++i) {
    std::string key = in.string("a metadata key", kLongestKey);
    const auto type = in.number<std::uint32_t>("a metadata value's type");
    Json value = in.value(type, key, 0);
    if (file.metadata_.contains(key)) in.fail(fmt::format("the metadata key {} appears twice", key));
    file.metadata_.emplace(std::move(key), std::move(value));
  }
  const std::uint64_t alignment = alignment_of(file, in);
  std::vector<TensorEntry> entries;
  for (std::uint64_t i = 0; i < header.tensors; ++i) {
    entries.push_back(read_tensor_entry(in));
    const std::string& name = entries.back().tensor.name;
    if (!file.index_.emplace(name, entries.size() - 1).second)
      in.fail(fmt::format("tensor {} appears twice", name));
  }
  const std::uint64_t start = (in.position() + alignment - 1) / alignment * alignment;
  place_tensors(entries, start < bytes.size() ? bytes.subspan(start) : std::span<const std::byte>{},
                alignment, in);
  for (TensorEntry& entry : entries) file.tensors_.push_back(std::move(entry.tensor));
  return file;
}

const Json* GgufFile::find_value(std::string_view key) const {
  const auto it = metadata_.find(key);
  return it == metadata_.end() ? nullptr : &it->second;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

}  // namespace spqr
