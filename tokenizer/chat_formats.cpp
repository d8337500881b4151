#include "tokenizer/chat_formats.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <stdexcept>
#include <string>
#include <utility>

#include "tokenizer/jinja_literals.h"

namespace spqr {
namespace {

constexpr const char* kVicunaSystem =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite "
    "answers to the user's questions.";
constexpr const char* kAlpacaSystem =
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.";

ChatFormat turns(std::string name, const char* before, const char* after, const char* end) {
  const auto begin_of = [&](const char* role) { return std::string(before) + role + after; };
  return {.name = std::move(name),
          .before_system = begin_of("system"),
          .after_system = end,
          .before_user = begin_of("user"),
          .after_user = end,
          .before_assistant = begin_of("assistant"),
          .after_assistant = end,
          .invitation = begin_of("assistant")};
}

ChatFormat chatml() {
  return turns("chatml", "<|im_start|>", "\n", "<|im_end|>\n");
}

ChatFormat llama2(const ChatTokens& tokens) {
  return {.name = "llama-2",
          .before_system = "<<SYS>>\n",
          .after_system = "\n<</SYS>>\n\n",
          .before_user = tokens.bos + "[INST] ",
          .after_user = " [/INST]",
          .before_assistant = " ",
          .after_assistant = " " + tokens.eos,
          .system_in_user = true,
          .trim = true};
}

ChatFormat llama3(const ChatTokens& tokens) {
  ChatFormat format = turns("llama-3", "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>");
  format.begin = tokens.bos;
  format.trim = true;
  return format;
}

ChatFormat mistral(const ChatTokens& tokens) {
  return {.name = "mistral",
          .begin = tokens.bos,
          .after_system = "\n\n",
          .before_user = "[INST] ",
          .after_user = " [/INST]",
          .after_assistant = tokens.eos,
          .system_in_user = true};
}

ChatFormat zephyr(const ChatTokens& tokens) {
  const std::string end = tokens.eos + "\n";
  return {.name = "zephyr",
          .before_system = "<|system|>\n",
          .after_system = end,
          .before_user = "<|user|>\n",
          .after_user = end,
          .before_assistant = "<|assistant|>\n",
          .after_assistant = end,
          .invitation = "<|assistant|>\n"};
}

ChatFormat falcon() {
  return {.name = "falcon",
          .before_system = "System: ",
          .after_system = "\n",
          .before_user = "User: ",
          .after_user = "\n",
          .before_assistant = "Falcon: ",
          .after_assistant = "\n",
          .invitation = "Falcon:"};
}

ChatFormat vicuna(const ChatTokens& tokens) {
  return {.name = "vicuna",
          .begin = tokens.bos,
          .after_system = " ",
          .before_user = "USER: ",
          .after_user = " ",
          .before_assistant = "ASSISTANT: ",
          .after_assistant = tokens.eos,
          .invitation = "ASSISTANT:",
          .default_system = kVicunaSystem};
}

ChatFormat alpaca(const ChatTokens& tokens) {
  return {.name = "alpaca",
          .begin = tokens.bos,
          .after_system = "\n\n",
          .before_user = "### Instruction:\n",
          .after_user = "\n\n",
          .before_assistant = "### Response:\n",
          .after_assistant = tokens.eos + "\n\n",
          .invitation = "### Response:\n",
          .default_system = kAlpacaSystem};
}

}  // namespace

std::vector<ChatFormat> chat_formats(const ChatTokens& tokens) {
  return {chatml(),       llama2(tokens), llama3(tokens), mistral(tokens),
          zephyr(tokens), falcon(),       vicuna(tokens), alpaca(tokens)};
}

}  // namespace spqr
