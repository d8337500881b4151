#include <doctest/doctest.h>

#include <filesystem>

#include "tests/models/files.h"
#include "tests/models/spqr_file_samples.h"

namespace spqr {
namespace {

namespace fs = std::filesystem;

TEST_CASE("writing a spqr file: a resumed file is the uninterrupted one, byte for byte") {
  const TemporaryDirectory directory;
  const fs::path& folder = directory.path();
  const std::string whole = read_bytes(written(folder));
  const fs::path path = folder / "resumed.spqr";
  {
    SpqrFileWriter writer(path, "f", false);
    add_first(writer);
    writer.checkpoint();
    writer.add_dense("lost.weight", {kNorm.data(), DType::f32, {33}});
  }
  CHECK(!fs::exists(path));
  CHECK_THROWS_WITH_AS(SpqrFileWriter(path, "another model", true),
                       doctest::Contains("another model or other options"), std::runtime_error);
  SpqrFileWriter writer(path, "f", true);
  CHECK(writer.has("a.q_proj"));
  CHECK(!writer.has("lost.weight"));
  REQUIRE(writer.notes().size() == 1);
  CHECK(writer.notes()[0].second == "{\"error\": 0.5}");
  add_second(writer);
  writer.finish(some_info());
  CHECK(read_bytes(path) == whole);
}

TEST_CASE("writing a spqr file: an unfinished file leaves nothing behind") {
  const TemporaryDirectory directory;
  const fs::path& folder = directory.path();
  const fs::path path = folder / "model.spqr";
  {
    SpqrFileWriter writer(path, "f", false);
    add_first(writer);
  }
  CHECK(!fs::exists(path));
  CHECK(!fs::exists(path.string() + ".partial"));
  CHECK_THROWS_AS(SpqrFileWriter(folder / "no/such/folder/x.spqr", "f", false), std::runtime_error);
}

TEST_CASE("writing a spqr file: a second writer is refused and harms nothing") {
  const TemporaryDirectory directory;
  const fs::path& folder = directory.path();
  const std::string whole = read_bytes(written(folder));
  const fs::path path = folder / "shared.spqr";
  SpqrFileWriter writer(path, "f", false);
  add_first(writer);
  writer.checkpoint();
  for (const bool resume : {false, true}) {
    CHECK_THROWS_WITH_AS(SpqrFileWriter(path, "f", resume),
                         doctest::Contains("another process is writing it"), std::runtime_error);
  }
  add_second(writer);
  writer.finish(some_info());
  CHECK(read_bytes(path) == whole);
}

TEST_CASE(
    "writing a spqr file: a full disk and a name that is taken are errors, and nothing is left under the "
    "name") {
  const TemporaryDirectory directory;
  const fs::path& folder = directory.path();
  const fs::path path = folder / "model.spqr";
  if (fs::exists("/dev/full")) {
    fs::create_symlink("/dev/full", path.string() + ".partial");
    SpqrFileWriter writer(path, "f", false);
    CHECK_THROWS_WITH_AS(add_first(writer), doctest::Contains("No space left"), std::runtime_error);
  }
  CHECK(!fs::exists(path));
  fs::create_directories(path / "taken");
  SpqrFileWriter writer(path, "f", false);
  add_first(writer);
  CHECK_THROWS_WITH_AS(writer.finish(some_info()), doctest::Contains("cannot be renamed"),
                       std::runtime_error);
  CHECK(!fs::exists(path.string() + ".compact"));
}

}  // namespace
}  // namespace spqr
