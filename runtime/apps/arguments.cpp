#include "runtime/apps/arguments.h"

#include <fmt/core.h>

#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spqr {
namespace {

// llama.cpp's names: those of several letters behind one dash, which option parsers read as a bundle of
// one-letter options, and second names of what has one here.
constexpr std::array<std::pair<std::string_view, std::string_view>, 12> kLongNames{{
    {"-cnv", "--conversation"},
    {"-no-cnv", "--no-conversation"},
    {"-st", "--single-turn"},
    {"-sys", "--system-prompt"},
    {"-sysf", "--system-prompt-file"},
    {"-ctk", "--cache-type-k"},
    {"-ctv", "--cache-type-v"},
    {"-pg", "--prompt-gen"},
    {"-ngl", "--gpu-layers"},
    {"--n-gpu-layers", "--gpu-layers"},
    {"--n-predict", "--predict"},
    {"--reverse-prompt", "--stop"},
}};

// Names of a tool's options, with their dashes, and whether they take a value.
using Names = std::map<std::string, bool, std::less<>>;

Names names_of(const cxxopts::Options& options) {
  Names names;
  for (const std::string& group : options.groups()) {
    for (const cxxopts::HelpOptionDetails& option : options.group_help(group).options) {
      if (!option.s.empty()) names["-" + option.s] = !option.has_implicit;
      for (const std::string& name : option.l) names["--" + name] = !option.has_implicit;
    }
  }
  return names;
}

bool takes_value(const Names& names, std::string_view name) {
  const auto known = names.find(name);
  return known != names.end() && known->second;
}

std::string our_name(const Names& names, const std::string& typed) {
  for (const auto& [other, ours] : kLongNames) {
    if (typed == other && names.contains(ours)) return std::string(ours);
  }
  return typed;
}

bool is_letter(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0;
}

// An option as it was typed, by our name, and its value; or anything else, whole.
struct Argument {
  std::string typed{};
  std::string name{};
  std::optional<std::string> value{};
};

// "--predict=12", "-n12": the option and its value.
Argument cut(const std::string& word) {
  const bool is_long = word.starts_with("--");
  const std::size_t equals = word.find('=');
  if (is_long && equals != std::string::npos) {
    const std::string name = word.substr(0, equals);
    return {name, name, word.substr(equals + 1)};
  }
  const bool is_short = !is_long && word.size() > 2 && word[0] == '-' && is_letter(word[1]);
  if (is_short && !is_letter(word[2])) return {word.substr(0, 2), word.substr(0, 2), word.substr(2)};
  return {word, word, std::nullopt};
}

std::vector<Argument> arguments_of(const Names& names, const std::vector<std::string>& words) {
  std::vector<Argument> arguments;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") {
      for (; i < words.size(); ++i) arguments.push_back({words[i], words[i], std::nullopt});
      break;
    }
    Argument argument = cut(word);
    argument.name = our_name(names, argument.name);
    if (!takes_value(names, argument.name)) {
      argument = {word, our_name(names, word), std::nullopt};
      const std::string& name = argument.name;
      if (name.size() > 2 && name[0] == '-' && is_letter(name[1]))
        throw UsageError(fmt::format("there is no option {}", word));
    } else if (!argument.value && i + 1 < words.size()) {
      argument.value = words[++i];
    }
    arguments.push_back(std::move(argument));
  }
  return arguments;
}

cxxopts::ParseResult parse(cxxopts::Options& options, const std::vector<Argument>& arguments) {
  const std::string program = options.program();
  std::vector<const char*> words{program.c_str()};
  for (const Argument& argument : arguments) {
    words.push_back(argument.name.c_str());
    if (argument.value) words.push_back(argument.value->c_str());
  }
  return options.parse(static_cast<int>(words.size()), words.data());
}

bool is_understood(cxxopts::Options& options, const Argument& argument) {
  try {
    parse(options, {argument});
    return true;
  } catch (const cxxopts::exceptions::incorrect_argument_type&) {
    return false;
  }
}

// cxxopts says which value it could not read, and not of which option.
void refuse_values(cxxopts::Options& options, const std::vector<Argument>& arguments) {
  for (const Argument& argument : arguments) {
    if (is_understood(options, argument)) continue;
    if (!argument.value)
      throw UsageError(fmt::format("{} takes no value", argument.typed.substr(0, argument.typed.find('='))));
    const bool fractions = is_understood(options, {argument.typed, argument.name, "0.5"});
    throw UsageError(fmt::format("{} is '{}', expected a {}number", argument.typed, *argument.value,
                                 fractions ? "" : "whole "));
  }
}

}  // namespace

cxxopts::ParseResult parse_arguments(cxxopts::Options& options, int argc, char** argv) {
  const std::vector<Argument> arguments = arguments_of(names_of(options), {argv + 1, argv + argc});
  try {
    return parse(options, arguments);
  } catch (const cxxopts::exceptions::incorrect_argument_type&) {
    refuse_values(options, arguments);
    throw;
  }
}

}  // namespace spqr
