#include "runtime/control_group.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

namespace spqr {
namespace {

namespace fs = std::filesystem;

// Names of one version's files, and in its memory.stat of the pages of files, which count as used.
struct Version {
  std::string_view file_system;
  const char *limit, *use, *inactive, *active;
};
constexpr Version kVersion2{"cgroup2", "memory.max", "memory.current", "inactive_file", "active_file"};
constexpr Version kVersion1{"cgroup", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
                            "total_active_file"};

// True if `name` is one of a list with commas.
bool lists(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    if (list.substr(0, comma) == name) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

// The process's group: "0::/path" of version 2, "7:cpu,memory:/path" of version 1.
std::optional<std::string> group_of(const fs::path& proc, const Version& version) {
  std::ifstream in(proc / "cgroup");
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool unified = line.substr(0, first) == "0" && controllers.empty();
    if (&version == &kVersion2 ? unified : lists(controllers, "memory")) return line.substr(second + 1);
  }
  return std::nullopt;
}

// Where a hierarchy is to be seen, and which of its groups that is: in a container often the container's own.
struct Mount {
  std::string root;
  fs::path at;
};

// "36 35 0:30 /root /mounted/at options ... - type source options"
std::optional<Mount> mount_of(const fs::path& proc, const Version& version) {
  std::ifstream in(proc / "mountinfo");
  for (std::string line; std::getline(in, line);) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream before(line);
    std::istringstream after(line.substr(dash + 3));
    std::string skipped, root, at, type, source, options;
    before >> skipped >> skipped >> skipped >> root >> at;
    after >> type >> source >> options;
    if (type == version.file_system && (&version == &kVersion2 || lists(options, "memory")))
      return Mount{root, at};
  }
  return std::nullopt;
}

// The group's directory, or the mount itself where the group is not below what is mounted.
fs::path directory_of(const Mount& mount, const std::string& group) {
  const fs::path below = fs::path(group).lexically_relative(mount.root);
  const bool outside = below.empty() || *below.begin() == ".." || group.find("..") != std::string::npos;
  return outside || below == "." ? mount.at : mount.at / below;
}

std::optional<std::size_t> number_in(const fs::path& path) {
  std::ifstream in(path);
  std::size_t value = 0;
  if (in >> value) return value;
  return std::nullopt;  // "max", or no such file
}

std::optional<std::size_t> left_by(const fs::path& group, const Version& version) {
  const auto limit = number_in(group / version.limit);
  auto use = number_in(group / version.use);
  if (!limit || !use) return std::nullopt;
  std::ifstream statistics(group / "memory.stat");
  std::string name;
  for (std::size_t value = 0; statistics >> name >> value;) {
    if (name == version.inactive || name == version.active) *use -= std::min(*use, value);
  }
  return *limit > *use ? *limit - *use : 0;
}

}  // namespace

std::size_t control_group_available(const fs::path& proc) {
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (const Version* version : {&kVersion2, &kVersion1}) {
    const auto group = group_of(proc, *version);
    const auto mount = mount_of(proc, *version);
    if (!group || !mount) continue;
    for (fs::path at = directory_of(*mount, *group);; at = at.parent_path()) {
      least = std::min(least, left_by(at, *version).value_or(least));
      if (at == mount->at) break;
    }
  }
  return least;
}

}  // namespace spqr
