#include "models/spqr_file.h"

#include <fmt/core.h>

#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <stdexcept>
#include <utility>

#include "kernels/half.h"
#include "models/json.h"
#include "models/safetensors.h"
#include "models/spqr_container.h"

namespace spqr {

using container::MatrixEntry;

struct SpqrFile::State {
  std::filesystem::path path;
  SafetensorsFile file;
  SpqrFileInfo info;
  nlohmann::json checksums;
  std::vector<SpqrFileModule> modules;
  std::map<std::string, std::size_t, std::less<>> module_index;
  std::map<std::string, std::vector<std::uint32_t>, std::less<>> perms;
  std::deque<std::vector<std::uint32_t>> row_offsets;           // of the modules with outliers
  std::map<std::string, TensorView, std::less<>> plain;         // norms
  std::map<std::string, std::vector<float>, std::less<>> wide;  // biases that are not stored as f32

  std::string where(const std::string& what) const { return fmt::format("{}: {}", path.string(), what); }
  [[noreturn]] void fail(const std::string& what) const { throw std::runtime_error(where(what)); }

  const std::string& metadata(const char* key) const;
  void check_kind() const;
  void read_checksums();
  void read_tokenizer();
  void read_matrices();
  void read_dense();
  void add_matrix(const std::string& module, const MatrixEntry& entry);
  const SafetensorsTensor& tensor(const std::string& name, const char* dtype, std::int64_t elements) const;
  // An array without its padding; T: u16 or u32.
  template <typename T>
  std::span<const T> array(const std::string& name, std::int64_t entries) const;
  void read_perm(const std::string& name, std::int64_t n);
  std::span<const float> bias(const std::string& module, std::int64_t m);
};

namespace {

std::optional<DType> float_dtype(const std::string& dtype) {
  if (dtype == "F32") return DType::f32;
  if (dtype == "F16") return DType::f16;
  if (dtype == "BF16") return DType::bf16;
  return std::nullopt;
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.ends_with(end);
}

void check_permutation(std::span<const std::uint32_t> perm, const std::string& where) {
  std::vector<bool> seen(perm.size());
  for (std::size_t j = 0; j < perm.size(); ++j) {
    if (perm[j] >= perm.size() || seen[perm[j]]) {
      throw std::runtime_error(fmt::format("{}: is not a permutation of 0 .. {}: entry {} is {}", where,
                                           perm.size() - 1, j, perm[j]));
    }
    seen[perm[j]] = true;
  }
}

}  // namespace

const std::string& SpqrFile::State::metadata(const char* key) const {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) fail(fmt::format("metadata has no '{}'", key));
  return found->second;
}

void SpqrFile::State::check_kind() const {
  const auto format = file.metadata().find(container::kFormatKey);
  if (format == file.metadata().end() || format->second != container::kFormat) {
    fail("is a safetensors file but not a .spqr file; quantize it with spqr-quantize");
  }
  if (const std::string& version = metadata(container::kVersionKey); version != container::kVersion) {
    fail(fmt::format("is of .spqr version {}, this program reads version {}", version, container::kVersion));
  }
  const auto required = parse_json_strict(metadata(container::kRequiredKey), where(container::kRequiredKey));
  if (!required.is_array()) fail("metadata 'required' is not an array");
  for (const auto& feature : required)
    fail(fmt::format("needs {}, which this program does not know", feature.dump()));
}

void SpqrFile::State::read_checksums() {
  checksums = parse_json_strict(metadata(container::kChecksumsKey), where(container::kChecksumsKey));
  if (!checksums.is_object()) fail("metadata 'checksums' is not an object");
  for (const SafetensorsTensor& t : file.tensors()) {
    if (t.name.starts_with(container::kPaddingPrefix)) continue;
    const auto found = checksums.find(t.name);
    if (found == checksums.end() || !found->is_string())
      fail(fmt::format("tensor '{}' has no checksum", t.name));
  }
}

void SpqrFile::State::read_tokenizer() {
  const auto files = parse_json_strict(metadata(container::kTokenizerKey), where(container::kTokenizerKey));
  if (!files.is_object()) fail("metadata 'tokenizer' is not an object");
  for (const auto& item : files.items()) {
    const std::string name = container::kTokenizerPrefix + item.key();
    const SafetensorsTensor* found = file.find(name);
    if (found == nullptr || found->dtype != "U8") fail(fmt::format("has no U8 tensor '{}'", name));
    if (!item.value().is_number_unsigned() || item.value() > found->data.size()) {
      fail(fmt::format("tensor '{}' of {} bytes cannot hold {} bytes", name, found->data.size(),
                       item.value().dump()));
    }
    info.tokenizer_files.emplace(item.key(), std::string(reinterpret_cast<const char*>(found->data.data()),
                                                         item.value().get<std::size_t>()));
  }
}

const SafetensorsTensor& SpqrFile::State::tensor(const std::string& name, const char* dtype,
                                                 std::int64_t elements) const {
  const SafetensorsTensor* found = file.find(name);
  if (found == nullptr) fail(fmt::format("has no tensor '{}'", name));
  if (found->dtype != dtype || found->shape != std::vector<std::int64_t>{elements}) {
    std::string shape;
    for (const std::int64_t extent : found->shape)
      shape += fmt::format("{}{}", shape.empty() ? "" : ", ", extent);
    fail(fmt::format("tensor '{}' is {} [{}], expected {} [{}]", name, found->dtype, shape, dtype, elements));
  }
  if (reinterpret_cast<std::uintptr_t>(found->data.data()) % container::kAlignment != 0) {
    fail(fmt::format("tensor '{}' does not start at a multiple of {} bytes", name, container::kAlignment));
  }
  return *found;
}

template <typename T>
std::span<const T> SpqrFile::State::array(const std::string& name, std::int64_t entries) const {
  const SafetensorsTensor& found =
      tensor(name, sizeof(T) == 2 ? "U16" : "U32", container::aligned_entries(entries, sizeof(T)));
  return {reinterpret_cast<const T*>(found.data.data()), static_cast<std::size_t>(entries)};
}

void SpqrFile::State::read_perm(const std::string& name, std::int64_t n) {
  if (name.empty()) return;
  if (const auto known = perms.find(name); known != perms.end()) {
    if (static_cast<std::int64_t>(known->second.size()) == n) return;
    fail(fmt::format("tensor '{}' permutes {} columns for one module and {} for another", name,
                     known->second.size(), n));
  }
  std::vector<std::uint32_t> perm;
  if (n <= container::kNarrowColumns) {
    const auto stored = array<std::uint16_t>(name, n);
    perm.assign(stored.begin(), stored.end());
  } else {
    const auto stored = array<std::uint32_t>(name, n);
    perm.assign(stored.begin(), stored.end());
  }
  check_permutation(perm, where(fmt::format("tensor '{}'", name)));
  perms.emplace(name, std::move(perm));
}

// Empty if the module has none.
std::span<const float> SpqrFile::State::bias(const std::string& module, std::int64_t m) {
  const std::string name = module + ".bias";
  const SafetensorsTensor* found = file.find(name);
  if (found == nullptr) return {};
  const auto dtype = float_dtype(found->dtype);
  if (!dtype) fail(fmt::format("tensor '{}' is {}, expected F32, F16 or BF16", name, found->dtype));
  tensor(name, found->dtype.c_str(), m);
  if (*dtype == DType::f32)
    return {reinterpret_cast<const float*>(found->data.data()), static_cast<std::size_t>(m)};
  std::vector<float>& values = wide[name];
  values.resize(static_cast<std::size_t>(m));
  const auto* halves = reinterpret_cast<const std::uint16_t*>(found->data.data());
  if (*dtype == DType::f16) {
    f16_to_f32(halves, values.data(), values.size());
  } else {
    bf16_to_f32(halves, values.data(), values.size());
  }
  return values;
}

void SpqrFile::State::add_matrix(const std::string& module, const MatrixEntry& entry) {
  SpqrMatrix matrix;
  matrix.format = entry.format;
  matrix.m = entry.m;
  matrix.n = entry.n;
  matrix.factor = entry.factor;
  try {
    const std::size_t bytes = packed_bytes(entry.format, entry.m, entry.n);
    matrix.dense =
        tensor(module + container::kDense, "U8", static_cast<std::int64_t>(container::aligned(bytes)))
            .data.first(bytes);
    if (entry.nnz > 0) {
      const std::string counts = module + container::kRowCounts;
      row_offsets.push_back(container::row_offsets(array<std::uint16_t>(counts, entry.m), entry.nnz,
                                                   where(fmt::format("tensor '{}'", counts))));
      matrix.row_offsets = row_offsets.back();
      matrix.col_vals = array<std::uint32_t>(module + container::kColVals, entry.nnz);
    }
    validate(matrix);
  } catch (const std::logic_error& error) {
    fail(fmt::format("module '{}': {}", module, error.what()));
  } catch (const std::overflow_error& error) {
    fail(fmt::format("module '{}': {}", module, error.what()));
  }
  read_perm(entry.perm, entry.n);
  modules.push_back({module, {matrix, bias(module, entry.m)}, entry.perm});
}

void SpqrFile::State::read_matrices() {
  const auto matrices = parse_json_strict(metadata(container::kMatricesKey), where(container::kMatricesKey));
  if (!matrices.is_object()) fail("metadata 'matrices' is not an object");
  for (const auto& item : matrices.items()) {
    add_matrix(item.key(),
               container::matrix_entry(item.value(), where(fmt::format("module '{}'", item.key()))));
  }
}

// Everything that is not part of a packed module: dense modules and norms.
void SpqrFile::State::read_dense() {
  std::set<std::string> used;
  for (const SpqrFileModule& module : modules) {
    for (const char* suffix : {container::kDense, container::kRowCounts, container::kColVals})
      used.insert(module.name + suffix);
  }
  for (const SafetensorsTensor& t : file.tensors()) {
    if (t.name.starts_with(container::kPaddingPrefix) || t.name.starts_with(container::kTokenizerPrefix))
      continue;
    if (used.contains(t.name) || perms.contains(t.name)) continue;
    const auto dtype = float_dtype(t.dtype);
    if (!dtype)
      fail(fmt::format("tensor '{}' is {} and belongs to nothing: written by a newer version?", t.name,
                       t.dtype));
    if (reinterpret_cast<std::uintptr_t>(t.data.data()) % container::kAlignment != 0) {
      fail(
          fmt::format("tensor '{}' does not start at a multiple of {} bytes", t.name, container::kAlignment));
    }
    if (t.data.empty()) fail(fmt::format("tensor '{}' is empty", t.name));
    const TensorView view{t.data.data(), *dtype, t.shape};
    if (t.shape.size() == 2 && ends_with(t.name, ".weight")) {
      const std::string module = t.name.substr(0, t.name.size() - std::strlen(".weight"));
      modules.push_back({module, {view, bias(module, t.shape[0])}, ""});
    } else {
      plain.emplace(t.name, view);
    }
  }
  for (std::size_t i = 0; i < modules.size(); ++i) {
    if (!module_index.emplace(modules[i].name, i).second)
      fail(fmt::format("module '{}' is there twice", modules[i].name));
  }
}

// What users give for a .spqr file most often: the checkpoint itself.
[[noreturn]] void refuse_checkpoint(const std::filesystem::path& path, const char* kind) {
  throw std::runtime_error(fmt::format(
      "{}: is a {}, expected a .spqr file, which spqr-quantize makes of a checkpoint", path.string(), kind));
}

SpqrFile SpqrFile::open(const std::filesystem::path& path, const SpqrOpenOptions& options) {
  if (std::filesystem::is_directory(path)) refuse_checkpoint(path, "directory");
  SpqrFile file = parse(options.mmap ? FileBytes::map(path) : FileBytes::read(path), path);
  if (options.verify) file.verify();
  return file;
}

SpqrFile SpqrFile::parse(FileBytes bytes, const std::filesystem::path& name) {
  if (bytes.bytes().size() >= 4 && std::memcmp(bytes.bytes().data(), "GGUF", 4) == 0)
    refuse_checkpoint(name, "GGUF file");
  auto state = std::make_unique<State>();
  state->path = name;
  state->file = SafetensorsFile::parse(std::move(bytes), name.string());
  state->check_kind();
  state->info.config_json = state->metadata(container::kConfigKey);
  if (const auto said = state->file.metadata().find(container::kQuantizationKey);
      said != state->file.metadata().end())
    state->info.quantization_json = said->second;
  state->read_checksums();
  state->read_tokenizer();
  state->read_matrices();
  state->read_dense();
  return SpqrFile(std::move(state));
}

SpqrFile::SpqrFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
SpqrFile::~SpqrFile() = default;
SpqrFile::SpqrFile(SpqrFile&&) noexcept = default;
SpqrFile& SpqrFile::operator=(SpqrFile&&) noexcept = default;

const std::filesystem::path& SpqrFile::path() const {
  return state_->path;
}
std::size_t SpqrFile::file_bytes() const {
  return state_->file.file_bytes();
}
const SpqrFileInfo& SpqrFile::info() const {
  return state_->info;
}
const std::vector<SpqrFileModule>& SpqrFile::modules() const {
  return state_->modules;
}

const SpqrFileModule* SpqrFile::find_module(std::string_view name) const {
  const auto found = state_->module_index.find(name);
  return found == state_->module_index.end() ? nullptr : &state_->modules[found->second];
}

std::span<const std::uint32_t> SpqrFile::perm(std::string_view perm_name) const {
  const auto found = state_->perms.find(perm_name);
  return found == state_->perms.end() ? std::span<const std::uint32_t>{} : found->second;
}

std::optional<TensorView> SpqrFile::find_tensor(std::string_view name) const {
  const auto found = state_->plain.find(name);
  if (found == state_->plain.end()) return std::nullopt;
  return found->second;
}

const std::vector<SafetensorsTensor>& SpqrFile::tensors() const {
  return state_->file.tensors();
}

std::string SpqrFile::checksum() const {
  std::string all;
  for (const auto& [key, value] : state_->file.metadata()) all += key + '\0' + value + '\0';
  return container::checksum(std::as_bytes(std::span(all)));
}

void SpqrFile::lock() const {
  state_->file.lock(path());
}

void SpqrFile::verify() const {
  for (const SafetensorsTensor& t : state_->file.tensors()) {
    if (t.name.starts_with(container::kPaddingPrefix)) continue;
    const std::string expected = state_->checksums.at(t.name).get<std::string>();
    const std::string found = container::checksum(t.data);
    if (found != expected) {
      state_->fail(
          fmt::format("tensor '{}' has checksum {}, expected {}: the file is damaged; get or make it again",
                      t.name, found, expected));
    }
  }
}

}  // namespace spqr
