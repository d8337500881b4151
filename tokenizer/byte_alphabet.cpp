#include "tokenizer/byte_alphabet.h"

#include <array>
#include <unordered_map>

#include "tokenizer/utf8.h"

namespace spqr {
namespace {

struct Alphabet {
  std::array<std::string, 256> character_of;
  std::unordered_map<char32_t, unsigned char> byte_of;

  Alphabet() {
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const char32_t code = printable ? static_cast<char32_t>(byte) : next++;
      append_utf8(character_of[byte], code);
      byte_of[code] = static_cast<unsigned char>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string token;
  token.reserve(bytes.size() * 2);
  for (const char byte : bytes) token += alphabet().character_of[static_cast<unsigned char>(byte)];
  return token;
}

std::string alphabet_to_bytes(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  for (std::size_t at = 0; at < token.size();) {
    const Utf8Char character = utf8_char(token, at);
    const auto found = alphabet().byte_of.find(character.code);
    if (character.state != Utf8Char::State::valid || found == alphabet().byte_of.end()) {
      return std::string(token);
    }
    bytes.push_back(static_cast<char>(found->second));
    at += character.bytes;
  }
  return bytes;
}

}  // namespace spqr
