// spqr-run: streams the continuation of a prompt, or talks with a person.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "models/json.h"
#include "models/output_file.h"
#include "runtime/apps/chat.h"
#include "runtime/apps/plan_options.h"
#include "runtime/apps/sampler_options.h"
#include "runtime/apps/session_options.h"
#include "runtime/apps/timings.h"
#include "runtime/apps/upload_bar.h"
#include "runtime/generate.h"
#include "runtime/prompt_cache.h"
#include "runtime/text_input.h"

namespace {

using namespace spqr;

void add_run_options(cxxopts::Options& options) {
  options.add_options()("p,prompt", "the prompt", cxxopts::value<std::string>())(
      "f,file", "a file with the prompt, whose last newline is left out", cxxopts::value<std::string>())(
      "n,predict", "tokens to generate; -1: until the model ends or the context is full",
      cxxopts::value<std::int64_t>()->default_value("-1"))(
      "e,escape", "\\n, \\t, \\\", \\\\ and \\xHH in -p and --stop are escapes")(
      "parse-special", "special tokens written in the prompt are recognised; otherwise they are plain text")(
      "no-display-prompt", "print only what is generated")("ignore-eos",
                                                           "never choose the model's end of text")(
      "r,stop", "text that ends generation; may be given several times",
      cxxopts::value<std::vector<std::string>>())(
      "context-shift", "when the context is full, forget the older half of it and go on")(
      "json", "print one JSON object instead of text")(
      "prompt-cache", "a file that keeps what was evaluated for the next time",
      cxxopts::value<std::string>());
  options.add_options("conversation")(
      "conversation",
      "talk with the model (-cnv); so it does at a terminal without -p. -p is the first message")(
      "no-conversation", "read a prompt and go on with it, at a terminal too (-no-cnv)")(
      "single-turn", "end after the first answer (-st)")(
      "system-prompt", "what the model is told before everything (-sys)", cxxopts::value<std::string>())(
      "system-prompt-file", "a file with it, whose last newline is left out (-sysf)",
      cxxopts::value<std::string>())("chat-template",
                                     "the model's own; otherwise its NAME, or a FILE with it in Jinja",
                                     cxxopts::value<std::string>());
}

// C's simple escapes and \xHH; anything else behind a backslash stays as it is.
std::string unescape(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    const char next = text[++i];
    if (next == 'n')
      out += '\n';
    else if (next == 't')
      out += '\t';
    else if (next == 'r')
      out += '\r';
    else if (next == '\\' || next == '"' || next == '\'')
      out += next;
    else if (next == 'x' && i + 2 < text.size() &&
             std::isxdigit(static_cast<unsigned char>(text[i + 1])) != 0 &&
             std::isxdigit(static_cast<unsigned char>(text[i + 2])) != 0) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      out += '\\';
      out += next;
    }
  }
  return out;
}

GenerateOptions generate_options(const cxxopts::ParseResult& parsed) {
  GenerateOptions options;
  options.max_tokens = parsed["predict"].as<std::int64_t>();
  if (options.max_tokens < -1)
    throw UsageError(fmt::format("-n is {}, expected 0 or more, or -1", options.max_tokens));
  options.ignore_eos = parsed.count("ignore-eos") > 0;
  options.context_shift = parsed.count("context-shift") > 0;
  if (parsed.count("stop") > 0) options.stop = parsed["stop"].as<std::vector<std::string>>();
  if (parsed.count("escape") > 0) std::ranges::transform(options.stop, options.stop.begin(), unescape);
  return options;
}

std::string text_of(const cxxopts::ParseResult& parsed, const char* name) {
  return parsed.count(name) > 0 ? parsed[name].as<std::string>() : std::string();
}

std::string file_text(const std::string& path) {
  auto text = read_text(path);
  if (text.ends_with('\n')) text.pop_back();  // which editors add
  return text;
}

std::string prompt_text(const cxxopts::ParseResult& parsed) {
  if (parsed.count("prompt") > 0 && parsed.count("file") > 0) throw UsageError("-p and -f are both given");
  if (parsed.count("file") > 0) return file_text(text_of(parsed, "file"));
  if (parsed.count("prompt") == 0) return {};
  const auto text = parsed["prompt"].as<std::string>();
  return parsed.count("escape") > 0 ? unescape(text) : text;
}

std::vector<std::int32_t> prompt_ids(const Session& session, const std::string& text, bool parse_special) {
  if (session.tokenizer() != nullptr)
    return session.tokenizer()->encode(text, {.add_special = true, .parse_special = parse_special});
  return parse_token_ids(text, session.config().vocab_size,
                         "the model has no tokenizer and takes token ids only");
}

void print_json(const Session& session, const GenerateResult& result, std::uint64_t seed) {
  const Speed speed = speed_of(session, result);
  const nlohmann::json object = {{"text", result.text},
                                 {"ids", result.ids},
                                 {"finish_reason", name_of(result.reason)},
                                 {"seed", seed},
                                 {"backend", session.backend_name()},
                                 {"context", session.context()},
                                 {"prompt_tokens", result.prompt_tokens},
                                 {"generated_tokens", result.ids.size()},
                                 {"load_seconds", session.load_seconds()},
                                 {"prompt_seconds", result.prompt_seconds},
                                 {"decode_seconds", result.decode_seconds},
                                 {"prompt_tokens_per_s", speed.prompt},
                                 {"decode_tokens_per_s", speed.decode},
                                 {"gb_per_s", speed.gb_per_s}};
  print(fmt::format("{}\n", to_text(object)));
}

bool wants_conversation(const cxxopts::ParseResult& parsed) {
  const bool prompt = parsed.count("prompt") + parsed.count("file") > 0;
  const bool terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
  const bool json = parsed.count("json") > 0;
  const bool asked = parsed.count("conversation") > 0;
  const bool refused = parsed.count("no-conversation") > 0;
  if (asked && refused) throw UsageError("-cnv and -no-cnv are both given");
  if (!asked && !prompt && (json || !terminal || refused))
    throw UsageError("no prompt; give one with -p TEXT or -f FILE");
  const bool talks = asked || !prompt;
  const auto refuse = [&](std::initializer_list<const char*> names, const char* why) {
    for (const char* name : names) {
      if (parsed.count(name) > 0) throw UsageError(fmt::format("--{} {}", name, why));
    }
  };
  if (talks)
    refuse({"json", "parse-special", "no-display-prompt", "context-shift"},
           "is for going on with a prompt, not for a conversation");
  else
    refuse({"system-prompt", "system-prompt-file", "chat-template", "single-turn"},
           "is for conversations; give -cnv too");
  return talks;
}

bool is_built_in(const std::string& name) {
  const std::vector<std::string> names = ChatTemplate::names();
  return std::ranges::find(names, name) != names.end();
}

// Before minutes of loading.
void check_conversation(const cxxopts::ParseResult& parsed) {
  if (parsed.count("system-prompt") > 0 && parsed.count("system-prompt-file") > 0)
    throw UsageError("-sys and -sysf are both given");
  const std::string given = text_of(parsed, "chat-template");
  if (given.empty() || is_built_in(given) || std::filesystem::exists(given)) return;
  throw UsageError(fmt::format("there is no chat template '{}', built in or as a file; built in are {}",
                               given, fmt::join(ChatTemplate::names(), ", ")));
}

std::string system_prompt(const cxxopts::ParseResult& parsed) {
  const std::string file = text_of(parsed, "system-prompt-file");
  return file.empty() ? text_of(parsed, "system-prompt") : file_text(file);
}

ChatTemplate chat_template(const Session& session, const std::string& given) {
  const Tokenizer& tokenizer = *session.tokenizer();
  const ChatTokens tokens = chat_tokens(tokenizer, session.config().eos_token_ids);
  if (is_built_in(given)) return ChatTemplate::named(given, tokens);
  if (!given.empty()) {
    const std::string source = read_text(given);
    try {
      return ChatTemplate::parse(source, tokens);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(fmt::format("{}: {}", given, error.what()));
    }
  }
  if (tokenizer.chat_template().empty())
    throw std::runtime_error(
        "the model has no chat template; give one with --chat-template, or a prompt with -p for text that "
        "goes on");
  return ChatTemplate::parse(tokenizer.chat_template(), tokens);
}

void announce(const Session& session, const SamplerOptions& sampling) {
  print_error(fmt::format("backend {}, context {} tokens, seed {}\n", session.backend_name(),
                          session.context(), sampling.seed));
}

int converse(Session& session, const cxxopts::ParseResult& parsed, const std::string& system,
             const ChatOptions& options) {
  if (session.tokenizer() == nullptr)
    throw std::runtime_error("the model has no tokenizer: there is no talking with it");
  Conversation conversation(session, chat_template(session, text_of(parsed, "chat-template")), system);
  announce(session, options.sampling);
  const int status = run_chat(session, conversation, options);
  conversation.forget_undone();  // or a prompt cache would keep it
  return status;
}

int complete(Session& session, const cxxopts::ParseResult& parsed, const std::string& text,
             const SamplerOptions& sampling, const GenerateOptions& generating) {
  const bool json = parsed.count("json") > 0;
  announce(session, sampling);
  if (session.tokenizer() == nullptr)
    print_error("warning: the model has no tokenizer: it takes and prints token ids\n");
  const std::vector<std::int32_t> ids = prompt_ids(session, text, parsed.count("parse-special") > 0);
  const std::span<const std::int32_t> rest = session.rewind_to(ids);
  require_room(session, rest);
  if (!json && parsed.count("no-display-prompt") == 0)
    print_text(session.tokenizer() != nullptr ? text : fmt::format("{} ", fmt::join(ids, " ")));

  Sampler sampler(sampling);
  GenerateCallbacks callbacks;
  if (!json) callbacks.text = print_text;
  callbacks.interrupted = interrupted;
  const GenerateResult result = generate(session, sampler, rest, generating, callbacks);
  if (json) {
    print_json(session, result, sampling.seed);
  } else {
    print("\n");
    print_timings(session, result);
    if (result.reason == FinishReason::context)
      print_error(fmt::format(
          "stopped: the context of {} tokens is full; -c makes it larger, --context-shift goes on "
          "without the oldest\n",
          session.context()));
  }
  return kExitGood;
}

int plan(const cxxopts::ParseResult& parsed) {
  SessionOptions options = session_options(parsed);
  const SpqrFile file = SpqrFile::open(options.model, {});
  const ModelConfig config = parse_config(file.info().config_json, options.model.string());
  options.context = std::min(options.context, config.max_position_embeddings);
  const auto weights = make_weight_source(file);
  return print_plan(parsed, options, config, *weights, file.file_bytes());
}

int run(const cxxopts::ParseResult& parsed) {
  if (parsed.count("plan") > 0) return plan(parsed);
  if (parsed.count("device-memory") > 0) throw UsageError("--device-memory is for --plan");
  const bool conversation = wants_conversation(parsed);
  const SamplerOptions sampling = sampler_options(parsed);
  const GenerateOptions generating = generate_options(parsed);
  const std::string text = prompt_text(parsed);
  if (conversation) check_conversation(parsed);
  const std::string system = system_prompt(parsed);
  SessionOptions opening = session_options(parsed);
  const std::string cache_file = text_of(parsed, "prompt-cache");
  if (!cache_file.empty()) require_replaceable(cache_file);
  std::signal(SIGPIPE, SIG_IGN);
  install_interrupt_handler();

  warn_of_absent_gpu(opening);
  UploadBar bar;
  opening.uploaded = [&bar](std::size_t bytes, std::size_t total) { bar.update(bytes, total); };
  Session session(opening);
  bar.clear();
  if (opening.context > session.context())
    print_error(fmt::format("warning: -c {} is more than the model was made for; the context is {} tokens\n",
                            opening.context, session.context()));
  if (!cache_file.empty() && std::filesystem::exists(cache_file)) load_prompt_cache(session, cache_file);
  const std::vector<std::int32_t> loaded(session.ids().begin(), session.ids().end());
  const bool single_turn = parsed.count("single-turn") > 0;
  const int status = conversation
                         ? converse(session, parsed, system, {text, single_turn, sampling, generating})
                         : complete(session, parsed, text, sampling, generating);
  // Where nothing came of it the file stays as it is: of another context it may be the longer one.
  if (!cache_file.empty() && !std::ranges::equal(session.ids(), loaded))
    save_prompt_cache(session, cache_file);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  cxxopts::Options options("spqr-run", "Streams what a model makes of a prompt.");
  spqr::add_session_options(options);
  add_run_options(options);
  spqr::add_plan_options(options);
  spqr::add_sampler_options(options);
  return spqr::run_tool(argc, argv, options, run);
}
