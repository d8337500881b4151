// The bytes of a file, in memory: mapped, or read.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace spqr {

// Copies share the bytes, which are read-only and stay until the last copy goes. Start is 64-byte aligned.
class FileBytes {
 public:
  FileBytes() = default;
  // Throw std::runtime_error naming the file and the system's reason.
  static FileBytes map(const std::filesystem::path& path);
  static FileBytes read(const std::filesystem::path& path);
  // Bytes that the caller keeps alive.
  static FileBytes view(std::span<const std::byte> bytes);

  std::span<const std::byte> bytes() const { return bytes_; }

  // Brings all of them into memory and keeps them there for as long as they are mapped. Throws
  // std::runtime_error with the system's reason, and with what it lets this process lock; `name` is what it
  // calls them.
  void lock(const std::filesystem::path& name) const;

 private:
  std::shared_ptr<const void> owner_;
  std::span<const std::byte> bytes_;
};

}  // namespace spqr
