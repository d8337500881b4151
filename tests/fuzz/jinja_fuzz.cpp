// Chat templates: any source is refused with a sentence or writes text, within its limits.
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>

#include "tokenizer/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto chat = spqr::ChatTemplate::parse({reinterpret_cast<const char*>(data), size}, {"<s>", "</s>"});
    chat.render(std::vector<spqr::ChatMessage>{{spqr::ChatRole::system, "Be brief."},
                                               {spqr::ChatRole::user, ""},
                                               {spqr::ChatRole::assistant, "<think>a</think> b"},
                                               {spqr::ChatRole::user, "c"}});
  } catch (const std::runtime_error&) {
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
