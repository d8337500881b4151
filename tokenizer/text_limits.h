// The ends of encoding and decoding that all tokenizers share.
#pragma once

#include <string>
#include <string_view>

namespace spqr {

// Throws std::length_error for texts over 1 GiB: positions in them are 32-bit integers, spaces may grow to
// three bytes.
void check_text_size(std::string_view text);

// A text to encode: its size checked, invalid UTF-8 repaired (in `memory`, which must outlive the result).
std::string_view checked_text(std::string_view text, std::string& memory);

// Joined pieces as text: without `dropped_prefix` in front, invalid UTF-8 repaired.
std::string finish_text(std::string_view text, std::string_view dropped_prefix);

}  // namespace spqr
