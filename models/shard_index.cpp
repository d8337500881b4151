#include "models/shard_index.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "models/json.h"
#include "models/tokenizer_files.h"

namespace spqr {

namespace fs = std::filesystem;

std::map<std::string, std::set<std::string>> read_shard_index(const fs::path& path,
                                                              const std::string& extension) {
  const std::string where = path.string();
  const nlohmann::json index = parse_json_strict(read_small_file(path), where);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw std::runtime_error(fmt::format("{}: expected an object with a weight_map", where));
  }
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    if (!shard.is_string())
      throw std::runtime_error(fmt::format("{}: the shard of {} is no string", where, tensor));
    shards[shard.get<std::string>()].insert(tensor);
  }
  for (const auto& [shard, names] : shards) {
    const bool plain = fs::path(shard).filename() == shard && shard.find('\\') == std::string::npos &&
                       shard.find('\0') == std::string::npos && shard.ends_with(extension);
    if (!plain) {
      throw std::runtime_error(fmt::format("{}: shard {} is not the name of a {} file in this directory",
                                           where, nlohmann::json(shard).dump(), extension));
    }
    if (!fs::exists(path.parent_path() / shard)) {
      throw std::runtime_error(fmt::format("{}: shard {} is missing: incomplete download?", where, shard));
    }
  }
  return shards;
}

}  // namespace spqr
