#include "runtime/task_lines.h"

#include <bzlib.h>
#include <fmt/core.h>

#include <array>
#include <charconv>
#include <memory>
#include <stdexcept>
#include <utility>

#include "models/json.h"
#include "runtime/text_input.h"
#include "tokenizer/utf8.h"

namespace spqr {
namespace {

// What a .bz2 file unpacks to: one stream or several, one behind the other.
std::string unpacked(const std::string& packed, const std::filesystem::path& file) {
  constexpr std::size_t kMost = std::size_t{1} << 30U;
  std::string text;
  std::array<char, 1U << 16U> piece{};
  bz_stream stream{};
  const auto fail = [&](const char* why) {
    throw std::runtime_error(fmt::format("{}: {}; is it an incomplete download?", file.string(), why));
  };
  if (packed.size() > kMost) fail("is larger than a task's file can be");
  stream.next_in = const_cast<char*>(packed.data());
  stream.avail_in = static_cast<unsigned>(packed.size());
  while (stream.avail_in > 0) {
    if (BZ2_bzDecompressInit(&stream, 0, 0) != BZ_OK) throw std::bad_alloc();
    const std::unique_ptr<bz_stream, int (*)(bz_stream*)> end(&stream, BZ2_bzDecompressEnd);
    int state = BZ_OK;
    while (state == BZ_OK) {
      const unsigned before = stream.avail_in;
      stream.next_out = piece.data();
      stream.avail_out = static_cast<unsigned>(piece.size());
      state = BZ2_bzDecompress(&stream);
      text.append(piece.data(), piece.size() - stream.avail_out);
      if (text.size() > kMost) fail("unpacks to more than a task's file can be");
      if (state == BZ_OK && stream.avail_in == before && stream.avail_out == piece.size()) break;
    }
    if (state != BZ_STREAM_END) fail("cannot be unpacked by bzip2");
  }
  return text;
}

std::string shown(std::string_view text) {
  constexpr std::size_t kMost = 40;
  return repair_utf8(text.substr(0, kMost));
}

std::int64_t whole_number(std::string_view text, const std::string& what) {
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end)
    throw std::runtime_error(fmt::format("{} is '{}', expected a whole number", what, shown(text)));
  return number;
}

}  // namespace

std::vector<NumberedLine> numbered_lines(const std::filesystem::path& file) {
  std::string text = read_text(file);
  if (file.extension() == ".bz2") text = unpacked(text, file);
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  std::vector<NumberedLine> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    if (line.ends_with('\r')) line.pop_back();
    lines.push_back({std::move(line), fmt::format("{}:{}", file.string(), lines.size() + 1)});
    at = end + 1;
  }
  return lines;
}

std::int64_t number_in(const NumberedLine& line) {
  return whole_number(stripped(line.text), fmt::format("{}: the label", line.where));
}

TaskLine::TaskLine(const NumberedLine& line)
    : TaskLine(parse_json_strict(line.text, line.where), line.where) {}

TaskLine::TaskLine(nlohmann::json value, std::string where)
    : value_(std::move(value)), where_(std::move(where)) {
  if (!value_.is_object()) fail("is no JSON object");
}

void TaskLine::fail(const std::string& why) const {
  throw std::runtime_error(fmt::format("{}: {}", where_, why));
}

const nlohmann::json& TaskLine::member(const char* key) const {
  if (!has(key)) fail(fmt::format("has no \"{}\"", key));
  return value_[key];
}

std::string TaskLine::text(const char* key) const {
  const nlohmann::json& value = member(key);
  if (!value.is_string()) fail(fmt::format("\"{}\" is no string", key));
  return value.get<std::string>();
}

std::vector<std::string> TaskLine::texts(const char* key) const {
  const nlohmann::json& value = member(key);
  std::vector<std::string> texts;
  if (!value.is_array()) fail(fmt::format("\"{}\" is no list of strings", key));
  for (const nlohmann::json& element : value) {
    if (!element.is_string()) fail(fmt::format("\"{}\" is no list of strings", key));
    texts.push_back(element.get<std::string>());
  }
  return texts;
}

std::int64_t TaskLine::index(const char* key) const {
  const nlohmann::json& value = member(key);
  const std::string what = fmt::format("{}: \"{}\"", where_, key);
  if (value.is_string()) return whole_number(value.get_ref<const std::string&>(), what);
  return whole_number(value.dump(), what);
}

TaskLine TaskLine::object(const char* key) const {
  const nlohmann::json& value = member(key);
  if (!value.is_object()) fail(fmt::format("\"{}\" is no JSON object", key));
  return {value, where_};
}

std::vector<TaskLine> TaskLine::objects(const char* key) const {
  const nlohmann::json& value = member(key);
  if (!value.is_array()) fail(fmt::format("\"{}\" is no list", key));
  std::vector<TaskLine> objects;
  for (const nlohmann::json& element : value) objects.push_back(TaskLine(element, where_));
  return objects;
}

std::int64_t characters(std::string_view text) {
  std::int64_t count = 0;
  for (std::size_t at = 0; at < text.size(); at += utf8_char(text, at).bytes) ++count;
  return count;
}

std::size_t stripped_end(std::string_view text) {
  std::size_t end = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char character = utf8_char(text, at);
    at += character.bytes;
    if (!is_unicode_space(character.code)) end = at;
  }
  return end;
}

std::string stripped(std::string_view text) {
  text = text.substr(0, stripped_end(text));
  while (!text.empty() && is_unicode_space(utf8_char(text, 0).code))
    text.remove_prefix(utf8_char(text, 0).bytes);
  return std::string(text);
}

std::string capitalized(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char character = utf8_char(text, at);
    append_utf8(result, at == 0 ? title_case(character.code) : lower_case(character.code));
    at += character.bytes;
  }
  return result;
}

}  // namespace spqr
