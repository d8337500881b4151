// Files and tokenizers that several tests use.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace spqr {

std::string read_bytes(const std::filesystem::path& path);
// tests/fixtures/tokenizers/<name>
std::string fixture(const std::string& name);

// Tokenizer files of a directory under SPQR_TEST_DATA: tokenizer name -> path. nullopt: not there.
std::optional<TokenizerFiles> test_tokenizer(const std::vector<std::pair<std::string, std::string>>& files);

TokenizerFiles smollm2_files();
// A tokenizer.json of byte-level BPE as the GGUF metadata that stands for it; pre: "smollm", ...
TokenizerFiles as_gguf(const std::string& tokenizer_json, const std::string& pre);

// All tokenizers that are at hand, by name.
std::vector<std::pair<std::string, std::unique_ptr<Tokenizer>>> all_tokenizers();

// What load_tokenizer throws; "" if it does not.
std::string load_error(const TokenizerFiles& files);

// Random text: code points of all planes and runs of common characters.
std::string random_text(std::uint32_t seed, std::size_t characters);

inline constexpr EncodeOptions kPlain{.add_special = false, .parse_special = false};

}  // namespace spqr
