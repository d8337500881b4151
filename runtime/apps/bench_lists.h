// Values of options that take several: lists, and the option itself given more than once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/apps/arguments.h"

namespace spqr {

inline constexpr std::int64_t kMostTokens = 1'000'000'000;  // that an option may ask for

class OptionLists {
 public:
  // parsed: lists are options of type std::vector<std::string>.
  explicit OptionLists(const cxxopts::ParseResult& parsed) : parsed_(parsed) {}

  // All values of all times the option was given. Throw UsageError as integer_list() and text_list() do.
  std::vector<std::int64_t> integers(const std::string& name, std::int64_t least, std::int64_t most);
  std::vector<std::string> texts(const std::string& name);

  // Of an option whose texts mean so many values.
  void note(const std::string& name, std::size_t values) {
    if (values > 1) varying_.push_back(name);
  }
  // Names of the options read so far that have more than one value: "batch-size", "bits", ...
  const std::vector<std::string>& varying() const { return varying_; }

 private:
  template <typename Value, typename Read>
  std::vector<Value> all(const std::string& name, const Read& read);

  const cxxopts::ParseResult& parsed_;
  std::vector<std::string> varying_;
};

}  // namespace spqr
