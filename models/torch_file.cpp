#include "models/torch_file.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <map>
#include <stdexcept>
#include <utility>

#include "models/stored_types.h"
#include "models/zip_archive.h"

namespace spqr {
namespace {

using pickle::Pickle;
using pickle::Storage;
using pickle::Tensor;
using pickle::Value;

constexpr std::string_view kZipMagic("PK\x03\x04", 4);
// A pickle of the number 0x1950a86a20f9469cfc6c behind its protocol and, from 4 on, the size of its frame:
// LONG1 of ten bytes, STOP.
constexpr std::string_view kLegacyMagic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e", 13);
constexpr std::size_t kLongestStart = 2 + 9 + kLegacyMagic.size();
constexpr std::int64_t kLegacyProtocol = 1001;
constexpr std::uint64_t kLargestPickle = 64U << 20;
constexpr std::size_t kBestCompression = 1032;  // of deflate

constexpr std::array<std::pair<std::string_view, std::size_t>, 10> kElementBytes{{{"F32", 4},
                                                                                  {"F16", 2},
                                                                                  {"BF16", 2},
                                                                                  {"F64", 8},
                                                                                  {"I64", 8},
                                                                                  {"I32", 4},
                                                                                  {"I16", 2},
                                                                                  {"I8", 1},
                                                                                  {"U8", 1},
                                                                                  {"BOOL", 1}}};

// Bytes of the magic number's pickle; 0: the file begins otherwise.
std::size_t legacy_magic_bytes(std::string_view start) {
  if (start.size() < 2 || start[0] != '\x80' || start[1] < 2 || start[1] > 5) return 0;
  const std::size_t number = start.substr(2).starts_with('\x95') ? 2 + 9 : 2;
  const bool is_it = start.size() > number && start.substr(number).starts_with(kLegacyMagic);
  return is_it ? number + kLegacyMagic.size() : 0;
}

std::size_t storage_bytes(const Storage& storage, const std::string& where) {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<std::size_t>(storage.elements), torch_element_bytes(storage.dtype),
                             &bytes)) {
    throw std::runtime_error(
        fmt::format("{}: a storage of {} elements is too large", where, storage.elements));
  }
  return bytes;
}

// Copies elements of `size` bytes at strides from `in` to one after the other, dimension by dimension.
void gather(const std::byte* in, const Tensor& tensor, std::size_t size, std::size_t dimension,
            std::byte*& out) {
  if (dimension == tensor.shape.size()) {
    std::memcpy(out, in, size);
    out += size;
    return;
  }
  for (std::int64_t i = 0; i < tensor.shape[dimension]; ++i) {
    gather(in + static_cast<std::size_t>(i * tensor.strides[dimension]) * size, tensor, size, dimension + 1,
           out);
  }
}

bool is_contiguous(const Tensor& tensor) {
  std::int64_t expected = 1;
  for (std::size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= tensor.shape[i];
  }
  return true;
}

}  // namespace

struct TorchFile::State {
  FileBytes bytes;
  std::string where;
  Pickle object;
  std::unique_ptr<ZipArchive> zip;                                          // null: legacy
  std::string folder;                                                       // in the archive, with its slash
  std::map<std::string, std::span<const std::byte>, std::less<>> storages;  // legacy

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(fmt::format("{}: {}", where, what));
  }

  void parse_zip();
  void parse_legacy(std::size_t magic_bytes);
  void check_storage(const Storage& storage) const;
  void read_storage(const Storage& storage, std::size_t offset, std::span<std::byte> out) const;
};

void TorchFile::State::parse_zip() {
  zip = std::make_unique<ZipArchive>(bytes.bytes(), where);
  constexpr std::string_view kObject = "/data.pkl";
  for (const std::string& name : zip->names()) {
    if (name.ends_with(kObject) && name.find('/') == name.size() - kObject.size())
      folder = name.substr(0, name.size() - kObject.size() + 1);
  }
  if (folder.empty()) fail("is a zip archive without data.pkl: not a PyTorch file");
  if (const auto size = zip->size_of(folder + "byteorder"); size) {
    std::string order(std::min<std::size_t>(*size, 16), '\0');
    zip->read(folder + "byteorder", 0, std::as_writable_bytes(std::span(order)));
    if (order != "little") fail("was written by a big-endian machine, which is not supported");
  }
  const std::uint64_t size = zip->size_of(folder + "data.pkl").value_or(0);
  if (size > kLargestPickle) fail(fmt::format("data.pkl has {} bytes, more than any checkpoint needs", size));
  std::vector<std::byte> text(static_cast<std::size_t>(size));
  zip->read(folder + "data.pkl", 0, text);
  object = pickle::load(text, where);
}

void TorchFile::State::parse_legacy(std::size_t magic_bytes) {
  std::span<const std::byte> rest = bytes.bytes().subspan(magic_bytes);
  const auto next = [&] {
    Pickle loaded = pickle::load(rest, where);
    rest = rest.subspan(loaded.bytes);
    return loaded;
  };
  const Pickle protocol = next();
  const auto* number = protocol.root->as<std::int64_t>();
  if (number == nullptr || *number != kLegacyProtocol)
    fail("is of a protocol of torch.save that is not known");
  const Pickle machine = next();
  const auto* facts = machine.root->as<pickle::Dict>();
  const Value* little = facts == nullptr ? nullptr : facts->find("little_endian");
  if (little == nullptr || little->as<bool>() == nullptr || !*little->as<bool>())
    fail("was written by a big-endian machine, which is not supported");
  object = next();
  const Pickle keys = next();
  const auto* names = keys.root->as<pickle::Sequence>();
  if (names == nullptr) fail("has no list of storages");
  std::map<std::string, std::string, std::less<>> dtypes;
  for (const Value& value : object.values) {
    if (const auto* storage = value.as<Storage>(); storage != nullptr) dtypes[storage->key] = storage->dtype;
  }
  for (const Value* name : names->items) {
    const auto* key = name->as<std::string>();
    if (key == nullptr || !dtypes.contains(*key)) fail("lists a storage that no tensor uses");
    std::int64_t elements = 0;
    if (rest.size() < sizeof elements)
      fail(fmt::format("ends before storage {}: incomplete download?", *key));
    std::memcpy(&elements, rest.data(), sizeof elements);
    rest = rest.subspan(sizeof elements);
    if (elements < 0 || static_cast<std::uint64_t>(elements) > rest.size())
      fail(fmt::format("storage {} has {} elements but {} bytes follow: incomplete download?", *key, elements,
                       rest.size()));
    const std::size_t size = storage_bytes({dtypes[*key], *key, elements}, where);
    if (size > rest.size())
      fail(fmt::format("storage {} has {} bytes but {} follow: incomplete download?", *key, size,
                       rest.size()));
    storages[*key] = rest.first(size);
    rest = rest.subspan(size);
  }
}

void TorchFile::State::check_storage(const Storage& storage) const {
  const std::size_t needed = storage_bytes(storage, where);
  std::uint64_t found = 0;
  if (zip) {
    const auto size = zip->size_of(folder + "data/" + storage.key);
    if (!size) fail(fmt::format("has no storage data/{}: incomplete download?", storage.key));
    found = *size;
  } else {
    const auto it = storages.find(storage.key);
    if (it == storages.end()) fail(fmt::format("has no storage {}: incomplete download?", storage.key));
    found = it->second.size();
  }
  if (found / kBestCompression > bytes.bytes().size())
    fail(fmt::format("storage {} cannot have {} bytes in a file of {}", storage.key, found,
                     bytes.bytes().size()));
  if (found < needed)
    fail(fmt::format("storage {} has {} bytes, but {} {} elements need {}: incomplete download?", storage.key,
                     found, storage.elements, storage.dtype, needed));
}

void TorchFile::State::read_storage(const Storage& storage, std::size_t offset,
                                    std::span<std::byte> out) const {
  if (zip) {
    zip->read(folder + "data/" + storage.key, offset, out);
  } else {
    std::memcpy(out.data(), storages.find(storage.key)->second.data() + offset, out.size());
  }
}

TorchFile::TorchFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
TorchFile::~TorchFile() = default;
TorchFile::TorchFile(TorchFile&&) noexcept = default;
TorchFile& TorchFile::operator=(TorchFile&&) noexcept = default;

TorchFile TorchFile::open(const std::filesystem::path& path) {
  return parse(FileBytes::map(path), path.string());
}

TorchFile TorchFile::parse(FileBytes bytes, const std::string& where) {
  auto state = std::make_unique<State>();
  state->bytes = std::move(bytes);
  state->where = where;
  const auto all = state->bytes.bytes();
  const std::string_view start(reinterpret_cast<const char*>(all.data()),
                               std::min(all.size(), kLongestStart));
  if (start.starts_with(kZipMagic)) {
    state->parse_zip();
  } else if (const std::size_t magic_bytes = legacy_magic_bytes(start); magic_bytes > 0) {
    state->parse_legacy(magic_bytes);
  } else {
    state->fail("is no file of torch.save (neither a zip archive nor the older format)");
  }
  for (const Value& value : state->object.values) {
    if (const auto* storage = value.as<Storage>(); storage != nullptr) state->check_storage(*storage);
  }
  return TorchFile(std::move(state));
}

const Value& TorchFile::root() const {
  return *state_->object.root;
}

std::vector<std::byte> TorchFile::read(const Tensor& tensor) const {
  const std::size_t size = torch_element_bytes(tensor.storage.dtype);
  const auto elements = static_cast<std::size_t>(element_count(tensor.shape));
  std::vector<std::byte> result(elements * size);
  if (elements == 0) return result;
  const std::size_t offset = static_cast<std::size_t>(tensor.offset) * size;
  if (is_contiguous(tensor)) {
    state_->read_storage(tensor.storage, offset, result);
    return result;
  }
  std::int64_t last = 0;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) last += (tensor.shape[i] - 1) * tensor.strides[i];
  std::vector<std::byte> range(static_cast<std::size_t>(last + 1) * size);
  state_->read_storage(tensor.storage, offset, range);
  std::byte* out = result.data();
  gather(range.data(), tensor, size, 0, out);
  return result;
}

bool is_torch_file(std::string_view start) {
  return start.starts_with(kZipMagic) || legacy_magic_bytes(start) > 0;
}

std::size_t torch_element_bytes(std::string_view dtype) {
  for (const auto& [name, bytes] : kElementBytes) {
    if (name == dtype) return bytes;
  }
  throw std::invalid_argument(fmt::format("{} is no dtype of a storage", dtype));
}

}  // namespace spqr
