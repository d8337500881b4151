#include "runtime/prompt_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "models/json.h"
#include "models/output_file.h"
#include "models/safetensors.h"
#include "models/spqr_container.h"

namespace spqr {
namespace {

constexpr const char* kFormat = "spqr-prompt-cache";
constexpr const char* kVersion = "1";
constexpr const char* kIds = "ids";

std::string cache_dtype(CacheType type) {
  if (type == CacheType::q8_0) return "U8";
  return container::dtype_name(type == CacheType::f16 ? DType::f16 : DType::f32);
}

// The type of cache whose rows a file has as tensors of this dtype.
std::string_view cache_name(const std::string& dtype) {
  for (const CacheType type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
    if (dtype == cache_dtype(type)) return name_of(type);
  }
  return dtype;
}

// The keys or the values of one block.
struct CachedTensor {
  std::string name;
  CachedRows rows;  // in the memory of
  Backend& backend;
  KvLayer layer;

  std::size_t row_bytes() const { return static_cast<std::size_t>(layer.row_bytes(rows)); }
  std::string dtype() const { return cache_dtype(rows.type); }
  std::size_t bytes(std::int64_t tokens) const {
    return static_cast<std::size_t>(layer.kv_heads) * static_cast<std::size_t>(tokens) * row_bytes();
  }
  std::vector<std::int64_t> shape(std::int64_t tokens) const {
    const bool bytes = rows.type == CacheType::q8_0;
    return {layer.kv_heads, tokens, bytes ? layer.row_bytes(rows) : layer.head_dim};
  }
  std::byte* head(std::int64_t h) const { return layer.row(rows, h, 0); }
};

std::vector<CachedTensor> cached_tensors(const Session& session) {
  std::vector<CachedTensor> tensors;
  for (std::int64_t l = 0; l < session.config().num_hidden_layers; ++l) {
    const Stage& stage = session.stage(l);
    const KvLayer& layer = stage.cache(l);
    tensors.push_back({fmt::format("blocks.{}.k", l), layer.k, stage.backend(), layer});
    tensors.push_back({fmt::format("blocks.{}.v", l), layer.v, stage.backend(), layer});
  }
  return tensors;
}

std::vector<std::byte> download(const CachedTensor& cached, std::int64_t tokens) {
  std::vector<std::byte> bytes(cached.bytes(tokens));
  const std::size_t per_head = static_cast<std::size_t>(tokens) * cached.row_bytes();
  for (std::int64_t h = 0; h < cached.layer.kv_heads; ++h)
    cached.backend.download(bytes.data() + static_cast<std::size_t>(h) * per_head, cached.head(h), per_head);
  return bytes;
}

// The file's first `tokens` of `stored`.
void upload(const CachedTensor& cached, const SafetensorsTensor& tensor, std::int64_t stored,
            std::int64_t tokens) {
  const std::size_t per_head = static_cast<std::size_t>(stored) * cached.row_bytes();
  for (std::int64_t h = 0; h < cached.layer.kv_heads; ++h)
    cached.backend.upload(cached.head(h), tensor.data.data() + static_cast<std::size_t>(h) * per_head,
                          static_cast<std::size_t>(tokens) * cached.row_bytes());
}

// Header and data of a file. The checksums of the data are known only when it is written: the header, whose
// size does not depend on them, is written last.
class Writing {
 public:
  Writing(Session& session, OutputFile& out)
      : session_(session), out_(out), ids_(session.ids()), tensors_(cached_tensors(session)) {}

  void run() {
    add(kIds, "I32", {tokens()}, ids_.size_bytes());
    for (const CachedTensor& cached : tensors_)
      add(cached.name, cached.dtype(), cached.shape(tokens()), cached.bytes(tokens()));
    const std::uint64_t begin = container::framed_bytes(header().size());
    std::uint64_t offset = begin;
    write(kIds, std::as_bytes(ids_), offset);
    for (const CachedTensor& cached : tensors_) write(cached.name, download(cached, tokens()), offset);
    out_.write(0, container::framed(header(), begin));
  }

 private:
  std::int64_t tokens() const { return static_cast<std::int64_t>(ids_.size()); }

  void add(const std::string& name, const std::string& dtype, const std::vector<std::int64_t>& shape,
           std::size_t bytes) {
    object_[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {end_, end_ + bytes}}};
    checksums_[name] = container::checksum({});
    end_ += bytes;
  }

  void write(const std::string& name, std::span<const std::byte> bytes, std::uint64_t& offset) {
    checksums_[name] = container::checksum(bytes);
    out_.write(offset, bytes);
    offset += bytes.size();
  }

  std::string header() const {
    nlohmann::json object = object_;
    object["__metadata__"] = {{"format", kFormat},
                              {"version", kVersion},
                              {"model", session_.file().checksum()},
                              {"checksums", checksums_.dump()}};
    return object.dump();
  }

  Session& session_;
  OutputFile& out_;
  std::span<const std::int32_t> ids_;
  std::vector<CachedTensor> tensors_;
  nlohmann::json object_;
  nlohmann::json checksums_;
  std::size_t end_ = 0;
};

// A file, checked against the session's model before any of it is used.
class Reading {
 public:
  Reading(Session& session, const std::filesystem::path& path)
      : session_(session), where_(path.string()), file_(SafetensorsFile::open(path)) {}

  void run() {
    check_metadata();
    std::vector<std::int32_t> ids = read_ids();
    const auto stored = static_cast<std::int64_t>(ids.size());
    const std::vector<CachedTensor> tensors = cached_tensors(session_);
    if (file_.tensors().size() != tensors.size() + 1)
      fail(fmt::format("holds {} tensors, expected {}", file_.tensors().size(), tensors.size() + 1));
    const std::int64_t tokens = std::min(stored, session_.context());
    for (const CachedTensor& cached : tensors)
      upload(cached, tensor(cached.name, cached.dtype(), cached.shape(stored)), stored, tokens);
    ids.resize(static_cast<std::size_t>(tokens));
    session_.adopt(std::move(ids));
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(fmt::format("prompt cache {}: {}", where_, what));
  }

  const std::string& metadata(const char* key) const {
    const auto found = file_.metadata().find(key);
    if (found == file_.metadata().end())
      fail(fmt::format("is no prompt cache: it has no metadata '{}'", key));
    return found->second;
  }

  void check_metadata() {
    if (metadata("format") != kFormat) fail("is no prompt cache");
    if (metadata("version") != kVersion)
      fail(fmt::format("has version '{}', this program knows {}", metadata("version"), kVersion));
    if (metadata("model") != session_.file().checksum())
      fail("was made with another model; remove it or name another file");
    checksums_ = parse_json_strict(metadata("checksums"), where_);
    if (!checksums_.is_object()) fail("metadata 'checksums' is not an object");
  }

  const SafetensorsTensor& tensor(const std::string& name, const std::string& dtype,
                                  const std::vector<std::int64_t>& shape) const {
    const SafetensorsTensor* found = file_.find(name);
    if (found == nullptr) fail(fmt::format("has no tensor '{}'", name));
    if (found->dtype != dtype)
      fail(fmt::format("caches {}, this session {}; give the same --cache-type-k and --cache-type-v",
                       cache_name(found->dtype), cache_name(dtype)));
    if (!shape.empty() && found->shape != shape)
      fail(fmt::format("tensor '{}' has shape ({}), expected ({})", name, fmt::join(found->shape, ", "),
                       fmt::join(shape, ", ")));
    const auto expected = checksums_.find(name);
    if (expected == checksums_.end() || *expected != container::checksum(found->data))
      fail(fmt::format("tensor '{}' has another checksum than when it was written: the file is damaged",
                       name));
    return *found;
  }

  std::vector<std::int32_t> read_ids() const {
    const SafetensorsTensor& stored = tensor(kIds, "I32", {});
    if (stored.shape.size() != 1) fail("tensor 'ids' is no vector");
    std::vector<std::int32_t> ids(static_cast<std::size_t>(stored.shape.front()));
    if (!ids.empty()) std::memcpy(ids.data(), stored.data.data(), stored.data.size());
    for (const std::int32_t id : ids) {
      if (id < 0 || id >= session_.config().vocab_size)
        fail(fmt::format("holds the token {}, the vocabulary has {}", id, session_.config().vocab_size));
    }
    return ids;
  }

  Session& session_;
  std::string where_;
  SafetensorsFile file_;
  nlohmann::json checksums_;
};

}  // namespace

void save_prompt_cache(Session& session, const std::filesystem::path& path) {
  replace_file(path, [&](OutputFile& out) { Writing(session, out).run(); });
}

void load_prompt_cache(Session& session, const std::filesystem::path& path) {
  session.rewind(0);
  Reading(session, path).run();
}

}  // namespace spqr
