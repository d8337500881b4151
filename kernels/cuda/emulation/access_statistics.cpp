#include "kernels/cuda/emulation/access_statistics.h"

#include <algorithm>
#include <utility>

namespace spqr::emulation {
namespace {

constexpr std::size_t kMostBytes = 16;  // that a lane accesses with one instruction

}  // namespace

void AccessStatistics::begin_block(unsigned warps) {
  warps_.resize(std::max<std::size_t>(warps_.size(), warps));
  for (Warp& warp : warps_) warp.clear();
}

void AccessStatistics::add(unsigned warp, unsigned lane, bool shared, std::uintptr_t address,
                           std::size_t bytes, const void* site) {
  Site& here = warps_[warp][site];
  for (std::size_t done = 0; done < bytes; done += kMostBytes) {
    const std::uint32_t n = here.count[lane]++;
    if (n == here.instructions.size()) here.instructions.emplace_back();
    Instruction& instruction = here.instructions[n];
    instruction.shared = shared;
    instruction.bytes =
        std::max(instruction.bytes, static_cast<std::uint32_t>(std::min(kMostBytes, bytes - done)));
    instruction.lanes |= 1U << lane;
    instruction.addresses[lane] = address + done;
  }
}

void AccessStatistics::settle(unsigned warp) {
  for (auto& [address, site] : warps_[warp]) {
    for (const Instruction& instruction : site.instructions) {
      if (instruction.shared) {
        count_shared(instruction);
      } else {
        count_global(instruction);
      }
    }
    site.instructions.clear();
    site.count = {};
  }
}

// Shared memory has 32 banks of 4 bytes, each of which gives one word a cycle, to any number of lanes. Lanes
// that access 8 or 16 bytes are served 16 or 8 at a time.
void AccessStatistics::count_shared(const Instruction& instruction) {
  constexpr std::uintptr_t kBanks = 32;
  const unsigned lanes_at_once = instruction.bytes <= 4 ? 32 : instruction.bytes <= 8 ? 16 : 8;
  for (unsigned first = 0; first < kLanes; first += lanes_at_once) {
    std::array<std::array<std::uintptr_t, kLanes>, kBanks> words;  // of each bank
    std::array<int, kBanks> counts{};
    int cycles = 0;
    for (unsigned lane = first; lane < first + lanes_at_once; ++lane) {
      if ((instruction.lanes >> lane & 1U) == 0) continue;
      const std::uintptr_t begin = instruction.addresses[lane] / 4;
      const std::uintptr_t end = (instruction.addresses[lane] + instruction.bytes + 3) / 4;
      for (std::uintptr_t word = begin; word < end; ++word) {
        auto& of_bank = words[word % kBanks];
        int& count = counts[word % kBanks];
        const auto end_of_bank = of_bank.begin() + count;
        if (std::find(of_bank.begin(), end_of_bank, word) == end_of_bank) of_bank[count++] = word;
        cycles = std::max(cycles, count);
      }
    }
    if (cycles > 0) total_.bank_conflicts += cycles - 1;
  }
  ++total_.shared_accesses;
}

void AccessStatistics::count_global(const Instruction& instruction) {
  constexpr std::uintptr_t kSector = 32;
  std::vector<std::uintptr_t> addresses;
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((instruction.lanes >> lane & 1U) != 0) addresses.push_back(instruction.addresses[lane]);
  }
  std::ranges::sort(addresses);
  std::uintptr_t counted = 0;  // sectors up to this one are
  std::uintptr_t covered = 0;  // bytes up to this address are
  for (const std::uintptr_t address : addresses) {
    const std::uintptr_t end = address + instruction.bytes;
    const std::uintptr_t first_sector = std::max(address / kSector + 1, counted);
    const std::uintptr_t end_sector = (end - 1) / kSector + 2;
    if (end_sector > first_sector) {
      total_.global_sectors += end_sector - first_sector;
      counted = end_sector;
    }
    total_.global_bytes_useful += end - std::min(end, std::max(address, covered));
    covered = std::max(covered, end);
  }
  ++total_.global_accesses;
}

LaunchStatistics AccessStatistics::take() {
  return std::exchange(total_, {});
}

}  // namespace spqr::emulation
