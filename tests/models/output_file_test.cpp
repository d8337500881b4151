#include "models/output_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "tests/models/files.h"

namespace spqr {
namespace {

namespace fs = std::filesystem;

void put(const fs::path& path, std::string_view text) {
  replace_file(path, [&](OutputFile& out) { out.write(0, text); });
}

TEST_CASE("a file is replaced where a symbolic link points to, and the link stays") {
  const TemporaryDirectory directory;
  const fs::path folder = directory.path() / "folder";
  fs::create_directory(folder);
  const fs::path file = directory.write("file", "old and long");
  fs::create_symlink("../file", folder / "link");
  fs::create_symlink(folder / "link", directory.path() / "absolute");
  fs::create_symlink("new", directory.path() / "free");
  for (const char* name : {"folder/link", "absolute"}) {
    require_replaceable(directory.path() / name);
    put(directory.path() / name, name);
    CHECK(read_bytes(file) == name);
    CHECK(fs::is_symlink(directory.path() / name));
  }
  require_replaceable(directory.path() / "free");
  put(directory.path() / "free", "new");
  CHECK(fs::is_symlink(directory.path() / "free"));
  CHECK(read_bytes(directory.path() / "new") == "new");
  CHECK_FALSE(fs::is_symlink(file));
}

TEST_CASE("what is no regular file is refused and stays") {
  const TemporaryDirectory directory;
  const fs::path pipe = directory.path() / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  fs::create_directory(directory.path() / "folder");
  fs::create_symlink("pipe", directory.path() / "link");
  fs::create_symlink("loop", directory.path() / "loop");
  for (const char* name : {"pipe", "folder", "link", "loop"}) {
    CAPTURE(name);
    const fs::path path = directory.path() / name;
    const std::string expected = path.string() + ": cannot be written";
    CHECK(message_of([&] { require_replaceable(path); }).starts_with(expected));
    CHECK(message_of([&] { put(path, "x"); }).starts_with(expected));
  }
  CHECK(fs::is_fifo(pipe));
  CHECK(fs::is_symlink(directory.path() / "link"));
  CHECK(std::distance(fs::directory_iterator(directory.path()), {}) == 4);
}

}  // namespace
}  // namespace spqr
