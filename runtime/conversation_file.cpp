#include "runtime/conversation_file.h"

#include <fmt/format.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "models/file_bytes.h"
#include "models/json.h"
#include "models/output_file.h"

namespace spqr {
namespace {

constexpr std::uintmax_t kLargestFile = 64U << 20U;

ChatRole role_named(const std::string& name, const std::string& where) {
  for (const ChatRole role : {ChatRole::system, ChatRole::user, ChatRole::assistant}) {
    if (name_of(role) == name) return role;
  }
  throw std::runtime_error(
      fmt::format("{}: there is no role '{}'; there are system, user and assistant", where, name));
}

std::string file_text(const std::filesystem::path& path) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (!error && size > kLargestFile)
    throw std::runtime_error(
        fmt::format("{}: {} bytes is too large, at most {} are expected", path.string(), size, kLargestFile));
  const FileBytes file = FileBytes::read(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

void write_conversation(const std::filesystem::path& path, std::span<const ChatMessage> messages) {
  nlohmann::json array = nlohmann::json::array();
  for (const ChatMessage& message : messages)
    array.push_back({{"role", name_of(message.role)}, {"content", message.content}});
  replace_file(path, [&](OutputFile& out) { out.write(0, to_text(array, 2) + "\n"); });
}

std::vector<ChatMessage> read_conversation(const std::filesystem::path& path) {
  const std::string where = path.string();
  const nlohmann::json array = parse_json_strict(file_text(path), where);
  if (!array.is_array()) throw std::runtime_error(fmt::format("{}: not an array of messages", where));
  std::vector<ChatMessage> messages;
  for (const nlohmann::json& object : array) {
    if (!object.is_object() || !object.contains("role") || !object["role"].is_string() ||
        !object.contains("content") || !object["content"].is_string())
      throw std::runtime_error(
          fmt::format("{}: message {} is no object with a \"role\" and a \"content\" that are texts", where,
                      messages.size() + 1));
    messages.push_back({role_named(object["role"], where), object["content"]});
  }
  return messages;
}

}  // namespace spqr
