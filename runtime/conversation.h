// A conversation with a model. What the session's cache holds of it is never evaluated again: a new turn
// costs its own tokens, and going back is a rewind.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/generate.h"
#include "runtime/session.h"
#include "tokenizer/chat_template.h"

namespace spqr {

struct Answer {
  GenerateResult generated;
  std::int64_t turns_dropped = 0;  // the oldest, for which the context had no room
};

class Conversation {
 public:
  // Texts are made valid UTF-8 (U+FFFD for what is not) wherever they come from: what is a message's and what
  // is the format's is known by bytes. The session outlives it and has a tokenizer. An empty system message
  // is none; of another one all methods that take it throw std::invalid_argument where the template does not
  // write it.
  Conversation(Session& session, ChatTemplate format, std::string system);

  // Says `text` and generates the answer; interrupted before its first token, the turn is forgotten. Where
  // the context is full the oldest turns leave, the system message stays. Throws std::runtime_error where the
  // message alone is too long; the conversation is then as it was before.
  Answer say(std::string text, Sampler& sampler, const GenerateOptions& options,
             const GenerateCallbacks& callbacks);
  // The last answer anew; interrupted before its first token, the old one stays. Throws std::runtime_error
  // where there is none.
  Answer regenerate(Sampler& sampler, const GenerateOptions& options, const GenerateCallbacks& callbacks);
  // Forgets the last message and its answer; false: there is none. Where the model knows none before it, it
  // gets to know again what there is room for.
  bool undo();
  void reset();
  // The session's cache, which undone turns stay in until other text takes their place, forgets them.
  void forget_undone();

  void set_system(std::string text);
  const std::string& system() const { return system_; }
  // The system message if there is one, then user and assistant in turns: all of them, those for which the
  // context had no room too.
  std::vector<ChatMessage> messages() const { return messages_from(0); }
  // Tokens that the next message finds before it, as far as the context goes.
  std::int64_t length();
  // Throws std::invalid_argument where the messages are not like that, answers included.
  void restore(std::span<const ChatMessage> messages);

 private:
  // From the end of the answer before to the start of this one; `typed` are the parts that come from
  // messages.
  struct Prompt {
    std::string text;
    std::vector<TextRange> typed;
    bool operator==(const Prompt&) const = default;
  };
  struct Turn {
    std::string user{};
    std::string answer{};  // without what the template has in front of it
    Prompt prompt{};       // that prompt_ids stand for
    std::vector<std::int32_t> prompt_ids{};
    std::string encoded_answer{};  // that answer_ids stand for: as the template writes it
    std::vector<std::int32_t> answer_ids{};
  };

  std::vector<ChatMessage> messages_from(std::size_t turn) const;
  // Answers what the user says as turn number `place`, the last; where nothing comes of it all is as before.
  Answer answer_at(std::size_t place, std::string user, Sampler& sampler, const GenerateOptions& options,
                   const GenerateCallbacks& callbacks);
  Answer answer_last(Sampler& sampler, GenerateOptions options, GenerateCallbacks callbacks);
  // Brings the ids of the turns that the model knows up to the template's text of the conversation; what has
  // not changed keeps the ids that it has. pending: the last answer is yet to come.
  void encode_turns(bool pending);
  void encode_prompt(Turn& turn, const RenderedChat& chat, TextRange range) const;
  // Ids of an answer that the model did not give, or not as it stands now, and of what leads in to it.
  std::vector<std::int32_t> encode_answer(const std::string& content, bool leads) const;
  // What the model said, as the content of a message.
  std::string content_of(const GenerateResult& generated) const;
  // Makes the format's end of an answer end this one.
  void add_end(GenerateOptions& options) const;
  // All that the answer `generated` of the last turn follows, and it.
  std::vector<std::int32_t> sequence(std::span<const std::int32_t> generated) const;
  // Makes the model forget the oldest turns until sequence(generated) leaves room for `room` more; false: the
  // last turn alone does not. Counts what it forgets.
  bool make_room(std::span<const std::int32_t> generated, std::int64_t room, std::int64_t& dropped);

  Session& session_;
  ChatTemplate format_;
  std::string system_;
  std::vector<Turn> turns_;
  std::size_t first_known_ = 0;  // of the turns; for those before it the context had no room
};

}  // namespace spqr
