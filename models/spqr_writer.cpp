// Writes a .spqr file tensor by tensor. While it grows there are two files beside the final name: `.partial`,
// room for the header and then the data, and `.journal`, a JSON line for every tensor, matrix, note and
// checkpoint, from which an interrupted quantization goes on.
#include <fmt/core.h>

#include <fstream>
#include <map>
#include <stdexcept>
#include <utility>

#include "models/json.h"
#include "models/output_file.h"
#include "models/spqr_container.h"
#include "models/spqr_file.h"

namespace spqr {
namespace {

// Room for the header in front of the data. A large model's header (7 modules a block, 80 blocks) is a few
// hundred KiB.
constexpr std::uint64_t kHeaderRoom = 1U << 20U;
// Below this the data is copied behind a header of the right size rather than leaving the room as spaces.
constexpr std::uint64_t kCompactBelow = 64U << 20U;

bool is_copied(std::uint64_t data_bytes, std::uint64_t framed_header) {
  return framed_header > kHeaderRoom || data_bytes < kCompactBelow;
}

struct WrittenTensor {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t offset = 0;  // in the data
  std::uint64_t bytes = 0;
  std::string checksum;  // empty: padding
};

}  // namespace

struct SpqrFileWriter::State {
  std::filesystem::path path, partial_path, journal_path;
  std::unique_ptr<OutputFile> partial, journal;
  std::uint64_t data_bytes = 0;
  std::uint64_t journal_bytes = 0;
  std::uint64_t paddings = 0;
  bool resumable = false;
  bool finished = false;
  std::vector<WrittenTensor> tensors;
  std::map<std::string, std::size_t, std::less<>> index;
  nlohmann::json matrices = nlohmann::json::object();
  std::vector<std::pair<std::string, std::string>> notes;

  void log(const nlohmann::json& line);
  void replay(const std::string& fingerprint);
  void apply(const nlohmann::json& line);
  void add(const std::string& name, const std::string& dtype, std::vector<std::int64_t> shape,
           std::span<const std::byte> bytes);
  // Adds bytes and zeros up to the alignment; the shape counts the zeros.
  void add_padded(const std::string& name, const std::string& dtype, std::size_t element,
                  std::span<const std::byte> bytes);
  void pad();
  void add_perm(const std::string& module, const std::string& name, std::span<const std::uint32_t> perm);
  // The first `bytes` bytes of a tensor that was added.
  void read(const std::string& name, void* out, std::size_t bytes) const;
  container::MatrixEntry entry(const std::string& module) const;
  std::string header(const SpqrFileInfo& info) const;
  void write_compact(const std::filesystem::path& target, const std::string& text) const;
};

void SpqrFileWriter::State::log(const nlohmann::json& line) {
  const std::string text = line.dump() + "\n";
  journal->write(journal_bytes, text);
  journal_bytes += text.size();
}

void SpqrFileWriter::State::apply(const nlohmann::json& line) {
  if (line.contains("tensor")) {
    WrittenTensor t{line["tensor"], line["dtype"], line["shape"],
                    line["offset"], line["bytes"], line["checksum"]};
    if (t.checksum.empty()) ++paddings;
    index.emplace(t.name, tensors.size());
    tensors.push_back(std::move(t));
  } else if (line.contains("module")) {
    matrices[line["module"].get<std::string>()] = line["matrix"];
  } else if (line.contains("note")) {
    notes.emplace_back(line["note"], line["json"]);
  }
}

// Takes up the journal until its last checkpoint and cuts both files there.
void SpqrFileWriter::State::replay(const std::string& fingerprint) {
  std::ifstream in(journal_path, std::ios::binary);
  const std::string hint = "; quantize without --resume to begin anew";
  std::vector<nlohmann::json> pending;
  std::uint64_t read = 0;
  bool first = true;
  for (std::string text; std::getline(in, text);) {
    if (in.eof()) break;  // no line end: cut off while it was written
    read += text.size() + 1;
    nlohmann::json line;
    try {
      line = parse_json_strict(text, journal_path.string());
    } catch (const std::runtime_error&) {
      break;  // what follows the last checkpoint may be damaged
    }
    if (first && (!line.contains("fingerprint") || line["fingerprint"] != fingerprint)) {
      throw std::runtime_error(
          fmt::format("{}: was begun for another model or other options{}", partial_path.string(), hint));
    }
    first = false;
    pending.push_back(std::move(line));
    if (!pending.back().contains("checkpoint")) continue;
    data_bytes = pending.back()["checkpoint"];
    journal_bytes = read;
    for (const auto& each : pending) apply(each);
    pending.clear();
    resumable = true;
  }
  if (!resumable || std::filesystem::file_size(partial_path) < kHeaderRoom + data_bytes) {
    throw std::runtime_error(fmt::format("{}: holds nothing to resume from{}", partial_path.string(), hint));
  }
}

void SpqrFileWriter::State::add(const std::string& name, const std::string& dtype,
                                std::vector<std::int64_t> shape, std::span<const std::byte> bytes) {
  if (index.contains(name))
    throw std::invalid_argument(fmt::format("{}: tensor '{}' is added twice", path.string(), name));
  const bool padding = name.starts_with(container::kPaddingPrefix);
  WrittenTensor t{name,       dtype,        std::move(shape),
                  data_bytes, bytes.size(), padding ? "" : container::checksum(bytes)};
  partial->write(kHeaderRoom + data_bytes, bytes);
  data_bytes += bytes.size();
  log({{"tensor", t.name},
       {"dtype", t.dtype},
       {"shape", t.shape},
       {"offset", t.offset},
       {"bytes", t.bytes},
       {"checksum", t.checksum}});
  index.emplace(name, tensors.size());
  tensors.push_back(std::move(t));
}

void SpqrFileWriter::State::add_padded(const std::string& name, const std::string& dtype, std::size_t element,
                                       std::span<const std::byte> bytes) {
  const std::size_t size = container::aligned(bytes.size());
  const std::vector<std::int64_t> shape{static_cast<std::int64_t>(size / element)};
  if (size == bytes.size()) return add(name, dtype, shape, bytes);
  std::vector<std::byte> padded(bytes.begin(), bytes.end());
  padded.resize(size);
  add(name, dtype, shape, padded);
}

void SpqrFileWriter::State::pad() {
  const std::uint64_t missing = container::aligned(data_bytes) - data_bytes;
  if (missing == 0) return;
  const std::vector<std::byte> zeros(missing);
  add(fmt::format("{}{}", container::kPaddingPrefix, paddings++), "U8", {static_cast<std::int64_t>(missing)},
      zeros);
}

// Permutations of modules with one input are the same and are stored once.
void SpqrFileWriter::State::add_perm(const std::string& module, const std::string& name,
                                     std::span<const std::uint32_t> perm) {
  for (const std::uint32_t column : perm) {
    if (column >= perm.size()) {
      throw std::invalid_argument(fmt::format("module '{}': permutation '{}' of {} columns has an entry {}",
                                              module, name, perm.size(), column));
    }
  }
  const bool narrow = static_cast<std::int64_t>(perm.size()) <= container::kNarrowColumns;
  const std::vector<std::uint16_t> halves(narrow ? perm.begin() : perm.end(), perm.end());
  const auto bytes = narrow ? std::as_bytes(std::span(halves)) : std::as_bytes(perm);
  const auto known = index.find(name);
  if (known == index.end()) {
    add_padded(name, narrow ? "U16" : "U32", narrow ? sizeof(std::uint16_t) : sizeof(std::uint32_t), bytes);
    return;
  }
  std::vector<std::byte> padded(bytes.begin(), bytes.end());
  padded.resize(container::aligned(padded.size()));
  if (container::checksum(padded) != tensors[known->second].checksum) {
    throw std::invalid_argument(
        fmt::format("module '{}': permutation '{}' is there with other contents", module, name));
  }
}

void SpqrFileWriter::State::read(const std::string& name, void* out, std::size_t bytes) const {
  const auto known = index.find(name);
  if (known == index.end() || tensors[known->second].bytes < bytes)
    throw std::invalid_argument(fmt::format("{}: holds no tensor '{}'", partial_path.string(), name));
  std::ifstream in(partial_path, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(kHeaderRoom + tensors[known->second].offset));
  if (!in.read(static_cast<char*>(out), static_cast<std::streamsize>(bytes)))
    throw std::runtime_error(fmt::format("{}: cannot be read back", partial_path.string()));
}

container::MatrixEntry SpqrFileWriter::State::entry(const std::string& module) const {
  if (!matrices.contains(module))
    throw std::invalid_argument(fmt::format("{}: holds no module '{}'", partial_path.string(), module));
  return container::matrix_entry(matrices[module], journal_path.string());
}

std::string SpqrFileWriter::State::header(const SpqrFileInfo& info) const {
  nlohmann::json checksums = nlohmann::json::object();
  nlohmann::json object = nlohmann::json::object();
  for (const WrittenTensor& t : tensors) {
    object[t.name] = {
        {"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {t.offset, t.offset + t.bytes}}};
    if (!t.checksum.empty()) checksums[t.name] = t.checksum;
  }
  nlohmann::json tokenizer = nlohmann::json::object();
  for (const auto& [name, bytes] : info.tokenizer_files) tokenizer[name] = bytes.size();
  object["__metadata__"] = {{container::kFormatKey, container::kFormat},
                            {container::kVersionKey, container::kVersion},
                            {container::kRequiredKey, "[]"},
                            {container::kConfigKey, info.config_json},
                            {container::kQuantizationKey, info.quantization_json},
                            {container::kMatricesKey, matrices.dump()},
                            {container::kTokenizerKey, tokenizer.dump()},
                            {container::kChecksumsKey, checksums.dump()}};
  return object.dump();
}

void SpqrFileWriter::State::write_compact(const std::filesystem::path& target,
                                          const std::string& text) const {
  OutputFile out(target, OutputFile::Mode::create);
  out.write(0, text);
  std::ifstream in(partial_path, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(kHeaderRoom));
  std::vector<char> block(1U << 22U);
  for (std::uint64_t done = 0; done < data_bytes;) {
    const std::uint64_t count = std::min<std::uint64_t>(block.size(), data_bytes - done);
    if (!in.read(block.data(), static_cast<std::streamsize>(count))) {
      throw std::runtime_error(fmt::format("{}: cannot be read back", partial_path.string()));
    }
    out.write(text.size() + done, std::as_bytes(std::span(block.data(), count)));
    done += count;
  }
  out.sync();
}

SpqrFileWriter::SpqrFileWriter(std::filesystem::path path, std::string fingerprint, bool resume)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.path = std::move(path);
  s.partial_path = s.path.string() + ".partial";
  s.journal_path = s.path.string() + ".journal";
  const bool going_on =
      resume && std::filesystem::exists(s.journal_path) && std::filesystem::exists(s.partial_path);
  if (going_on) s.replay(fingerprint);
  const auto mode = going_on ? OutputFile::Mode::keep : OutputFile::Mode::create;
  s.partial = std::make_unique<OutputFile>(s.partial_path, mode);
  s.journal = std::make_unique<OutputFile>(s.journal_path, mode);
  if (going_on) {
    s.partial->truncate(kHeaderRoom + s.data_bytes);
    s.journal->truncate(s.journal_bytes);
  } else {
    s.log({{"fingerprint", fingerprint}});
  }
}

SpqrFileWriter::~SpqrFileWriter() {
  if (!state_ || state_->finished || state_->resumable) return;
  state_->partial.reset();
  state_->journal.reset();
  std::error_code ignored;
  std::filesystem::remove(state_->partial_path, ignored);
  std::filesystem::remove(state_->journal_path, ignored);
}

bool SpqrFileWriter::has(std::string_view module_or_tensor) const {
  const std::string name(module_or_tensor);
  return state_->index.contains(name) || state_->matrices.contains(name) ||
         state_->index.contains(name + ".weight");
}

void SpqrFileWriter::add_packed(const std::string& module, const PackedMatrix& matrix,
                                const std::string& perm_name, std::span<const std::uint32_t> perm) {
  State& s = *state_;
  if (!perm_name.empty() && static_cast<std::int64_t>(perm.size()) != matrix.n) {
    throw std::invalid_argument(
        fmt::format("module '{}' has {} columns and a permutation of {}", module, matrix.n, perm.size()));
  }
  container::MatrixEntry entry{matrix.format, matrix.m,
                               matrix.n,      static_cast<std::int64_t>(matrix.col_vals.size()),
                               matrix.factor, perm_name};
  s.add_padded(module + container::kDense, "U8", 1, matrix.dense);
  if (entry.nnz > 0) {
    const std::vector<std::uint16_t> counts = container::row_counts(matrix.row_offsets);
    s.add_padded(module + container::kRowCounts, "U16", sizeof(std::uint16_t),
                 std::as_bytes(std::span(counts)));
    s.add_padded(module + container::kColVals, "U32", sizeof(std::uint32_t),
                 std::as_bytes(std::span(matrix.col_vals)));
  }
  if (!perm_name.empty()) s.add_perm(module, perm_name, perm);
  s.matrices[module] = container::to_json(entry);
  s.log({{"module", module}, {"matrix", s.matrices[module]}});
}

PackedMatrix SpqrFileWriter::read_packed(const std::string& module) const {
  const container::MatrixEntry entry = state_->entry(module);
  PackedMatrix matrix{entry.format, entry.m, entry.n, entry.factor, {}, {}, {}};
  matrix.dense.resize(packed_bytes(entry.format, entry.m, entry.n));
  state_->read(module + container::kDense, matrix.dense.data(), matrix.dense.size());
  if (entry.nnz > 0) {
    std::vector<std::uint16_t> counts(static_cast<std::size_t>(entry.m));
    state_->read(module + container::kRowCounts, counts.data(), counts.size() * sizeof(std::uint16_t));
    matrix.row_offsets = container::row_offsets(counts, entry.nnz, state_->partial_path.string());
    matrix.col_vals.resize(static_cast<std::size_t>(entry.nnz));
    state_->read(module + container::kColVals, matrix.col_vals.data(),
                 matrix.col_vals.size() * sizeof(std::uint32_t));
  }
  validate(matrix.view());
  return matrix;
}

std::vector<std::uint32_t> SpqrFileWriter::read_perm(const std::string& module) const {
  const container::MatrixEntry entry = state_->entry(module);
  if (entry.perm.empty()) return {};
  std::vector<std::uint32_t> perm(static_cast<std::size_t>(entry.n));
  if (entry.n <= container::kNarrowColumns) {
    std::vector<std::uint16_t> halves(perm.size());
    state_->read(entry.perm, halves.data(), halves.size() * sizeof(std::uint16_t));
    perm.assign(halves.begin(), halves.end());
  } else {
    state_->read(entry.perm, perm.data(), perm.size() * sizeof(std::uint32_t));
  }
  return perm;
}

void SpqrFileWriter::add_dense(const std::string& name, const TensorView& tensor) {
  state_->add(name, container::dtype_name(tensor.dtype), tensor.shape,
              {static_cast<const std::byte*>(tensor.data), tensor.bytes()});
  state_->pad();
}

void SpqrFileWriter::note(const std::string& key, const std::string& json) {
  state_->notes.emplace_back(key, json);
  state_->log({{"note", key}, {"json", json}});
}

std::vector<std::pair<std::string, std::string>> SpqrFileWriter::notes() const {
  return state_->notes;
}

void SpqrFileWriter::checkpoint() {
  state_->partial->sync();
  state_->log({{"checkpoint", state_->data_bytes}});
  state_->journal->sync();
  state_->resumable = true;
}

std::uint64_t SpqrFileWriter::most_on_disk(std::uint64_t data_bytes, std::uint64_t header_bytes) {
  // The journal says of every tensor what the header will.
  const std::uint64_t growing = kHeaderRoom + data_bytes + header_bytes;
  const std::uint64_t framed = container::framed_bytes(header_bytes);
  return is_copied(data_bytes, framed) ? growing + framed + data_bytes : growing;
}

void SpqrFileWriter::finish(const SpqrFileInfo& info) {
  State& s = *state_;
  for (const auto& [name, bytes] : info.tokenizer_files) {
    const std::string tensor = container::kTokenizerPrefix + name;
    if (!s.index.contains(tensor)) s.add_padded(tensor, "U8", 1, std::as_bytes(std::span(bytes)));
  }
  const std::string header = s.header(info);
  const std::uint64_t needed = container::framed_bytes(header.size());
  const bool compact = is_copied(s.data_bytes, needed);
  const std::filesystem::path complete = compact ? s.path.string() + ".compact" : s.partial_path.string();
  std::error_code ignored;
  try {
    if (compact) {
      s.write_compact(complete, container::framed(header, needed));
    } else {
      s.partial->write(0, container::framed(header, kHeaderRoom));
      s.partial->truncate(kHeaderRoom + s.data_bytes);
      s.partial->sync();
    }
    SpqrFile::open(complete, {.mmap = true, .verify = true});
    rename_file(complete, s.path);
  } catch (...) {
    if (compact) std::filesystem::remove(complete, ignored);
    throw;
  }
  s.finished = true;
  if (compact) std::filesystem::remove(s.partial_path, ignored);
  std::filesystem::remove(s.journal_path, ignored);
}

}  // namespace spqr
