// Instruction sets that the cpu backend has kernels for.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace spqr {

enum class Isa : std::uint8_t {
  portable,     // whatever the compiler makes of its own vector types
  avx2,         // AVX2, FMA, F16C
  avx2_vnni,    // and AVX-VNNI: dot products of bytes
  avx512,       // AVX-512 F, BW, DQ, VL and VNNI
  avx512_bf16,  // and BF16: products of bf16
  amx_bf16,     // and AMX: the same in tiles
};

// "portable", "avx2", "avx2-vnni", "avx512", "avx512-bf16", "amx-bf16"
std::string_view name_of(Isa isa);

// Those of this processor, best first.
std::span<const Isa> present_isas();

// "auto" is the best one. Throws std::invalid_argument for another name and for what the processor lacks.
Isa isa_of(std::string_view name);

}  // namespace spqr
