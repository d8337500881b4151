// spqr-run: streams the continuation of a prompt.
#include <fmt/core.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <random>

#include "models/json.h"
#include "runtime/apps/session_options.h"
#include "runtime/generate.h"
#include "runtime/text_input.h"

namespace {

using namespace spqr;

void add_run_options(cxxopts::Options& options) {
  options.add_options()("p,prompt", "the prompt", cxxopts::value<std::string>())(
      "f,file", "a file with the prompt, whose last newline is left out", cxxopts::value<std::string>())(
      "n,predict", "tokens to generate; -1: until the model ends or the context is full",
      cxxopts::value<std::int64_t>()->default_value("-1"))(
      "e,escape", "\\n, \\t, \\\", \\\\ and \\xHH in -p are escapes")(
      "parse-special", "special tokens written in the prompt are recognised; otherwise they are plain text")(
      "no-display-prompt", "print only what is generated")("ignore-eos",
                                                           "go on after the model's end of text")(
      "r,stop", "text that ends generation; may be given several times",
      cxxopts::value<std::vector<std::string>>())(
      "context-shift", "when the context is full, forget the older half of it and go on")(
      "json", "print one JSON object instead of text");
  options.add_options("sampling")("temp", "temperature; 0: always the most likely token",
                                  cxxopts::value<float>()->default_value("0.8"))(
      "top-k", "choose among the K most likely; 0: all", cxxopts::value<std::int32_t>()->default_value("40"))(
      "top-p", "choose among the most likely that make up P", cxxopts::value<float>()->default_value("0.95"))(
      "min-p", "leave out what is less than P times as likely as the best",
      cxxopts::value<float>()->default_value("0.05"))("repeat-penalty",
                                                      "divide the logits of recent tokens; 1: off",
                                                      cxxopts::value<float>()->default_value("1.0"))(
      "repeat-last-n", "tokens that count as recent; 0: none, -1: all",
      cxxopts::value<std::int32_t>()->default_value("64"))("presence-penalty",
                                                           "taken off the logits of recent tokens",
                                                           cxxopts::value<float>()->default_value("0.0"))(
      "frequency-penalty", "the same, times how often they occur",
      cxxopts::value<float>()->default_value("0.0"))("s,seed", "seed; -1: a random one",
                                                     cxxopts::value<std::int64_t>()->default_value("-1"));
}

SamplerOptions sampler_options(const cxxopts::ParseResult& parsed) {
  SamplerOptions options;
  options.temperature = parsed["temp"].as<float>();
  options.top_k = parsed["top-k"].as<std::int32_t>();
  options.top_p = parsed["top-p"].as<float>();
  options.min_p = parsed["min-p"].as<float>();
  options.repeat_penalty = parsed["repeat-penalty"].as<float>();
  options.repeat_last_n = parsed["repeat-last-n"].as<std::int32_t>();
  options.presence_penalty = parsed["presence-penalty"].as<float>();
  options.frequency_penalty = parsed["frequency-penalty"].as<float>();
  const auto seed = parsed["seed"].as<std::int64_t>();
  if (seed < -1)
    throw UsageError(fmt::format("--seed is {}, expected 0 or more, or -1 for a random one", seed));
  options.seed = seed < 0 ? std::random_device{}() : static_cast<std::uint64_t>(seed);
  try {
    validate(options);
  } catch (const std::invalid_argument& error) {
    throw UsageError(error.what());
  }
  return options;
}

GenerateOptions generate_options(const cxxopts::ParseResult& parsed) {
  GenerateOptions options;
  options.max_tokens = parsed["predict"].as<std::int64_t>();
  if (options.max_tokens < -1)
    throw UsageError(fmt::format("-n is {}, expected 0 or more, or -1", options.max_tokens));
  options.ignore_eos = parsed.count("ignore-eos") > 0;
  options.context_shift = parsed.count("context-shift") > 0;
  if (parsed.count("stop") > 0) options.stop = parsed["stop"].as<std::vector<std::string>>();
  return options;
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

std::string prompt_text(const cxxopts::ParseResult& parsed) {
  if (parsed.count("prompt") > 0 && parsed.count("file") > 0) throw UsageError("-p and -f are both given");
  if (parsed.count("file") > 0) {
    auto text = read_text(parsed["file"].as<std::string>());
    if (text.ends_with('\n')) text.pop_back();  // which editors add
    return text;
  }
  if (parsed.count("prompt") == 0) throw UsageError("no prompt; give one with -p TEXT or -f FILE");
  const auto text = parsed["prompt"].as<std::string>();
  return parsed.count("escape") > 0 ? unescape(text) : text;
}

std::vector<std::int32_t> prompt_ids(const Session& session, const std::string& text, bool parse_special) {
  if (session.tokenizer() != nullptr)
    return session.tokenizer()->encode(text, {.add_special = true, .parse_special = parse_special});
  return parse_token_ids(text, session.config().vocab_size,
                         "the model has no tokenizer and takes token ids only");
}

struct Speed {
  double prompt, decode, gb_per_s;  // tokens/s, tokens/s, 1e9 bytes/s read while decoding
};

Speed speed_of(const Session& session, const GenerateResult& result) {
  const double bytes =
      static_cast<double>(result.decode_passes) * static_cast<double>(session.bytes_per_token()) +
      static_cast<double>(result.decode_cache_tokens) *
          static_cast<double>(session.plan().needs.cache_per_token);
  const double seconds = std::max(result.decode_seconds, 1e-9);
  return {static_cast<double>(result.prompt_tokens) / std::max(result.prompt_seconds, 1e-9),
          static_cast<double>(result.decode_passes) / seconds, bytes / seconds / 1e9};
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

void print_timings(const Session& session, const GenerateResult& result) {
  const Speed speed = speed_of(session, result);
  fmt::print(stderr,
             "\nload {:.0f} ms | prompt {} tokens, {:.1f} tokens/s | decode {} tokens, {:.1f} tokens/s, "
             "{:.1f} GB/s\n",
             1000 * session.load_seconds(), result.prompt_tokens, speed.prompt, result.ids.size(),
             speed.decode, speed.gb_per_s);
  if (result.shifts > 0) fmt::print(stderr, "the context was full {} times and was shifted\n", result.shifts);
  if (result.reason == FinishReason::context) {
    fmt::print(stderr,
               "stopped: the context of {} tokens is full; -c makes it larger, --context-shift goes on "
               "without the oldest\n",
               session.context());
  }
}

int run(const cxxopts::ParseResult& parsed) {
  const SamplerOptions sampling = sampler_options(parsed);
  const GenerateOptions generating = generate_options(parsed);
  const std::string text = prompt_text(parsed);
  const bool json = parsed.count("json") > 0;
  const SessionOptions opening = session_options(parsed);
  std::signal(SIGPIPE, SIG_IGN);
  install_interrupt_handler();

  Session session(opening);
  fmt::print(stderr, "backend {}, context {} tokens, seed {}\n", session.backend_name(), session.context(),
             sampling.seed);
  if (session.tokenizer() == nullptr)
    fmt::print(stderr, "warning: the model has no tokenizer: it takes and prints token ids\n");
  const auto ids = prompt_ids(session, text, parsed.count("parse-special") > 0);
  require_room(session, ids);
  if (!json && parsed.count("no-display-prompt") == 0) print(text);

  Sampler sampler(sampling);
  GenerateCallbacks callbacks;
  if (!json) callbacks.text = print;
  callbacks.interrupted = interrupted;
  const GenerateResult result = generate(session, sampler, ids, generating, callbacks);
  if (json) {
    print_json(session, result, sampling.seed);
  } else {
    print("\n");
    print_timings(session, result);
  }
  return kExitGood;
}

}  // namespace

int main(int argc, char** argv) {
  cxxopts::Options options("spqr-run", "Streams what a model makes of a prompt.");
  spqr::add_session_options(options);
  add_run_options(options);
  return spqr::run_tool(argc, argv, options, run);
}
