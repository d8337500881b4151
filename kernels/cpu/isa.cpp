#include "kernels/cpu/isa.h"

#include <array>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace spqr {
namespace {

constexpr std::array kBestFirst = {Isa::amx_bf16,  Isa::avx512_bf16, Isa::avx512,
                                   Isa::avx2_vnni, Isa::avx2,        Isa::portable};

#if defined(__x86_64__)
// AVX-VNNI has a bit of its own that not every compiler's __builtin_cpu_supports() knows.
bool has_avx_vnni() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4 & 1) != 0;
}

// Tiles are state of the processor that Linux gives to processes which ask for it (its documentation,
// arch/x86/xstate).
bool has_amx_bf16() {
#if defined(__linux__)
  constexpr int kRequestPermission = 0x1023;
  constexpr int kTileData = 18;
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  const bool known =
      __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx >> 22 & 1) != 0 && (edx >> 24 & 1) != 0;
  return known && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool is_present(Isa isa) {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  switch (isa) {
    case Isa::amx_bf16:
      return is_present(Isa::avx512_bf16) && has_amx_bf16();
    case Isa::avx512_bf16:
      return is_present(Isa::avx512) && __builtin_cpu_supports("avx512bf16");
    case Isa::avx512:
      return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512vnni");
    case Isa::avx2_vnni:
      return avx2 && has_avx_vnni();
    case Isa::avx2:
      return avx2;
    default:
      return true;
  }
}
#else
bool is_present(Isa isa) {
  return isa == Isa::portable;
}
#endif

struct PresentIsas {
  std::array<Isa, kBestFirst.size()> best_first{};
  std::size_t count = 0;
  PresentIsas() {
    for (const Isa isa : kBestFirst) {
      if (is_present(isa)) best_first[count++] = isa;
    }
  }
};

}  // namespace

std::string_view name_of(Isa isa) {
  switch (isa) {
    case Isa::amx_bf16:
      return "amx-bf16";
    case Isa::avx512_bf16:
      return "avx512-bf16";
    case Isa::avx512:
      return "avx512";
    case Isa::avx2_vnni:
      return "avx2-vnni";
    case Isa::avx2:
      return "avx2";
    default:
      return "portable";
  }
}

std::span<const Isa> present_isas() {
  static const PresentIsas present;
  return {present.best_first.data(), present.count};
}

Isa isa_of(std::string_view name) {
  if (name == "auto") return present_isas().front();
  std::string known = "auto";
  for (const Isa isa : present_isas()) {
    if (name == name_of(isa)) return isa;
    known.append(", ").append(name_of(isa));
  }
  for (const Isa isa : kBestFirst) {
    if (name == name_of(isa))
      throw std::invalid_argument("this processor does not have " + std::string(name) + ", it has " + known);
  }
  throw std::invalid_argument("there are no kernels for \"" + std::string(name) + "\", expected one of " +
                              known);
}

}  // namespace spqr
