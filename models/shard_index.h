// The index of a Hugging Face checkpoint in shards: which file has which tensor.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>

namespace spqr {

// File name -> names of tensors. The files are there, in this directory, and end with `extension`. Throws
// std::runtime_error naming the index and what is wrong.
std::map<std::string, std::set<std::string>> read_shard_index(const std::filesystem::path& index,
                                                              const std::string& extension);

}  // namespace spqr
