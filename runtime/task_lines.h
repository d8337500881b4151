// Lines of task files: numbered, unpacked, and as JSON objects whose every mistake is told with file and
// line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace spqr {

struct NumberedLine {
  std::string text;   // without its end
  std::string where;  // "file:line", counted from 1
};

// Lines of a file, packed with bzip2 where its name ends in .bz2; lines that are empty at its end are not
// there. Throws std::runtime_error naming it.
std::vector<NumberedLine> numbered_lines(const std::filesystem::path& file);

// The whole number that a line is. Throws std::runtime_error.
std::int64_t number_in(const NumberedLine& line);

// A JSON object of a line, or inside of it. Methods throw std::runtime_error with file, line and member.
class TaskLine {
 public:
  explicit TaskLine(const NumberedLine& line);

  bool has(const char* key) const { return value_.contains(key); }
  bool is_text(const char* key) const { return has(key) && value_[key].is_string(); }
  std::string text(const char* key) const;
  std::vector<std::string> texts(const char* key) const;
  // A whole number, or one in a string, as some files have them.
  std::int64_t index(const char* key) const;
  TaskLine object(const char* key) const;
  std::vector<TaskLine> objects(const char* key) const;
  [[noreturn]] void fail(const std::string& why) const;

 private:
  TaskLine(nlohmann::json value, std::string where);
  const nlohmann::json& member(const char* key) const;

  nlohmann::json value_;
  std::string where_;
};

// Unicode characters of a text.
std::int64_t characters(std::string_view text);
// Without white space at its ends, as Python's str.strip() takes it away.
std::string stripped(std::string_view text);
// Bytes of the text without white space at its end.
std::size_t stripped_end(std::string_view text);
// The first character in title case, all others in lower case, as Python's str.capitalize() has it.
std::string capitalized(std::string_view text);

}  // namespace spqr
