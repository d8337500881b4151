// Which of the built-in formats a Jinja template writes, told by its constant texts. A marker that the format
// does not have means another format: what a template does with it cannot be known without running it.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/chat_formats.h"
#include "tokenizer/jinja_literals.h"

namespace spqr {
namespace {

using Literals = std::vector<std::string>;

bool has(const Literals& literals, std::string_view part) {
  return std::any_of(literals.begin(), literals.end(),
                     [&](const std::string& text) { return text.find(part) != std::string::npos; });
}

// The first literal that has `part` in it; empty: none.
std::string with(const Literals& literals, std::string_view part) {
  for (const std::string& text : literals) {
    if (text.find(part) != std::string::npos) return text;
  }
  return {};
}

// "<|...|>" and "[CAPITALS]" in the literals.
std::set<std::string> markers(const Literals& literals) {
  std::set<std::string> found;
  for (const std::string& text : literals) {
    for (std::size_t at = 0; (at = text.find("<|", at)) != std::string::npos; ++at) {
      const std::size_t end = text.find("|>", at);
      if (end != std::string::npos) found.insert(text.substr(at, end + 2 - at));
    }
    for (std::size_t at = 0; (at = text.find('[', at)) != std::string::npos; ++at) {
      const std::size_t end = text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_/", at + 1);
      if (end != std::string::npos && text[end] == ']' && end > at + 1)
        found.insert(text.substr(at, end + 1 - at));
    }
  }
  return found;
}

struct Signature {
  const char* name;
  std::vector<std::string> needed;   // in the literals
  std::vector<std::string> allowed;  // further markers, of parts that a plain conversation does not reach
};

const std::vector<Signature>& signatures() {
  static const std::vector<Signature> kSignatures{
      {"chatml", {"<|im_start|>", "<|im_end|>"}, {"<|endoftext|>"}},
      {"llama-3",
       {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
       {"<|begin_of_text|>", "<|python_tag|>", "<|eom_id|>"}},
      {"llama-2", {"[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"}, {}},
      {"mistral",
       {"[INST]", "[/INST]"},
       {"[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"}},
      {"zephyr", {"<|user|>", "<|assistant|>", "<|system|>"}, {}},
      {"vicuna", {"USER: ", "ASSISTANT:"}, {}},
      {"alpaca", {"### Instruction:", "### Response:"}, {}},
      {"falcon", {"User: ", "Falcon:"}, {}}};
  return kSignatures;
}

bool fits(const Signature& signature, const Literals& literals, const std::set<std::string>& found) {
  const auto in = [](const std::vector<std::string>& list, const std::string& text) {
    return std::find(list.begin(), list.end(), text) != list.end();
  };
  return std::all_of(signature.needed.begin(), signature.needed.end(),
                     [&](const std::string& text) { return has(literals, text); }) &&
         std::all_of(found.begin(), found.end(), [&](const std::string& marker) {
           return in(signature.needed, marker) || in(signature.allowed, marker);
         });
}

std::string without_spaces(std::string_view source) {
  std::string text;
  std::copy_if(source.begin(), source.end(), std::back_inserter(text), [](char c) { return c != ' '; });
  return text;
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  localtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%d %b %Y", &parts);
  return text;
}

// What templates of one format do differently.
void adapt(ChatFormat& format, std::string_view source, const Literals& literals) {
  const std::string dense = without_spaces(source);
  const bool trims = dense.find("|trim") != std::string::npos || dense.find(".strip()") != std::string::npos;
  if (format.name == "chatml") {
    format.trim = trims;
    for (const std::string& text : literals) {
      const std::size_t end = text.find("<|im_end|>");
      if (text.starts_with(format.before_system) && end != std::string::npos &&
          end > format.before_system.size())
        format.default_system = text.substr(format.before_system.size(), end - format.before_system.size());
    }
  } else if (format.name == "llama-3" && has(literals, "Cutting Knowledge Date")) {
    const bool asks = source.find("strftime_now") != std::string_view::npos;
    format.always_system = true;
    format.before_system += fmt::format("Cutting Knowledge Date: December 2023\nToday Date: {}\n\n",
                                        asks ? today() : "26 Jul 2024");
  } else if (format.name == "mistral") {
    format.trim = trims;
    format.before_user = with(literals, "[INST]");
    format.after_user = with(literals, "[/INST]");
    const bool spaced = std::find(literals.begin(), literals.end(), " ") != literals.end();
    if (spaced) format.before_assistant = " ";
  } else if (format.name == "vicuna" || format.name == "alpaca") {
    format.default_system.clear();
    for (const std::string& text : literals) {
      if (text.size() > 40 && text.find(". ") != std::string::npos) format.default_system = text;
    }
  }
}

}  // namespace

ChatFormat detect_chat_format(std::string_view source, const ChatTokens& tokens) {
  const Literals literals = jinja_literals(source);
  const std::set<std::string> found = markers(literals);
  for (const Signature& signature : signatures()) {
    if (!fits(signature, literals, found)) continue;
    for (ChatFormat& format : chat_formats(tokens)) {
      if (format.name != signature.name) continue;
      if (source.find("bos_token") == std::string_view::npos && !format.begin.empty()) format.begin.clear();
      adapt(format, source, literals);
      return format;
    }
  }
  throw std::runtime_error(
      "the model's chat template is none of those that are built in; name the one it was trained with by "
      "--chat-template");
}

}  // namespace spqr
