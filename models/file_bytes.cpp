#include "models/file_bytes.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/host_memory.h"

namespace spqr {
namespace {

class OpenFile {
 public:
  explicit OpenFile(const std::filesystem::path& path)
      : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {  // no waiting for a pipe
    if (fd_ < 0) fail("cannot be opened");
    struct stat status = {};
    if (::fstat(fd_, &status) != 0) close_and_fail("cannot be examined");
    if (!S_ISREG(status.st_mode)) {
      ::close(fd_);
      throw std::runtime_error(fmt::format("{}: is not a regular file", path.string()));
    }
    size_ = static_cast<std::size_t>(status.st_size);
  }
  ~OpenFile() { ::close(fd_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  int fd() const { return fd_; }
  std::size_t size() const { return size_; }
  [[noreturn]] void fail(const char* what) const {
    throw std::runtime_error(fmt::format("{}: {}: {}", path_.string(), what, std::strerror(errno)));
  }

 private:
  [[noreturn]] void close_and_fail(const char* what) {
    const int error = errno;
    ::close(fd_);
    errno = error;
    fail(what);
  }

  std::filesystem::path path_;
  int fd_;
  std::size_t size_ = 0;
};

}  // namespace

FileBytes FileBytes::map(const std::filesystem::path& path) {
  const OpenFile file(path);
  FileBytes result;
  if (file.size() == 0) return result;
  const std::size_t size = file.size();
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (address == MAP_FAILED) file.fail("cannot be mapped into memory");
#if defined(MADV_HUGEPAGE)
  ::madvise(address, size, MADV_HUGEPAGE);  // where the file system has them
#endif
  result.owner_ = std::shared_ptr<const void>(
      address, [size](const void* mapped) { ::munmap(const_cast<void*>(mapped), size); });
  result.bytes_ = {static_cast<const std::byte*>(address), size};
  return result;
}

FileBytes FileBytes::read(const std::filesystem::path& path) {
  const OpenFile file(path);
  FileBytes result;
  const std::size_t size = file.size();
  if (size == 0) return result;
  std::shared_ptr<void> memory = allocate_host_memory(size);
  auto* bytes = static_cast<std::byte*>(memory.get());
  result.owner_ = std::move(memory);
  for (std::size_t done = 0; done < size;) {
    const ssize_t count = ::read(file.fd(), bytes + done, size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) file.fail("cannot be read");
    if (count == 0)
      throw std::runtime_error(fmt::format("{}: became shorter while it was read", path.string()));
    done += static_cast<std::size_t>(count);
  }
  result.bytes_ = {bytes, size};
  return result;
}

void FileBytes::lock(const std::filesystem::path& name) const {
  if (bytes_.empty() || ::mlock(bytes_.data(), bytes_.size()) == 0) return;
  const int error = errno;
  struct rlimit limit = {};
  const bool limited = ::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  throw std::runtime_error(fmt::format(
      "{}: its {} bytes cannot be locked in memory: {}{}", name.string(), bytes_.size(), std::strerror(error),
      limited ? fmt::format("; this process may lock {} bytes (ulimit -l)", limit.rlim_cur) : ""));
}

FileBytes FileBytes::view(std::span<const std::byte> bytes) {
  FileBytes result;
  result.bytes_ = bytes;
  return result;
}

}  // namespace spqr
