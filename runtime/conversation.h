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
  // is none.
  Conversation(Session& session, ChatTemplate format, std::string system);

  // Says `text` and generates the answer; interrupted before its first token, the turn is forgotten. Where
  // the context is full the oldest turns leave, the system message stays. Throws std::runtime_error where the
  // message alone is too long; the conversation is then as it was before.
  Answer say(std::string text, Sampler& sampler, const GenerateOptions& options,
             const GenerateCallbacks& callbacks);
  // The last answer anew; interrupted before its first token, the old one stays. Throws std::runtime_error
  // where there is none.
  Answer regenerate(Sampler& sampler, const GenerateOptions& options, const GenerateCallbacks& callbacks);
  // Forgets the last message and its answer; false: there is none.
  bool undo();
  void reset() { turns_.clear(); }
  // The session's cache, which undone turns stay in until other text takes their place, forgets them.
  void forget_undone();

  void set_system(std::string text);
  const std::string& system() const { return system_; }
  // The system message if there is one, then user and assistant in turns.
  std::vector<ChatMessage> messages() const;
  // Throws std::invalid_argument where the messages are not like that, answers included.
  void restore(std::span<const ChatMessage> messages);

 private:
  struct Turn {
    std::string user;
    std::string answer{};                    // without lead_in_
    std::vector<std::int32_t> prompt_ids{};  // from the end of the answer before to the start of this one
    std::vector<std::int32_t> answer_ids{};
  };

  Answer answer_last(Sampler& sampler, GenerateOptions options, GenerateCallbacks callbacks);
  // Ids of a turn's part before its answer.
  std::vector<std::int32_t> encode_prompt(std::size_t turn) const;
  // Ids of an answer that the model did not give, or not as it stands now.
  std::vector<std::int32_t> encode_answer(const std::string& content) const;
  // What the model said, as the content of a message.
  std::string content_of(const GenerateResult& generated) const;
  // Makes the format's end of an answer end this one.
  void add_end(GenerateOptions& options) const;
  // All that the answer `generated` of the last turn follows, and it.
  std::vector<std::int32_t> sequence(std::span<const std::int32_t> generated) const;
  // Forgets the oldest turns until sequence(generated) leaves room for `room` more; false: the last turn
  // alone does not. Counts what it forgets.
  bool make_room(std::span<const std::int32_t> generated, std::int64_t room, std::int64_t& dropped);

  Session& session_;
  ChatTemplate format_;
  std::string lead_in_;  // that the format has between its invitation and an answer: the model says it
  std::string system_;
  std::vector<Turn> turns_;
};

}  // namespace spqr
