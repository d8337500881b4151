// A zip archive in memory, read through libzip: names, sizes, and parts of entries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace spqr {

// Methods throw std::runtime_error naming `where`. Not to be used by several threads at once.
class ZipArchive {
 public:
  // The bytes outlive the archive.
  ZipArchive(std::span<const std::byte> bytes, std::string where);
  ~ZipArchive();
  ZipArchive(const ZipArchive&) = delete;
  ZipArchive& operator=(const ZipArchive&) = delete;

  std::vector<std::string> names() const;
  std::optional<std::uint64_t> size_of(const std::string& name) const;  // nullopt: no such entry
  // Fills `out` from byte `offset` of an entry on, which may be stored or compressed; an entry that is read
  // to its end has its checksum compared.
  void read(const std::string& name, std::uint64_t offset, std::span<std::byte> out) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace spqr
