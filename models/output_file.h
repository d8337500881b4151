// A file being written, whose every failure (full disk, quota, broken mount) is an exception with a sentence.
// It is locked: a second writer is refused before it changes anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>

namespace spqr {

// Methods throw std::runtime_error naming the file and the system's reason.
class OutputFile {
 public:
  enum class Mode : std::uint8_t { create, keep };   // create: empty it; keep: go on with what is there
  enum class Readers : std::uint8_t { all, owner };  // of a new file, all: as the process's umask lets
  OutputFile(std::filesystem::path path, Mode mode, Readers readers = Readers::all);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::uint64_t offset, std::span<const std::byte> bytes);
  void write(std::uint64_t offset, std::string_view text) { write(offset, std::as_bytes(std::span(text))); }
  void truncate(std::uint64_t size);
  void sync();  // on disk when it returns

 private:
  void lock();
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_;
  int fd_;
};

// A file that appears, or is replaced, as a whole: `write` fills a temporary one beside it, which is removed
// where it throws. Only its owner can read it. Symbolic links stay, what they point to is replaced; what is
// no regular file (a device, a folder) is refused.
void replace_file(const std::filesystem::path& path, const std::function<void(OutputFile&)>& write);

// Throws std::runtime_error naming the file where replace_file() could not put one there.
void require_replaceable(const std::filesystem::path& path);

// Renames, replacing `to`, and makes the renaming durable.
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace spqr
