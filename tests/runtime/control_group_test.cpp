// Control groups as the kernel shows them, in directories made for the test.
#include "runtime/control_group.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <limits>
#include <string>

#include "tests/models/files.h"

namespace spqr {
namespace {

constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

// A process with these groups, and a hierarchy mounted from `root` on.
class System {
 public:
  System(const std::string& groups, const std::string& root, const std::string& type) {
    std::filesystem::create_directory(directory_.path() / "proc");
    directory_.write("proc/cgroup", groups);
    directory_.write("proc/mountinfo", fmt::format("22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n"
                                                   "30 22 0:26 /x {0}/cpu rw - cgroup cgroup rw,cpu\n"
                                                   "31 22 0:27 {1} {0}/mounted rw,nosuid shared:9 - {2}\n",
                                                   directory_.path().string(), root, type));
    std::filesystem::create_directory(directory_.path() / "mounted");
  }
  void write(const std::string& group, const std::string& file, const std::string& text) const {
    std::filesystem::create_directories(directory_.path() / "mounted" / group);
    directory_.write("mounted/" + group + "/" + file, text);
  }
  void limit_v2(const std::string& group, const std::string& most, std::size_t use, std::size_t files) const {
    write(group, "memory.max", most + "\n");
    write(group, "memory.current", fmt::format("{}\n", use));
    write(group, "memory.stat", fmt::format("anon 7\ninactive_file {}\nactive_file 1\n", files));
  }
  void limit_v1(const std::string& group, const std::string& most, std::size_t use, std::size_t files) const {
    write(group, "memory.limit_in_bytes", most + "\n");
    write(group, "memory.usage_in_bytes", fmt::format("{}\n", use));
    write(group, "memory.stat",
          fmt::format("cache 9\ninactive_file 5\ntotal_inactive_file {}\ntotal_active_file 1\n", files));
  }
  std::size_t available() const { return control_group_available(directory_.path() / "proc"); }

 private:
  TemporaryDirectory directory_;
};

constexpr const char* kUnified = "cgroup2 cgroup2 rw";
constexpr const char* kMemory = "cgroup cgroup rw,cpuacct,memory";
constexpr const char* kNoLimit = "9223372036854771712";  // as version 1 writes none

TEST_CASE("control groups: the least of a group and those around it, version 2") {
  const System system("0::/slice/service\n", "/", kUnified);
  CHECK(system.available() == kUnlimited);
  system.limit_v2("slice/service", "max", 100, 0);
  CHECK(system.available() == kUnlimited);
  system.limit_v2("slice", "5000", 1000, 200);
  CHECK(system.available() == 5000 - 1000 + 200 + 1);
  system.limit_v2("slice/service", "2000", 1900, 40);
  CHECK(system.available() == 2000 - 1900 + 40 + 1);
  system.limit_v2("slice/other", "10", 0, 0);  // none of ours
  CHECK(system.available() == 2000 - 1900 + 40 + 1);
  system.limit_v2("slice/service", "2000", 2100, 0);
  CHECK(system.available() == 0);
}

TEST_CASE("control groups: version 1 has its own hierarchy for memory") {
  const System system("5:cpu:/elsewhere\n4:cpuacct,memory:/outer/inner\n0::/\n", "/", kMemory);
  system.limit_v1("", kNoLimit, 100, 0);
  system.limit_v1("outer", "9000", 100, 0);
  system.limit_v1("elsewhere", "1", 0, 0);
  CHECK(system.available() == 9000 - 100 + 1);
  system.limit_v1("outer/inner", "800", 300, 50);
  CHECK(system.available() == 800 - 300 + 50 + 1);
}

TEST_CASE("control groups: in a container the mount begins at its group") {
  const System nested("0::/docker/1234/job\n", "/docker/1234", kUnified);
  nested.limit_v2("", "3000", 0, 0);
  CHECK(nested.available() == 3000);
  nested.limit_v2("job", "2000", 0, 0);
  CHECK(nested.available() == 2000);
  for (const std::string group : {"0::/docker/1234\n", "0::/docker/12345\n", "0::/../other\n"}) {
    CAPTURE(group);
    const System container(group, "/docker/1234", kUnified);
    container.limit_v2("", "3000", 0, 0);
    CHECK(container.available() == 3000);
  }
  // The group's name is of another namespace than the mount: the mount is all there is.
  const System other("0::/docker/1234\n", "/", kUnified);
  other.limit_v2("", "4000", 0, 0);
  CHECK(other.available() == 4000);
}

}  // namespace
}  // namespace spqr
