// The chat templates that are built in, for models that carry none.
#pragma once

#include <array>

namespace spqr {

struct ChatFormat {
  const char* name;
  const char* source;  // Jinja
};

extern const std::array<ChatFormat, 8> kChatFormats;

}  // namespace spqr
