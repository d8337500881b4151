// What code compiled with -fsanitize=thread,alignment calls: instead of linking the sanitizers' libraries,
// the emulation is told of every access of a kernel. See kernels/cuda/CMakeLists.txt for the flags.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "kernels/cuda/emulation/block.h"
#include "kernels/cuda/emulation/watch.h"

// With the real ThreadSanitizer these functions exist already.
#if !defined(__SANITIZE_THREAD__)

using spqr::emulation::Access;

// ---- plain accesses; the place of an access in the code is where its call returns to

#define SPQR_HOOK(name, access, bytes)                                           \
  void __tsan_##name(void* address) {                                            \
    spqr::emulation::watch(access, address, bytes, __builtin_return_address(0)); \
  }
#define SPQR_HOOKS(bytes)                               \
  SPQR_HOOK(read##bytes, Access::read, bytes)           \
  SPQR_HOOK(write##bytes, Access::write, bytes)         \
  SPQR_HOOK(unaligned_read##bytes, Access::read, bytes) \
  SPQR_HOOK(unaligned_write##bytes, Access::write, bytes)

extern "C" {

SPQR_HOOKS(1)
SPQR_HOOKS(2)
SPQR_HOOKS(4)
SPQR_HOOKS(8)
SPQR_HOOKS(16)

void __tsan_read_range(void* address, std::size_t bytes) {
  spqr::emulation::watch(Access::read, address, bytes, __builtin_return_address(0));
}
void __tsan_write_range(void* address, std::size_t bytes) {
  spqr::emulation::watch(Access::write, address, bytes, __builtin_return_address(0));
}

void __tsan_init() {
  spqr::emulation::set_watched();
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(void*) {}
void __tsan_vptr_update(void**, void*) {}

// ---- atomics, which only host code of these files has: kernels use the emulation's

void __tsan_atomic_thread_fence(int) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}
void __tsan_atomic_signal_fence(int) {
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

}  // extern "C"

#define SPQR_ATOMICS(bits, T)                                                                      \
  T __tsan_atomic##bits##_load(const volatile T* a, int) {                                         \
    return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                                   \
  }                                                                                                \
  void __tsan_atomic##bits##_store(volatile T* a, T v, int) {                                      \
    __atomic_store_n(a, v, __ATOMIC_SEQ_CST);                                                      \
  }                                                                                                \
  T __tsan_atomic##bits##_exchange(volatile T* a, T v, int) {                                      \
    return __atomic_exchange_n(a, v, __ATOMIC_SEQ_CST);                                            \
  }                                                                                                \
  T __tsan_atomic##bits##_fetch_add(volatile T* a, T v, int) {                                     \
    return __atomic_fetch_add(a, v, __ATOMIC_SEQ_CST);                                             \
  }                                                                                                \
  T __tsan_atomic##bits##_fetch_sub(volatile T* a, T v, int) {                                     \
    return __atomic_fetch_sub(a, v, __ATOMIC_SEQ_CST);                                             \
  }                                                                                                \
  T __tsan_atomic##bits##_fetch_and(volatile T* a, T v, int) {                                     \
    return __atomic_fetch_and(a, v, __ATOMIC_SEQ_CST);                                             \
  }                                                                                                \
  T __tsan_atomic##bits##_fetch_or(volatile T* a, T v, int) {                                      \
    return __atomic_fetch_or(a, v, __ATOMIC_SEQ_CST);                                              \
  }                                                                                                \
  T __tsan_atomic##bits##_fetch_xor(volatile T* a, T v, int) {                                     \
    return __atomic_fetch_xor(a, v, __ATOMIC_SEQ_CST);                                             \
  }                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile T* a, T* expected, T v, int, int) {   \
    return __atomic_compare_exchange_n(a, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
  }                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile T* a, T* expected, T v, int, int) {     \
    return __atomic_compare_exchange_n(a, expected, v, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);  \
  }                                                                                                \
  T __tsan_atomic##bits##_compare_exchange_val(volatile T* a, T expected, T v, int, int) {         \
    __atomic_compare_exchange_n(a, &expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);       \
    return expected;                                                                               \
  }

extern "C" {

SPQR_ATOMICS(8, std::uint8_t)
SPQR_ATOMICS(16, std::uint16_t)
SPQR_ATOMICS(32, std::uint32_t)
SPQR_ATOMICS(64, std::uint64_t)

// ---- alignment

// The beginning of what -fsanitize=alignment passes, as it is in GCC and in clang.
struct TypeMismatch {
  const char* file;
  std::uint32_t line;
  std::uint32_t column;
};

void __ubsan_handle_type_mismatch_v1(const TypeMismatch* where, const void* address) {
  if (spqr::emulation::current == nullptr) return;
  const std::string path = where->file == nullptr ? "?" : where->file;
  spqr::emulation::fail(("a misaligned access at " + path.substr(path.rfind('/') + 1) + ":" +
                         std::to_string(where->line) + ": address ends with " +
                         std::to_string(reinterpret_cast<std::uintptr_t>(address) % 16) + " of 16")
                            .c_str());
}

}  // extern "C"

#endif
