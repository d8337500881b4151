// GPT-2's byte alphabet: each byte is written as one printable character, so that a vocabulary of text holds
// any bytes. Printable Latin-1 stands for itself, the other 68 bytes are U+0100 .. U+0143 in order.
#pragma once

#include <string>
#include <string_view>

namespace spqr {

std::string bytes_to_alphabet(std::string_view bytes);
// The inverse; a token with a character outside of the alphabet (an added token) stands for itself.
std::string alphabet_to_bytes(std::string_view token);

// The pattern by which GPT-2 splits text into words.
inline constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace spqr
