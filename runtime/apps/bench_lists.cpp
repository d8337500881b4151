#include "runtime/apps/bench_lists.h"

#include "runtime/apps/value_list.h"

namespace spqr {

template <typename Value, typename Read>
std::vector<Value> OptionLists::all(const std::string& name, const Read& read) {
  std::vector<Value> values;
  for (const std::string& text : parsed_[name].as<std::vector<std::string>>()) {
    const std::vector<Value> some = read(text);
    values.insert(values.end(), some.begin(), some.end());
  }
  note(name, values.size());
  return values;
}

std::vector<std::int64_t> OptionLists::integers(const std::string& name, std::int64_t least,
                                                std::int64_t most) {
  return all<std::int64_t>(
      name, [&](const std::string& text) { return integer_list("--" + name, text, least, most); });
}

std::vector<std::string> OptionLists::texts(const std::string& name) {
  return all<std::string>(name, [&](const std::string& text) { return text_list("--" + name, text); });
}

}  // namespace spqr
