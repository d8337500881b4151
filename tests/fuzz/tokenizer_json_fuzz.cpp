// tokenizer.json and the GGUF metadata that stands for one: any bytes load or give an error, and what loads
// encodes and decodes any text.
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "tokenizer/tokenizer.h"

namespace {

// The bytes up to the first NUL are the file, those after it a text.
void run(const char* name, const std::string& input) {
  const std::size_t end = input.find('\0');
  const std::string text = end == std::string::npos ? "a <s>\xFF 12 b" : input.substr(end + 1);
  try {
    const auto tokenizer = spqr::load_tokenizer({{name, input.substr(0, end)}});
    for (const bool special : {false, true}) {
      const auto ids = tokenizer->encode(text, {.add_special = special, .parse_special = special});
      spqr::StreamDecoder decoder(*tokenizer, special);
      for (const std::int32_t id : ids) decoder.push(id);
      tokenizer->decode(ids, special);
    }
  } catch (const std::runtime_error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  run("tokenizer.json", input);
  run("gguf_tokenizer.json", input);
  return 0;
}
