#include "runtime/apps/sampler_options.h"

#include <fmt/format.h>

#include <charconv>
#include <random>
#include <stdexcept>
#include <type_traits>
#include <variant>

namespace spqr {
namespace {

struct Setting {
  std::string_view name;
  std::variant<float SamplerOptions::*, std::int32_t SamplerOptions::*, std::uint64_t SamplerOptions::*>
      member;
};

constexpr Setting kSettings[] = {
    {"temp", &SamplerOptions::temperature},
    {"top-k", &SamplerOptions::top_k},
    {"top-p", &SamplerOptions::top_p},
    {"min-p", &SamplerOptions::min_p},
    {"repeat-penalty", &SamplerOptions::repeat_penalty},
    {"repeat-last-n", &SamplerOptions::repeat_last_n},
    {"presence-penalty", &SamplerOptions::presence_penalty},
    {"frequency-penalty", &SamplerOptions::frequency_penalty},
    {"seed", &SamplerOptions::seed},
};

std::uint64_t random_seed() {
  return std::random_device{}();
}

template <typename T>
T number(std::string_view name, const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    throw std::invalid_argument(fmt::format("{} is '{}', expected a number", name, text));
  return value;
}

}  // namespace

void add_sampler_options(cxxopts::Options& options) {
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
  options.seed = seed < 0 ? random_seed() : static_cast<std::uint64_t>(seed);
  try {
    validate(options);
  } catch (const std::invalid_argument& error) {
    throw UsageError(error.what());
  }
  return options;
}

std::int64_t parse_number(std::string_view name, const std::string& text) {
  return number<std::int64_t>(name, text);
}

std::vector<std::string> sampler_settings(const SamplerOptions& options) {
  std::vector<std::string> lines;
  for (const Setting& setting : kSettings) {
    std::visit([&](auto member) { lines.push_back(fmt::format("{} {}", setting.name, options.*member)); },
               setting.member);
  }
  return lines;
}

void change_setting(SamplerOptions& options, std::string_view name, const std::string& value) {
  for (const Setting& setting : kSettings) {
    if (setting.name != name) continue;
    SamplerOptions changed = options;
    std::visit(
        [&](auto member) {
          using Value = std::remove_reference_t<decltype(changed.*member)>;
          const bool drawn = std::is_same_v<Value, std::uint64_t> && value == "-1";
          changed.*member = drawn ? static_cast<Value>(random_seed()) : number<Value>(name, value);
        },
        setting.member);
    validate(changed);
    options = changed;
    return;
  }
  throw std::invalid_argument(fmt::format("there is no setting '{}'", name));
}

}  // namespace spqr
