#include "models/json.h"

#include <fmt/core.h>

#include <cstddef>
#include <set>
#include <stdexcept>
#include <vector>

namespace spqr {
namespace {

constexpr std::size_t kMaximumDepth = 64;

// nlohmann::json keeps the last of two equal keys; two readers of one file must not be able to disagree, so
// this refuses them.
class StrictKeys {
 public:
  explicit StrictKeys(const std::string& where) : where_(where) {}

  bool operator()(int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (static_cast<std::size_t>(depth) >= kMaximumDepth) {
        throw std::runtime_error(fmt::format("{}: JSON nested deeper than {} levels", where_, kMaximumDepth));
      }
      if (event == Event::object_start) keys_.emplace_back();
    } else if (event == Event::object_end) {
      keys_.pop_back();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        throw std::runtime_error(fmt::format("{}: JSON object has the key '{}' twice", where_, key));
      }
    }
    return true;
  }

 private:
  const std::string& where_;
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

nlohmann::json parse_json_strict(std::string_view text, const std::string& where) {
  // The parser takes a zero byte for the end of the text, whatever follows it.
  if (text.find('\0') != std::string_view::npos)
    throw std::runtime_error(fmt::format("{}: not valid JSON (it contains a zero byte)", where));
  StrictKeys strict(where);
  try {
    return nlohmann::json::parse(text.begin(), text.end(), std::ref(strict));
  } catch (const nlohmann::json::exception& error) {
    throw std::runtime_error(fmt::format("{}: not valid JSON ({})", where, error.what()));
  }
}

std::string to_text(const nlohmann::json& value, int indent) {
  return value.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace spqr
