#include "tokenizer/normalizer.h"

#include <fmt/core.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <new>
#include <stdexcept>
#include <utility>

#include "tokenizer/utf8.h"

namespace spqr {
namespace {

constexpr int kMaxDepth = 8;

class UnicodeForm final : public Normalizer::Step {
 public:
  explicit UnicodeForm(unsigned options) : options_(options) {}

  std::string apply(std::string text) const override {
    const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
    if (std::all_of(text.begin(), text.end(), is_ascii)) return text;
    utf8proc_uint8_t* mapped = nullptr;
    const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                               static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                                               static_cast<utf8proc_option_t>(options_));
    const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(mapped, std::free);
    if (size == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
    if (size < 0) throw std::runtime_error(fmt::format("cannot normalize text: {}", utf8proc_errmsg(size)));
    return {reinterpret_cast<const char*>(mapped), static_cast<std::size_t>(size)};
  }

 private:
  unsigned options_;
};

class Prepend final : public Normalizer::Step {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  std::string apply(std::string text) const override { return text.empty() ? text : prefix_ + text; }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer::Step {
 public:
  Replace(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  std::string apply(std::string text) const override { return replace_all(text, from_, to_); }

 private:
  std::string from_;
  std::string to_;
};

std::shared_ptr<const Normalizer::Step> parse_step(const Json& description, const std::string& type,
                                                   const std::string& where) {
  static const std::map<std::string, unsigned> kForms{
      {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
      {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
      {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
      {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
  };
  if (const auto form = kForms.find(type); form != kForms.end()) {
    return std::make_shared<UnicodeForm>(form->second);
  }
  if (type == "Prepend") return std::make_shared<Prepend>(string_field(description, "prepend", where));
  if (type == "Replace") {
    const Json& pattern = require(description, "pattern", where);
    if (find_member(pattern, "Regex") != nullptr)
      fail(where, "Replace by a regular expression is not supported");
    const std::string from = string_field(pattern, "String", where);
    if (from.empty()) fail(where, "replaces an empty string");
    return std::make_shared<Replace>(from, string_field(description, "content", where));
  }
  fail(where, fmt::format("normalizer '{}' is not supported", type));
}

}  // namespace

Normalizer Normalizer::parse(const Json& description, const std::string& where) {
  Normalizer result;
  if (!description.is_null()) result.add(description, where, 0);
  return result;
}

void Normalizer::add(const Json& description, const std::string& where, int depth) {
  if (depth > kMaxDepth) fail(where, "sequences are nested too deeply");
  const std::string type = string_field(description, "type", where);
  if (type != "Sequence") {
    steps_.push_back({parse_step(description, type, where), type == "Prepend"});
    return;
  }
  const Json& parts = require(description, "normalizers", where);
  if (!parts.is_array()) fail(where, "'normalizers' is not an array");
  for (const Json& part : parts) add(part, where, depth + 1);
}

std::string Normalizer::apply(std::string text) const {
  for (const Entry& entry : steps_) text = entry.step->apply(std::move(text));
  return text;
}

std::string Normalizer::apply_inside(std::string text) const {
  for (const Entry& entry : steps_) {
    if (!entry.only_at_front) text = entry.step->apply(std::move(text));
  }
  return text;
}

}  // namespace spqr
