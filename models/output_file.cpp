#include "models/output_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace spqr {

OutputFile::OutputFile(std::filesystem::path path, Mode mode, Readers readers)
    : path_(std::move(path)),
      fd_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, readers == Readers::all ? 0666 : 0600)) {
  if (fd_ < 0) fail("cannot be created");
  try {
    lock();
    // Only now that nobody else writes it. A device has no size to change.
    if (mode == Mode::create && ::ftruncate(fd_, 0) != 0 && errno != EINVAL) fail("cannot be emptied");
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

void OutputFile::lock() {
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
  // File systems without locks go without.
  if (errno == EWOULDBLOCK)
    throw std::runtime_error(fmt::format("{}: another process is writing it", path_.string()));
}

OutputFile::~OutputFile() {
  ::close(fd_);
}

void OutputFile::fail(const char* what) const {
  throw std::runtime_error(fmt::format("{}: {}: {}", path_.string(), what, std::strerror(errno)));
}

void OutputFile::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("cannot be written");
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

void OutputFile::truncate(std::uint64_t size) {
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) fail("cannot be cut to size");
}

void OutputFile::sync() {
  if (::fsync(fd_) != 0) fail("cannot be written to disk");
}

namespace {

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

[[noreturn]] void fail_to_write(const std::filesystem::path& path, const char* reason) {
  throw std::runtime_error(fmt::format("{}: cannot be written: {}", path.string(), reason));
}

// What symbolic links point to, if only to a name that is free: a renamed file would take the link's place.
std::filesystem::path target_of(const std::filesystem::path& path) {
  constexpr int kMostLinks = 40;
  std::filesystem::path target = path;
  std::error_code error;
  for (int links = 0; std::filesystem::is_symlink(std::filesystem::symlink_status(target, error)); ++links) {
    if (links == kMostLinks) fail_to_write(path, std::strerror(ELOOP));
    target = folder_of(target) / std::filesystem::read_symlink(target);
  }
  const std::filesystem::file_status found = std::filesystem::status(target, error);
  if (std::filesystem::exists(found) && !std::filesystem::is_regular_file(found))
    fail_to_write(path, "it is no regular file");
  return target;
}

}  // namespace

void require_replaceable(const std::filesystem::path& path) {
  if (::access(folder_of(target_of(path)).c_str(), W_OK) != 0) fail_to_write(path, std::strerror(errno));
}

void replace_file(const std::filesystem::path& path, const std::function<void(OutputFile&)>& write) {
  const std::filesystem::path target = target_of(path);
  const std::filesystem::path partial = target.string() + ".partial";
  OutputFile out(partial, OutputFile::Mode::create, OutputFile::Readers::owner);
  try {
    write(out);
    out.sync();
    rename_file(partial, target);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(partial, ignored);
    throw;
  }
}

void rename_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    throw std::runtime_error(
        fmt::format("{}: cannot be renamed to {}: {}", from.string(), to.string(), std::strerror(errno)));
  }
  const int fd = ::open(folder_of(to).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // the name is right; only its durability could not be asked for
  ::fsync(fd);
  ::close(fd);
}

}  // namespace spqr
