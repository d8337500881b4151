// What the memory accesses of warps cost: of the n-th access that each lane makes at one place of the code
// since the lanes last met it is taken that a device does them with one instruction.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "kernels/cuda/emulation/emulation.h"
#include "kernels/cuda/emulation/thread.h"

namespace spqr::emulation {

class AccessStatistics {
 public:
  void begin_block(unsigned warps);
  void add(unsigned warp, unsigned lane, bool shared, std::uintptr_t address, std::size_t bytes,
           const void* site);
  // The accesses of a warp so far are complete.
  void settle(unsigned warp);

  LaunchStatistics take();

 private:
  struct Instruction {
    bool shared = false;
    std::uint32_t bytes = 0;  // of a lane
    std::uint32_t lanes = 0;
    std::array<std::uintptr_t, kLanes> addresses;
  };
  struct Site {
    std::array<std::uint32_t, kLanes> count{};  // accesses of each lane
    std::vector<Instruction> instructions;
  };
  using Warp = std::unordered_map<const void*, Site>;

  void count_shared(const Instruction& instruction);
  void count_global(const Instruction& instruction);

  std::vector<Warp> warps_;
  LaunchStatistics total_;
};

}  // namespace spqr::emulation
