#include "tokenizer/chat_template.h"

#include <fmt/format.h>

#include <stdexcept>
#include <utility>

#include "tokenizer/chat_formats.h"

namespace spqr {
namespace {

constexpr std::string_view kSpace = " \t\r\n\v\f";

std::string_view trimmed_right(std::string_view text) {
  const std::size_t last = text.find_last_not_of(kSpace);
  return last == std::string_view::npos ? std::string_view() : text.substr(0, last + 1);
}

std::string_view trimmed(std::string_view text) {
  text = trimmed_right(text);
  return text.substr(std::min(text.find_first_not_of(kSpace), text.size()));
}

void check_turns(std::span<const ChatMessage> messages) {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role == ChatRole::system && i > 0)
      throw std::invalid_argument("only the first message can be the system's");
    const bool starts = i == 0 || messages[i - 1].role == ChatRole::system;
    if (starts ? messages[i].role == ChatRole::assistant : messages[i].role == messages[i - 1].role)
      throw std::invalid_argument("user and assistant have to take turns, the user first");
  }
}

class Rendering {
 public:
  explicit Rendering(const ChatFormat& format) : format_(format) { out_.text = format.begin; }

  void system(std::string_view content) {
    out_.text += format_.before_system;
    add(format_.trim && !format_.system_in_user ? trimmed(content) : content);
    out_.text += format_.after_system;
  }
  // system: what stands inside this message; null: nothing.
  void user(std::string_view content, const std::string* inside) {
    out_.text += format_.before_user;
    if (inside != nullptr) system(*inside);
    add(!format_.trim ? content : (inside != nullptr ? trimmed_right(content) : trimmed(content)));
    out_.text += format_.after_user;
  }
  void assistant(std::string_view content) {
    out_.text += format_.before_assistant;
    add(format_.trim ? trimmed(content) : content);
    out_.text += format_.after_assistant;
  }
  RenderedChat finish(bool invite) {
    if (invite) out_.text += format_.invitation;
    return std::move(out_);
  }

 private:
  void add(std::string_view content) {
    out_.contents.push_back({out_.text.size(), out_.text.size() + content.size()});
    out_.text += content;
  }

  const ChatFormat& format_;
  RenderedChat out_;
};

}  // namespace

std::string_view name_of(ChatRole role) {
  switch (role) {
    case ChatRole::system:
      return "system";
    case ChatRole::user:
      return "user";
    case ChatRole::assistant:
      return "assistant";
  }
  return "?";
}

ChatTemplate ChatTemplate::named(std::string_view name, const ChatTokens& tokens) {
  for (ChatFormat& format : chat_formats(tokens)) {
    if (format.name == name) return ChatTemplate(std::move(format));
  }
  throw std::invalid_argument(
      fmt::format("there is no chat template '{}'; there are {}", name, fmt::join(names(), ", ")));
}

std::vector<std::string> ChatTemplate::names() {
  std::vector<std::string> names;
  for (const ChatFormat& format : chat_formats({})) names.push_back(format.name);
  return names;
}

ChatTemplate ChatTemplate::detect(std::string_view source, const ChatTokens& tokens) {
  return ChatTemplate(detect_chat_format(source, tokens));
}

std::string ChatTemplate::end_of_answer() const {
  const std::string_view end = trimmed(format_.after_assistant);
  return std::string(end.empty() ? trimmed(format_.before_user) : end);
}

RenderedChat ChatTemplate::render(std::span<const ChatMessage> messages) const {
  check_turns(messages);
  Rendering rendering(format_);
  const bool has_system = !messages.empty() && messages.front().role == ChatRole::system;
  const std::string system = has_system ? messages.front().content : format_.default_system;
  const bool say_system = has_system || !system.empty() || format_.always_system;
  if (say_system && !format_.system_in_user) rendering.system(system);
  bool first_user = true;
  for (const ChatMessage& message : messages.subspan(has_system ? 1 : 0)) {
    if (message.role == ChatRole::assistant) {
      rendering.assistant(message.content);
      continue;
    }
    rendering.user(message.content, first_user && say_system && format_.system_in_user ? &system : nullptr);
    first_user = false;
  }
  return rendering.finish(!messages.empty() && messages.back().role == ChatRole::user);
}

}  // namespace spqr
