#include "runtime/conversation.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "tokenizer/utf8.h"

namespace spqr {
namespace {

// Where the oldest turns leave, they leave this part of the context free: making room costs an evaluation of
// what stays.
constexpr std::int64_t kFreedPart = 4;
// A new message finds at least this part free for its answer.
constexpr std::int64_t kAnswerPart = 8;

bool nothing_came(const Answer& answer) {
  return answer.generated.reason == FinishReason::interrupted && answer.generated.ids.empty();
}

// Hands text on without the lead-in at its beginning.
class WithoutLeadIn {
 public:
  WithoutLeadIn(std::string lead_in, std::function<bool(std::string_view)> next)
      : lead_in_(std::move(lead_in)), next_(std::move(next)) {}

  bool operator()(std::string_view text) {
    if (began_) return next_(text);
    held_ += text;
    if (held_.size() < lead_in_.size() && lead_in_.starts_with(held_)) return true;
    began_ = true;
    if (held_.starts_with(lead_in_)) held_.erase(0, lead_in_.size());
    return held_.empty() || next_(held_);
  }

 private:
  std::string lead_in_;
  std::function<bool(std::string_view)> next_;
  std::string held_;
  bool began_ = false;
};

}  // namespace

Conversation::Conversation(Session& session, ChatTemplate format, std::string system)
    : session_(session), format_(std::move(format)) {
  set_system(std::move(system));
}

void Conversation::set_system(std::string text) {
  if (!text.empty() && !format_.no_system().empty()) throw std::invalid_argument(format_.no_system());
  system_ = repair_utf8(text);
}

std::vector<ChatMessage> Conversation::messages_from(std::size_t turn) const {
  std::vector<ChatMessage> messages;
  if (!system_.empty()) messages.push_back({ChatRole::system, system_});
  for (; turn < turns_.size(); ++turn) {
    messages.push_back({ChatRole::user, turns_[turn].user});
    messages.push_back({ChatRole::assistant, turns_[turn].answer});
  }
  return messages;
}

std::int64_t Conversation::length() {
  if (turns_.empty()) return 0;
  encode_turns(false);
  return std::min(static_cast<std::int64_t>(sequence({}).size()), session_.context());
}

void Conversation::restore(std::span<const ChatMessage> messages) {
  static_cast<void>(format_.render(messages));  // checks the order
  if (!messages.empty() && messages.back().role == ChatRole::user)
    throw std::invalid_argument("the last message has no answer");
  const bool has_system = !messages.empty() && messages.front().role == ChatRole::system;
  set_system(has_system ? messages.front().content : "");
  reset();
  for (std::size_t i = has_system ? 1 : 0; i + 1 < messages.size(); i += 2) {
    turns_.push_back(
        {.user = repair_utf8(messages[i].content), .answer = repair_utf8(messages[i + 1].content)});
  }
  encode_turns(false);
}

bool Conversation::undo() {
  if (turns_.empty()) return false;
  turns_.pop_back();
  if (first_known_ == turns_.size()) first_known_ = 0;
  return true;
}

void Conversation::reset() {
  turns_.clear();
  first_known_ = 0;
}

void Conversation::forget_undone() {
  const bool empty = turns_.empty();
  if (empty) turns_.emplace_back();
  encode_turns(empty);  // the system message stays
  session_.rewind_to(sequence({}));
  if (empty) turns_.clear();
}

Answer Conversation::say(std::string text, Sampler& sampler, const GenerateOptions& options,
                         const GenerateCallbacks& callbacks) {
  return answer_at(turns_.size(), repair_utf8(text), sampler, options, callbacks);
}

Answer Conversation::regenerate(Sampler& sampler, const GenerateOptions& options,
                                const GenerateCallbacks& callbacks) {
  if (turns_.empty()) throw std::runtime_error("there is no answer yet");
  return answer_at(turns_.size() - 1, turns_.back().user, sampler, options, callbacks);
}

Answer Conversation::answer_at(std::size_t place, std::string user, Sampler& sampler,
                               const GenerateOptions& options, const GenerateCallbacks& callbacks) {
  const auto before = std::pair(turns_, first_known_);
  try {
    turns_.resize(place);
    turns_.push_back({.user = std::move(user)});
    Answer answer = answer_last(sampler, options, callbacks);
    if (nothing_came(answer)) std::tie(turns_, first_known_) = before;
    return answer;
  } catch (...) {
    std::tie(turns_, first_known_) = before;
    throw;
  }
}

Answer Conversation::answer_last(Sampler& sampler, GenerateOptions options, GenerateCallbacks callbacks) {
  Answer answer;
  encode_turns(true);
  if (!make_room({}, session_.context() / kAnswerPart, answer.turns_dropped)) {
    const auto length = static_cast<std::int64_t>(sequence({}).size());
    if (length >= session_.context())
      throw std::runtime_error(fmt::format(
          "the message makes {} tokens with what stands before it, the context has {}; -c makes it larger",
          length, session_.context()));
  }
  add_end(options);
  if (callbacks.text) callbacks.text = WithoutLeadIn(format_.lead_in(), std::move(callbacks.text));
  options.context_shift = false;  // it would tear messages apart
  callbacks.make_room = [&](std::span<const std::int32_t> generated) {
    const std::int64_t before = answer.turns_dropped;
    const bool room = make_room(generated, 1, answer.turns_dropped);
    return room && answer.turns_dropped > before ? sequence(generated) : std::vector<std::int32_t>();
  };
  const std::vector<std::int32_t> ids = sequence({});
  answer.generated = generate(session_, sampler, session_.rewind_to(ids), options, callbacks);
  Turn& turn = turns_.back();
  turn.answer = content_of(answer.generated);
  // Tokens that reach into what ended the answer do not belong to it.
  turn.encoded_answer = turn.answer;
  turn.answer_ids =
      answer.generated.reason == FinishReason::stop ? encode_answer(turn.answer, true) : answer.generated.ids;
  return answer;
}

void Conversation::encode_turns(bool pending) {
  std::vector<ChatMessage> said = messages_from(first_known_);
  if (pending) said.pop_back();  // the answer to come
  const RenderedChat chat = format_.render(said);
  const std::size_t first_answer = system_.empty() ? 1 : 2;
  std::size_t start = 0;
  for (std::size_t i = first_known_; i < turns_.size(); ++i) {
    Turn& turn = turns_[i];
    const std::size_t message = first_answer + 2 * (i - first_known_);
    if (message >= said.size()) {
      encode_prompt(turn, chat, {start, chat.text.size()});
      return;
    }
    const ChatContent* answer = chat.find(message);
    if (answer == nullptr || answer->range.begin < start)
      throw std::runtime_error("the chat template does not write every answer once and in order");
    const auto [begin, end] = answer->range;
    const std::string& lead_in = format_.lead_in();
    const bool leads = std::string_view(chat.text).substr(start, begin - start).ends_with(lead_in);
    encode_prompt(turn, chat, {start, leads ? begin - lead_in.size() : begin});
    const std::string content = chat.text.substr(begin, end - begin);
    if (content != turn.encoded_answer) {
      turn.answer_ids = encode_answer(content, leads);
      turn.encoded_answer = content;
    }
    start = end;
  }
}

void Conversation::encode_prompt(Turn& turn, const RenderedChat& chat, TextRange range) const {
  Prompt prompt{chat.text.substr(range.begin, range.end - range.begin), {}};
  for (const ChatContent& content : chat.contents) {
    const TextRange typed{std::max(content.range.begin, range.begin), std::min(content.range.end, range.end)};
    if (typed.begin < typed.end) prompt.typed.push_back({typed.begin - range.begin, typed.end - range.begin});
  }
  if (prompt == turn.prompt) return;
  turn.prompt_ids = session_.tokenizer()->encode(
      prompt.text,
      {.add_special = false, .parse_special = true, .typed = prompt.typed, .continues = range.begin > 0});
  turn.prompt = std::move(prompt);
}

std::vector<std::int32_t> Conversation::encode_answer(const std::string& content, bool leads) const {
  const std::string lead_in = leads ? format_.lead_in() : "";
  const TextRange typed{lead_in.size(), lead_in.size() + content.size()};
  return session_.tokenizer()->encode(
      lead_in + content,
      {.add_special = false, .parse_special = true, .typed = {&typed, 1}, .continues = true});
}

std::string Conversation::content_of(const GenerateResult& generated) const {
  std::string_view text = generated.text;
  if (text.starts_with(format_.lead_in())) text.remove_prefix(format_.lead_in().size());
  // What a format has between an answer and the text that ends it is the format's.
  if (generated.reason == FinishReason::stop) text = text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
  return std::string(text);
}

void Conversation::add_end(GenerateOptions& options) const {
  const std::string end = format_.end_of_answer();
  if (end.empty()) return;
  const Tokenizer& tokenizer = *session_.tokenizer();
  const std::vector<std::int32_t> ids =
      tokenizer.encode(end, {.add_special = false, .parse_special = true, .continues = true});
  if (ids.size() == 1 && tokenizer.piece(ids.front(), false).empty()) {
    options.end.push_back(ids.front());
  } else {
    options.stop.push_back(end);
  }
}

std::vector<std::int32_t> Conversation::sequence(std::span<const std::int32_t> generated) const {
  std::vector<std::int32_t> ids;
  for (const Turn& turn : std::span(turns_).subspan(first_known_)) {
    ids.insert(ids.end(), turn.prompt_ids.begin(), turn.prompt_ids.end());
    ids.insert(ids.end(), turn.answer_ids.begin(), turn.answer_ids.end());
  }
  ids.insert(ids.end(), generated.begin(), generated.end());
  return ids;
}

bool Conversation::make_room(std::span<const std::int32_t> generated, std::int64_t room,
                             std::int64_t& dropped) {
  const std::int64_t context = session_.context();
  auto length = static_cast<std::int64_t>(sequence(generated).size());
  if (length + room <= context) return true;
  while (length > context - context / kFreedPart && turns_.size() - first_known_ > 1) {
    ++first_known_;
    encode_turns(true);
    ++dropped;
    length = static_cast<std::int64_t>(sequence(generated).size());
  }
  return length + room <= context;
}

}  // namespace spqr
