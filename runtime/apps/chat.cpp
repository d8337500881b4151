#include "runtime/apps/chat.h"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <optional>
#include <stdexcept>

#include "runtime/apps/command_line.h"
#include "runtime/apps/line_reader.h"
#include "runtime/apps/sampler_options.h"
#include "runtime/apps/timings.h"
#include "runtime/apps/typed_input.h"
#include "runtime/conversation_file.h"
#include "tokenizer/utf8.h"

namespace spqr {
namespace {

constexpr std::string_view kQuotes = "\"\"\"";

// Colour sequences; empty where there is to be no colour (no-color.org).
struct Style {
  std::string prompt{};
  std::string notice{};
  std::string plain{};
};

Style style_of(bool terminal) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* kind = std::getenv("TERM");
  const bool plain = !terminal || (no_color != nullptr && *no_color != '\0') || kind == nullptr ||
                     std::string_view(kind) == "dumb";
  return plain ? Style{} : Style{.prompt = "\033[1;32m", .notice = "\033[2m", .plain = "\033[0m"};
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

// "~/..." is a person's own folder, as in a shell.
std::filesystem::path file_named(const std::string& text) {
  const char* home = std::getenv("HOME");
  if (home == nullptr || !text.starts_with("~/")) return text;
  return std::filesystem::path(home) / text.substr(2);
}

class Chat {
 public:
  Chat(Session& session, Conversation& conversation, const ChatOptions& options)
      : session_(session),
        conversation_(conversation),
        sampling_(options.sampling),
        generating_(options.generating),
        sampler_(options.sampling),
        terminal_(isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1),
        style_(style_of(terminal_)),
        reader_(terminal_) {}

  int run(const ChatOptions& options);

 private:
  struct Command {
    std::string_view name;
    std::string_view argument;  // as the help shows it
    std::string_view help;
    void (Chat::*run)(const std::string& argument);
  };
  static const Command kCommands[];

  int talk(const ChatOptions& options);
  // The exit status where the process is to end, else 0. A terminal that is gone counts as the SIGHUP that
  // tells of it, which may come later.
  int ended() const {
    if (terminated() != 0) return terminated();
    return terminal_ && terminal_hung_up() ? 128 + SIGHUP : 0;
  }
  void say(const std::string& text);
  template <typename Ask>
  void answer(Ask ask);
  // Part of an answer; false: it cannot be written.
  bool show(std::string_view text);
  // A message of perhaps several lines, or a command.
  struct Input {
    std::string text{};
    bool quoted = false;  // a message, whatever it begins with
  };
  Typed read_message(Input& input);
  Typed read_line(bool continued, std::string& line);
  void command(std::string_view text);
  // What the program says, apart from answers.
  void notice(std::string_view text) const;

  void help(const std::string& argument);
  void system(const std::string& argument);
  void reset(const std::string& argument);
  void undo(const std::string& argument);
  void regenerate(const std::string& argument);
  void save(const std::string& argument);
  void load(const std::string& argument);
  void set(const std::string& argument);
  void stats(const std::string& argument);
  void quit(const std::string& argument);

  Session& session_;
  Conversation& conversation_;
  SamplerOptions sampling_;
  GenerateOptions generating_;
  Sampler sampler_;
  bool terminal_;
  Style style_;
  LineReader reader_;
  std::optional<GenerateResult> last_;  // the last answer's
  bool leaving_ = false;
  bool answered_ = false;  // a message, if only by a refusal
  bool refused_ = false;   // a message
  std::exception_ptr output_error_;
};

const Chat::Command Chat::kCommands[] = {
    {"/help", "", "this list", &Chat::help},
    {"/system", "[TEXT]", "show or change what the model is told before everything; \"\": nothing",
     &Chat::system},
    {"/reset", "", "forget the conversation, keep the system message", &Chat::reset},
    {"/undo", "", "forget the last message and its answer", &Chat::undo},
    {"/regen", "", "answer the last message again", &Chat::regenerate},
    {"/save", "FILE", "write the conversation as JSON", &Chat::save},
    {"/load", "FILE", "go on with a conversation that was saved", &Chat::load},
    {"/set", "[NAME VALUE]", "show or change how tokens are chosen: temp 0.5, predict 200, ...", &Chat::set},
    {"/stats", "", "speed of the last answer, and how full the context is", &Chat::stats},
    {"/quit", "", "leave; so do Ctrl-D and Ctrl-C twice", &Chat::quit},
};

int Chat::run(const ChatOptions& options) {
  try {
    return talk(options);
  } catch (const std::exception&) {
    const int status = ended();  // which is why it could not be written
    if (status == 0) throw;
    return status;
  }
}

int Chat::talk(const ChatOptions& options) {
  if (terminal_)
    notice("/help lists the commands; a line that ends in \\ goes on, \"\"\" begins and ends several");
  if (!options.first_message.empty()) {
    if (terminal_)  // as if typed
      print(fmt::format("{}>{} {}\n", style_.prompt, style_.plain, printable(options.first_message)));
    reader_.remember(options.first_message);
    say(options.first_message);
  }
  bool warned = interrupted();
  Input input;
  while (!leaving_ && !(options.single_turn && answered_)) {
    forget_interrupt();
    if (const int status = ended(); status != 0) return status;
    const Typed typed = read_message(input);
    if (const int status = ended(); status != 0) {
      if (terminal_) print("\n");
      return status;
    }
    if (typed == Typed::interrupted) {
      if (terminal_) print("\n");
      if (warned || !terminal_) return kExitInterrupted;
      notice("Ctrl-C again leaves");
      warned = true;
      continue;
    }
    if (typed == Typed::end) {
      if (terminal_) print("\n");
      break;
    }
    warned = false;
    if (trimmed(input.text).empty()) continue;
    reader_.remember(input.text);
    const bool one_line = input.text.find('\n') == std::string::npos;  // pasted text may begin with a path
    if (input.text.starts_with('/') && one_line && !input.quoted) {
      command(trimmed(input.text));
    } else {
      say(input.text);
    }
    warned = interrupted();  // it stopped the answer
  }
  if (const int status = ended(); status != 0) return status;
  return refused_ && !terminal_ ? kExitFailed : kExitGood;
}

Typed Chat::read_line(bool continued, std::string& line) {
  const std::string mark = continued ? "..." : ">";
  // The editor sends a sequence along with the character behind it: the last one needs the space.
  return reader_.read(
      style_.prompt.empty() ? mark + " " : fmt::format("\1{}\1{}\1{}\1 ", style_.prompt, mark, style_.plain),
      line);
}

Typed Chat::read_message(Input& input) {
  input = {};
  auto& [message, quoted] = input;
  std::string line;
  for (bool continued = false;; continued = true) {
    const Typed typed = read_line(continued, line);
    if (typed == Typed::end && continued) return Typed::line;  // what there is of it
    if (typed != Typed::line) return typed;
    std::string_view rest = line;
    if (!continued && trimmed(rest).starts_with(kQuotes)) {
      quoted = true;
      rest = trimmed(rest).substr(kQuotes.size());
    }
    if (quoted && trimmed(rest).ends_with(kQuotes)) {
      rest = trimmed(rest);
      message += rest.substr(0, rest.size() - kQuotes.size());
      return Typed::line;
    }
    const bool goes_on = quoted || rest.ends_with('\\');
    if (!quoted && goes_on) rest.remove_suffix(1);
    message += rest;
    if (!goes_on) return Typed::line;
    message += '\n';
  }
}

void Chat::say(const std::string& text) {
  answer([&](const GenerateCallbacks& callbacks) {
    return conversation_.say(text, sampler_, generating_, callbacks);
  });
}

template <typename Ask>
void Chat::answer(Ask ask) {
  GenerateCallbacks callbacks;
  callbacks.text = [this](std::string_view text) { return show(text); };
  callbacks.interrupted = [this] { return reader_.interrupted_meanwhile(); };
  try {
    const Answer answer = ask(callbacks);
    if (!answer.generated.text.ends_with('\n')) show("\n");
    if (answer.turns_dropped > 0)
      notice(fmt::format("the context of {} tokens was full: the model no longer knows the oldest {}",
                         session_.context(),
                         answer.turns_dropped == 1 ? "turn" : fmt::format("{} turns", answer.turns_dropped)));
    if (answer.generated.reason == FinishReason::interrupted) notice("stopped");
    if (answer.generated.reason == FinishReason::context)
      notice(
          fmt::format("stopped: the context of {} tokens is full; -c makes it larger", session_.context()));
    last_ = answer.generated;
    answered_ = true;
  } catch (const std::exception& error) {
    refused_ = answered_ = true;
    notice(error.what());
  }
  if (output_error_) std::rethrow_exception(output_error_);
}

bool Chat::show(std::string_view text) {
  try {
    if (!output_error_ && print_text(text)) return true;
  } catch (const std::runtime_error&) {
    output_error_ = std::current_exception();
  }
  leaving_ = true;  // nobody reads answers any more
  return false;
}

void Chat::notice(std::string_view text) const {
  control_terminal(style_.notice);
  print_error(text);
  control_terminal(style_.plain + "\n");
}

void Chat::command(std::string_view text) {
  const std::string_view name = text.substr(0, text.find_first_of(" \t\n"));
  const std::string argument(trimmed(text.substr(name.size())));
  for (const Command& known : kCommands) {
    if (known.name != name) continue;
    if (known.argument.empty() && !argument.empty()) return notice(fmt::format("{} takes nothing", name));
    if (known.argument == "FILE" && argument.empty())
      return notice(fmt::format("{} needs a file's name", name));
    try {
      (this->*known.run)(argument);
    } catch (const std::exception& error) {
      notice(error.what());
    }
    return;
  }
  notice(fmt::format("there is no command {}; /help lists them (a message may begin with a space)", name));
}

void Chat::help(const std::string& /*argument*/) {
  for (const Command& known : kCommands)
    notice(fmt::format("  {:<8}{:<14}{}", known.name, known.argument, known.help));
}

void Chat::system(const std::string& argument) {
  if (!argument.empty()) conversation_.set_system(argument == "\"\"" ? "" : argument);
  notice(conversation_.system().empty() ? "there is no system message"
                                        : fmt::format("system message: {}", conversation_.system()));
}

void Chat::reset(const std::string& /*argument*/) {
  conversation_.reset();
  last_.reset();
  notice("a new conversation");
}

void Chat::undo(const std::string& /*argument*/) {
  last_.reset();
  notice(conversation_.undo() ? "the last turn is forgotten" : "there is nothing to undo");
}

void Chat::regenerate(const std::string& /*argument*/) {
  answer([&](const GenerateCallbacks& callbacks) {
    return conversation_.regenerate(sampler_, generating_, callbacks);
  });
}

void Chat::save(const std::string& argument) {
  write_conversation(file_named(argument), conversation_.messages());
  notice(fmt::format("saved as {}", argument));
}

void Chat::load(const std::string& argument) {
  const std::vector<ChatMessage> messages = read_conversation(file_named(argument));
  try {
    conversation_.restore(messages);
  } catch (const std::invalid_argument& error) {
    return notice(fmt::format("{}: {}", argument, error.what()));
  }
  last_.reset();
  notice(fmt::format("{} messages from {}", messages.size(), argument));
}

void Chat::set(const std::string& argument) {
  const std::string name = argument.substr(0, argument.find(' '));
  const std::string value(trimmed(std::string_view(argument).substr(name.size())));
  if (name == "predict" && !value.empty()) {
    const std::int64_t most = parse_number(name, value);
    if (most < -1) throw std::invalid_argument(fmt::format("predict is {}, expected 0 or more, or -1", most));
    generating_.max_tokens = most;
  } else if (!name.empty()) {
    change_setting(sampling_, name, value);
    sampler_ = Sampler(sampling_);
  }
  notice(fmt::format("{}, predict {}", fmt::join(sampler_settings(sampling_), ", "), generating_.max_tokens));
}

void Chat::stats(const std::string& /*argument*/) {
  if (last_) print_timings(session_, *last_);
  notice(fmt::format("context: {} of {} tokens", conversation_.length(), session_.context()));
}

void Chat::quit(const std::string& /*argument*/) {
  leaving_ = true;
}

}  // namespace

int run_chat(Session& session, Conversation& conversation, const ChatOptions& options) {
  return Chat(session, conversation, options).run(options);
}

}  // namespace spqr
