#include "tokenizer/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "tokenizer/chat_formats.h"
#include "tokenizer/jinja/evaluator.h"
#include "tokenizer/jinja/parser.h"
#include "tokenizer/tokenizer.h"

namespace spqr {
namespace {

using jinja::Text;
using jinja::Value;

// Stands for contents that are empty, so that they have a place: a private character that nobody writes.
constexpr std::string_view kPlaceholder = "\xF4\x8F\xBF\xBD";  // U+10FFFD

std::string trimmed(std::string_view text) {
  return jinja::strip_left(jinja::strip_right(Text(std::string(text)))).bytes();
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

Value value_of(std::span<const ChatMessage> messages) {
  std::vector<Value> list;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    list.push_back(jinja::make_dict({{"role", Text(std::string(name_of(messages[i].role)))},
                                     {"content", Text::of_message(messages[i].content, i)}}));
  }
  return jinja::make_list(std::move(list));
}

// The text without its placeholders, and where they were.
RenderedChat without_placeholders(const RenderedChat& chat) {
  RenderedChat result;
  std::size_t copied = 0;
  const auto copy_to = [&](std::size_t end) {
    result.text += chat.text.substr(copied, end - copied);
    copied = end;
  };
  for (const ChatContent& content : chat.contents) {
    copy_to(content.range.begin);
    const std::size_t begin = result.text.size();
    if (chat.text.compare(content.range.begin, content.range.end - content.range.begin, kPlaceholder) == 0) {
      copied = content.range.end;
    } else {
      copy_to(content.range.end);
    }
    result.contents.push_back({{begin, result.text.size()}, content.message});
  }
  copy_to(chat.text.size());
  return result;
}

}  // namespace

struct ChatTemplate::Program {
  jinja::Body body;
  std::map<std::string, Value> variables;
};

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

const ChatContent* RenderedChat::find(std::size_t index) const {
  const auto is_it = [&](const ChatContent& content) { return content.message == index; };
  const auto found = std::find_if(contents.begin(), contents.end(), is_it);
  if (found == contents.end() || std::find_if(found + 1, contents.end(), is_it) != contents.end())
    return nullptr;
  return &*found;
}

ChatTokens chat_tokens(const Tokenizer& tokenizer, std::span<const std::int32_t> model_ends) {
  const RoleTokens& roles = tokenizer.roles();
  const std::int32_t eos = roles.eos < 0 && !model_ends.empty() ? model_ends.front() : roles.eos;
  return {.bos = tokenizer.piece(roles.bos, true),
          .eos = tokenizer.piece(eos, true),
          .unk = tokenizer.piece(roles.unk, true),
          .pad = tokenizer.piece(roles.pad, true)};
}

ChatTemplate ChatTemplate::named(std::string_view name, const ChatTokens& tokens) {
  for (const ChatFormat& format : kChatFormats) {
    if (format.name == name) return {format.source, tokens};
  }
  throw std::invalid_argument(
      fmt::format("there is no chat template '{}'; there are {}", name, fmt::join(names(), ", ")));
}

std::vector<std::string> ChatTemplate::names() {
  std::vector<std::string> names;
  for (const ChatFormat& format : kChatFormats) names.emplace_back(format.name);
  return names;
}

ChatTemplate ChatTemplate::parse(std::string_view source, const ChatTokens& tokens) {
  const auto refused = [](const std::string& why) {
    return std::runtime_error(fmt::format(
        "the chat template cannot be run: {}; name a built-in one that the model was trained with by "
        "--chat-template ({})",
        why, fmt::join(names(), ", ")));
  };
  try {
    return {source, tokens};
  } catch (const jinja::Unsupported& error) {
    throw refused(error.what());
  } catch (const jinja::Refused& error) {
    throw refused(error.what());
  }
}

ChatTemplate::ChatTemplate(std::string_view source, const ChatTokens& tokens)
    : program_(std::make_shared<const Program>(Program{jinja::parse(source),
                                                       {{"bos_token", tokens.bos},
                                                        {"eos_token", tokens.eos},
                                                        {"unk_token", tokens.unk},
                                                        {"pad_token", tokens.pad},
                                                        {"tools", jinja::None()},
                                                        {"documents", jinja::None()}}})) {
  try_out();
  try_system();
}

// Learns from the text of small conversations what stands around answers.
void ChatTemplate::try_out() {
  const std::vector<ChatMessage> messages{
      {ChatRole::user, "u"}, {ChatRole::assistant, "a"}, {ChatRole::user, "v"}};
  const RenderedChat invited = run(std::span(messages).first(1));
  const RenderedChat answered = run(std::span(messages).first(2));
  const RenderedChat asked = run(messages);
  const ChatContent* answer = answered.find(1);
  const ChatContent* earlier = asked.find(1);
  const ChatContent* next = asked.find(2);
  if (invited.find(0) == nullptr || answer == nullptr || earlier == nullptr || next == nullptr ||
      earlier->range.end > next->range.begin)
    throw jinja::Unsupported("it does not write every message once and in order");
  if (answered.text.starts_with(invited.text))
    lead_in_ = answered.text.substr(invited.text.size(), answer->range.begin - invited.text.size());
  end_of_answer_ = trimmed(answered.text.substr(answer->range.end));
  if (end_of_answer_.empty())
    end_of_answer_ = trimmed(asked.text.substr(earlier->range.end, next->range.begin - earlier->range.end));
}

void ChatTemplate::try_system() {
  const std::vector<ChatMessage> messages{{ChatRole::system, "s"}, {ChatRole::user, "u"}};
  try {
    const RenderedChat chat = run(messages);
    const auto is_system = [](const ChatContent& content) { return content.message == 0; };
    if (std::ranges::none_of(chat.contents, is_system))
      no_system_ = "the chat template does not write system messages: the model would not see it";
  } catch (const jinja::Refused& error) {
    no_system_ = fmt::format("the chat template takes no system message: {}", error.what());
  } catch (const jinja::Unsupported& error) {
    no_system_ = fmt::format("the chat template cannot be run with a system message: {}", error.what());
  }
}

RenderedChat ChatTemplate::run(std::span<const ChatMessage> messages) const {
  std::map<std::string, Value> variables = program_->variables;
  variables["messages"] = value_of(messages);
  variables["add_generation_prompt"] = !messages.empty() && messages.back().role == ChatRole::user;
  const Text text = jinja::evaluate(program_->body, variables);
  RenderedChat chat{text.bytes(), {}};
  for (const jinja::Mark& mark : text.marks()) chat.contents.push_back({mark.range, mark.message});
  return chat;
}

RenderedChat ChatTemplate::render(std::span<const ChatMessage> messages) const {
  check_turns(messages);
  try {
    RenderedChat chat = run(messages);
    std::vector<ChatMessage> placed(messages.begin(), messages.end());
    bool any = false;
    for (ChatMessage& message : placed) {
      if (!message.content.empty()) continue;
      message.content = kPlaceholder;
      any = true;
    }
    if (!any) return chat;
    RenderedChat found = without_placeholders(run(placed));
    return found.text == chat.text ? found : chat;
  } catch (const jinja::Refused& error) {
    throw std::invalid_argument(
        fmt::format("the chat template does not take the conversation: {}", error.what()));
  } catch (const jinja::Unsupported& error) {
    throw std::runtime_error(fmt::format("the chat template cannot be run: {}", error.what()));
  }
}

}  // namespace spqr
