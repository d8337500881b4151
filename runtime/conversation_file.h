// Conversations as files: a JSON array of {"role": "system" | "user" | "assistant", "content": TEXT}, the
// form in which Hugging Face's chat templates and OpenAI's interface have messages.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "tokenizer/chat_template.h"

namespace spqr {

// Replaces the file, which only its owner can read, when all of it is written. Throws std::runtime_error
// naming it.
void write_conversation(const std::filesystem::path& path, std::span<const ChatMessage> messages);
// Throws std::runtime_error naming the file for anything else than such an array.
std::vector<ChatMessage> read_conversation(const std::filesystem::path& path);

}  // namespace spqr
