// A conversation at a terminal, or line by line from a pipe.
#pragma once

#include <string>

#include "runtime/conversation.h"
#include "runtime/sampler.h"

namespace spqr {

struct ChatOptions {
  std::string first_message{};  // empty: the person begins
  bool single_turn = false;     // it ends after the first answer
  SamplerOptions sampling{};
  GenerateOptions generating{};
};

// Talks until the person leaves; answers go to standard output, all else to standard error. Returns the exit
// status: 130 where a second Ctrl-C in a row ended it, 128 + N where signal N did, 1 where a message from a
// pipe was refused. Throws std::runtime_error where answers cannot be written.
int run_chat(Session& session, Conversation& conversation, const ChatOptions& options);

}  // namespace spqr
