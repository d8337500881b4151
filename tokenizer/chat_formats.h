// The chat formats that are built in, and how a Jinja template tells which of them it writes.
#pragma once

#include <string_view>
#include <vector>

#include "tokenizer/chat_template.h"

namespace spqr {

std::vector<ChatFormat> chat_formats(const ChatTokens& tokens);

// Throws std::runtime_error with a sentence for what is none of them.
ChatFormat detect_chat_format(std::string_view source, const ChatTokens& tokens);

}  // namespace spqr
