// Calibration text to sequences of token ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "runtime/quantize_options.h"
#include "tokenizer/tokenizer.h"

namespace spqr {

struct CalibrationSet {
  std::vector<std::vector<std::int32_t>> sequences;  // not empty, none longer than asked for
  std::int64_t tokens_available = 0;
  std::int64_t documents = 0;         // of a .jsonl file, those used; 0: plain text or ids
  std::string checksum;               // XXH3-64 of the file, hexadecimal
  std::vector<std::string> warnings;  // sentences: less text than asked for
};

// A .jsonl file: an object with a string "text" a line; the chosen documents are joined with spaces. Any
// other file is one text. Without a tokenizer (null) the file holds token ids separated by white space.
// length is capped to max_length. Throws std::runtime_error with a sentence where the file cannot be read, is
// malformed, or has no token.
CalibrationSet load_calibration(const CalibrationSettings& settings, std::uint64_t seed,
                                const Tokenizer* tokenizer, std::int64_t vocab_size, std::int64_t max_length);

// `samples` windows of `length` tokens: the first ones in order, or at random places. Fewer and shorter ones
// where there are too few tokens.
std::vector<std::vector<std::int32_t>> cut_windows(const std::vector<std::int32_t>& ids, std::int64_t samples,
                                                   std::int64_t length, WindowOrder order,
                                                   std::uint64_t seed);

}  // namespace spqr
