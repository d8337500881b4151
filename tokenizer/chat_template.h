// A conversation as the text a model was trained on. Models carry a Jinja template for this; the formats that
// are in use are built in and recognised by that template's text. What is not recognised for certain is
// refused, never guessed.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace spqr {

enum class ChatRole : unsigned char { system, user, assistant };
std::string_view name_of(ChatRole role);

struct ChatMessage {
  ChatRole role = ChatRole::user;
  std::string content;
};

// `contents` are the parts that come from messages, in order: special tokens written there are plain text.
struct RenderedChat {
  std::string text;
  std::vector<TextRange> contents;
};

// Texts of the tokenizer's tokens; empty: it has none.
struct ChatTokens {
  std::string bos;
  std::string eos;
};

// What a format writes around the contents.
struct ChatFormat {
  std::string name{};
  std::string begin{};  // of the whole text
  std::string before_system{}, after_system{};
  std::string before_user{}, after_user{};
  std::string before_assistant{}, after_assistant{};
  std::string invitation{};      // to an answer, behind the user's last message
  std::string default_system{};  // said where a conversation has no system message
  bool always_system = false;    // also where there is nothing to say
  bool system_in_user = false;   // inside the first user message, behind before_user
  bool trim = false;             // contents lose the white space around them
};

class ChatTemplate {
 public:
  // "chatml", "llama-2", "llama-3", "mistral", "zephyr", "falcon", "vicuna" or "alpaca". Throws
  // std::invalid_argument for another name.
  static ChatTemplate named(std::string_view name, const ChatTokens& tokens);
  static std::vector<std::string> names();
  // The built-in format that the Jinja template `source` writes. Throws std::runtime_error with a sentence
  // where it is none.
  static ChatTemplate detect(std::string_view source, const ChatTokens& tokens);

  const std::string& name() const { return format_.name; }
  // The conversation, and what invites the next answer if its last message is the user's.   Throws
  // std::invalid_argument where the messages are not: perhaps one system, then user and assistant in turns.
  RenderedChat render(std::span<const ChatMessage> messages) const;
  // What ends an answer where the model says no end of text; without white space around it, may be empty.
  std::string end_of_answer() const;

 private:
  explicit ChatTemplate(ChatFormat format) : format_(std::move(format)) {}
  ChatFormat format_;
};

}  // namespace spqr
