// Texts and token ids that users give in files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace spqr {

// The whole of a file ("-": standard input). Throws std::runtime_error naming it.
std::string read_text(const std::filesystem::path& path);

// Token ids separated by white space. Throws std::runtime_error naming `where` for anything else, and for ids
// outside 0 .. vocab_size - 1.
std::vector<std::int32_t> parse_token_ids(std::string_view text, std::int64_t vocab_size,
                                          const std::string& where);

// Documents of a .jsonl file (an object with a string "text" a line).
struct DocumentRange {
  std::int64_t first = 1;  // counted from 1, inclusive
  std::int64_t last = 0;   // inclusive; 0: to the end
};
// "A-B", "A-" or "A". Throws std::invalid_argument with a sentence.
DocumentRange parse_document_range(const std::string& text);
// Throws std::runtime_error naming `where` for lines that are no such object, and where there are fewer
// documents.
std::vector<std::string> read_documents(std::string_view jsonl, DocumentRange range,
                                        const std::string& where);

// Texts with `separator` between them.
std::string join(const std::vector<std::string>& texts, std::string_view separator);

}  // namespace spqr
