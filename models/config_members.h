// Members of a config.json, each checked as it is read, and how large they may be.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace spqr {

// Far above any model there is, and low enough that products of two, times the size of an element, fit 64
// bits.
inline constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24;
inline constexpr std::int64_t kMaxLayers = 1 << 14;
inline constexpr std::int64_t kMaxHeads = 1 << 16;
inline constexpr std::int64_t kMaxHeadDim = 1 << 14;
inline constexpr std::int64_t kMaxVocab = 1 << 28;
inline constexpr std::int64_t kMaxPositions = std::numeric_limits<std::int32_t>::max();

// Typed, checked access to the members of one JSON object; a member that is null counts as missing.
class Members {
 public:
  Members(const nlohmann::json& object, std::string where) : object_(&object), where_(std::move(where)) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(fmt::format("{}: {}", where_, what));
  }

  const nlohmann::json* find(const char* key) const {
    const auto it = object_->find(key);
    return it == object_->end() || it->is_null() ? nullptr : &*it;
  }
  bool is_null(const char* key) const {
    const auto it = object_->find(key);
    return it != object_->end() && it->is_null();
  }

  // An integer in [min, max].
  std::int64_t integer(const char* key, std::int64_t min, std::int64_t max) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr)
      fail(fmt::format("{} is missing: is this the config.json of a language model?", key));
    return integer(key, *value, min, max);
  }
  std::int64_t integer_or(const char* key, std::int64_t fallback, std::int64_t min, std::int64_t max) const {
    const nlohmann::json* value = find(key);
    return value == nullptr ? fallback : integer(key, *value, min, max);
  }
  std::int64_t integer(const char* key, const nlohmann::json& value, std::int64_t min,
                       std::int64_t max) const {
    if (!value.is_number_integer()) fail(fmt::format("{} must be an integer, found {}", key, shown(value)));
    const bool fits =
        !value.is_number_unsigned() || value.get<std::uint64_t>() <= static_cast<std::uint64_t>(max);
    if (!fits || value.get<std::int64_t>() < min || value.get<std::int64_t>() > max) {
      fail(fmt::format("{} must be from {} to {}, found {}", key, min, max, shown(value)));
    }
    return value.get<std::int64_t>();
  }

  // A finite number above zero.
  double positive(const char* key) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) fail(fmt::format("{} is missing", key));
    if (!value->is_number()) fail(fmt::format("{} must be a number, found {}", key, shown(*value)));
    const auto number = value->get<double>();
    if (!(number > 0) || !std::isfinite(number)) {
      fail(fmt::format("{} must be above zero and finite, found {}", key, shown(*value)));
    }
    return number;
  }
  double positive_or(const char* key, double fallback) const {
    return find(key) == nullptr ? fallback : positive(key);
  }

  bool boolean_or(const char* key, bool fallback) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) fail(fmt::format("{} must be true or false, found {}", key, shown(*value)));
    return value->get<bool>();
  }

  std::string text_or(const char* key, const std::string& fallback) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_string()) fail(fmt::format("{} must be a string, found {}", key, shown(*value)));
    return value->get<std::string>();
  }

  // The member's members, or nullopt where it is missing or empty.
  std::optional<Members> object(const char* key) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_object()) fail(fmt::format("{} must be an object, found {}", key, shown(*value)));
    if (value->empty()) return std::nullopt;
    return Members(*value, fmt::format("{}: {}", where_, key));
  }

  static std::string shown(const nlohmann::json& value) {
    std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    constexpr std::size_t kLongest = 80;
    if (text.size() > kLongest) text.replace(kLongest, std::string::npos, "...");
    return text;
  }

 private:
  const nlohmann::json* object_;
  std::string where_;
};

}  // namespace spqr
