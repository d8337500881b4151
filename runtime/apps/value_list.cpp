#include "runtime/apps/value_list.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "runtime/apps/arguments.h"

namespace spqr {
namespace {

constexpr std::size_t kMostValues = 1000;

class ListReader {
 public:
  ListReader(const std::string& name, const std::string& text, std::int64_t least, std::int64_t most)
      : name_(name), text_(text), least_(least), most_(most) {}

  std::vector<std::int64_t> read() {
    do {
      read_part();
    } while (accept(','));
    if (!rest_.empty()) refuse();
    return std::move(values_);
  }

 private:
  [[noreturn]] void refuse() const {
    throw UsageError(fmt::format(
        "{} is '{}', expected whole numbers such as 1,2,4 or ranges such as 128-512+128 or 128-1024*2", name_,
        text_));
  }

  bool accept(char c) {
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  std::int64_t number() {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error == std::errc::result_out_of_range)
      throw UsageError(fmt::format("{} is '{}', which is more than there is room for", name_, text_));
    if (error != std::errc()) refuse();
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return value;
  }

  void add(std::int64_t value) {
    if (value < least_ || value > most_)
      throw UsageError(fmt::format("{} is {}, expected {} to {}", name_, value, least_, most_));
    if (values_.size() == kMostValues)
      throw UsageError(fmt::format("{} is '{}', which are more than {} values", name_, text_, kMostValues));
    values_.push_back(value);
  }

  void read_part() {
    const std::int64_t first = number();
    if (!accept('-')) return add(first);
    const std::int64_t last = number();
    std::int64_t step = 1;
    std::int64_t factor = 1;
    if (accept('+')) {
      step = number();
    } else if (accept('*')) {
      step = 0;
      factor = number();
    }
    add_range(first, last, step, factor);
  }

  // value, factor value + step, ...
  void add_range(std::int64_t first, std::int64_t last, std::int64_t step, std::int64_t factor) {
    if (first > last) throw UsageError(fmt::format("{} is '{}', a range that is empty", name_, text_));
    const bool grows = factor == 1 ? step > 0 : factor > 1 && first > 0;
    if (!grows) throw UsageError(fmt::format("{} is '{}', a range that never ends", name_, text_));
    for (std::int64_t value = first; value <= last;) {
      add(value);
      if (__builtin_mul_overflow(value, factor, &value) || __builtin_add_overflow(value, step, &value)) break;
    }
  }

  const std::string& name_;
  const std::string& text_;
  std::int64_t least_;
  std::int64_t most_;
  std::string_view rest_ = text_;
  std::vector<std::int64_t> values_;
};

}  // namespace

std::vector<std::int64_t> integer_list(const std::string& name, const std::string& text, std::int64_t least,
                                       std::int64_t most) {
  return ListReader(name, text, least, most).read();
}

std::vector<std::string> text_list(const std::string& name, const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (end == begin) throw UsageError(fmt::format("{} is '{}', which has an empty part", name, text));
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace spqr
