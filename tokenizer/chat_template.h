// A conversation as the text a model was trained on: what its Jinja template writes (tokenizer/jinja).
// A template that cannot be run exactly is refused, never guessed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/text_range.h"

namespace spqr {

class Tokenizer;

enum class ChatRole : unsigned char { system, user, assistant };
std::string_view name_of(ChatRole role);

struct ChatMessage {
  ChatRole role = ChatRole::user;
  std::string content;
};

// Bytes of a rendered text that come from message number `message`.
struct ChatContent {
  TextRange range;
  std::size_t message = 0;
};

// `contents` are the parts that come from messages, in order of their places: special tokens written there
// are plain text. An empty content is an empty range where the template would write one.
struct RenderedChat {
  std::string text;
  std::vector<ChatContent> contents;

  // The one place of message `index`; null: it has none, or several.
  const ChatContent* find(std::size_t index) const;
};

// Texts of the tokenizer's tokens; empty: it has none.
struct ChatTokens {
  std::string bos{};
  std::string eos{};
  std::string unk{};
  std::string pad{};
};
// model_ends: the ends of text of the model's configuration, whose first counts where the tokenizer's files
// name none.
ChatTokens chat_tokens(const Tokenizer& tokenizer, std::span<const std::int32_t> model_ends);

class ChatTemplate {
 public:
  // "chatml", "llama-2", "llama-3", "mistral", "zephyr", "falcon", "vicuna" or "alpaca". Throws
  // std::invalid_argument for another name.
  static ChatTemplate named(std::string_view name, const ChatTokens& tokens);
  static std::vector<std::string> names();
  // Of a Jinja source, tried on a small conversation. Throws std::runtime_error with a sentence where it
  // cannot be run.
  static ChatTemplate parse(std::string_view source, const ChatTokens& tokens);

  // The conversation, and what invites the next answer if its last message is the user's.   Throws
  // std::invalid_argument where the messages are not: perhaps one system, then user and assistant in turns,
  // or where the template says that it does not take them; std::runtime_error where it fails.
  RenderedChat render(std::span<const ChatMessage> messages) const;

  // What stands between the invitation and an answer's content.
  const std::string& lead_in() const { return lead_in_; }
  // Why a system message has no effect, as a sentence; empty: the template writes it.
  const std::string& no_system() const { return no_system_; }
  // What ends an answer where the model says no end of text; without white space around it, may be empty.
  const std::string& end_of_answer() const { return end_of_answer_; }

 private:
  struct Program;

  ChatTemplate(std::string_view source, const ChatTokens& tokens);
  RenderedChat run(std::span<const ChatMessage> messages) const;
  void try_out();
  void try_system();

  std::shared_ptr<const Program> program_;
  std::string lead_in_;
  std::string end_of_answer_;
  std::string no_system_;
};

}  // namespace spqr
