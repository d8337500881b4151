#include "runtime/activations.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace spqr {
namespace {

// Where each sequence begins, in values, and where the last one ends.
std::vector<std::int64_t> offsets_of(const std::vector<std::int64_t>& elements) {
  std::vector<std::int64_t> offsets{0};
  for (const std::int64_t count : elements) offsets.push_back(offsets.back() + count);
  return offsets;
}

class MemoryActivations final : public Activations {
 public:
  explicit MemoryActivations(const std::vector<std::int64_t>& elements)
      : offsets_(offsets_of(elements)), values_(static_cast<std::size_t>(offsets_.back())) {}

  void load(std::int64_t index, float* out) const override {
    const auto i = static_cast<std::size_t>(index);
    std::copy(values_.begin() + offsets_[i], values_.begin() + offsets_[i + 1], out);
  }
  void store(std::int64_t index, const float* in) override {
    const auto i = static_cast<std::size_t>(index);
    std::copy(in, in + (offsets_[i + 1] - offsets_[i]), values_.begin() + offsets_[i]);
  }

 private:
  std::vector<std::int64_t> offsets_;
  std::vector<float> values_;
};

class FileActivations final : public Activations {
 public:
  FileActivations(const std::vector<std::int64_t>& elements, const std::filesystem::path& path)
      : offsets_(offsets_of(elements)), path_(path.string()) {
    file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file_ < 0) fail("cannot be created", errno);
    ::unlink(path_.c_str());
    // All of it now: a full disk shows before hours of work.
    const int error = ::posix_fallocate(file_, 0, offsets_.back() * static_cast<std::int64_t>(sizeof(float)));
    if (error != 0) {
      ::close(file_);
      fail(fmt::format("has no room for activations of {:.1f} GB",
                       4e-9 * static_cast<double>(offsets_.back())),
           error);
    }
  }
  ~FileActivations() override { ::close(file_); }
  FileActivations(const FileActivations&) = delete;
  FileActivations& operator=(const FileActivations&) = delete;

  void load(std::int64_t index, float* out) const override {
    auto* target = reinterpret_cast<char*>(out);
    transfer(index, [&](std::int64_t done, std::size_t left, off_t at) {
      return ::pread(file_, target + done, left, at);
    });
  }
  void store(std::int64_t index, const float* in) override {
    const auto* source = reinterpret_cast<const char*>(in);
    transfer(index, [&](std::int64_t done, std::size_t left, off_t at) {
      return ::pwrite(file_, source + done, left, at);
    });
  }

 private:
  template <typename Call>
  void transfer(std::int64_t index, const Call& call) const {
    const auto i = static_cast<std::size_t>(index);
    const std::int64_t bytes = (offsets_[i + 1] - offsets_[i]) * static_cast<std::int64_t>(sizeof(float));
    const std::int64_t begin = offsets_[i] * static_cast<std::int64_t>(sizeof(float));
    for (std::int64_t done = 0; done < bytes;) {
      const ssize_t moved = call(done, static_cast<std::size_t>(bytes - done), begin + done);
      if (moved < 0 && errno == EINTR) continue;
      if (moved <= 0) fail("cannot hold activations", moved < 0 ? errno : EIO);
      done += moved;
    }
  }

  [[noreturn]] void fail(const std::string& what, int error) const {
    throw std::runtime_error(fmt::format("{}: {}: {}", path_, what, std::strerror(error)));
  }

  std::vector<std::int64_t> offsets_;
  std::string path_;
  int file_ = -1;
};

}  // namespace

std::unique_ptr<Activations> make_activations(const std::vector<std::int64_t>& elements,
                                              const std::filesystem::path& path) {
  if (path.empty()) return std::make_unique<MemoryActivations>(elements);
  return std::make_unique<FileActivations>(elements, path);
}

}  // namespace spqr
