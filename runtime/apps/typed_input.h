// Standard input as characters, in a way that signals can interrupt.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace spqr {

// What came: what was asked for, a signal, or the end of input.
enum class Typed : std::uint8_t { line, interrupted, end };

class TypedInput {
 public:
  // line: `character` is the next one, U+FFFD for bytes that are none. interrupted: a signal came while
  // interrupted() was false or it is true already. on_change is called when the terminal changed its size or
  // the process goes on after it was stopped.
  Typed next(wchar_t& character, const std::function<void()>& on_change = {});

 private:
  Typed next_byte(unsigned char& byte, const std::function<void()>& on_change);
  // Waits for bytes and reads them.
  Typed fill(const std::function<void()>& on_change);

  std::array<unsigned char, 4096> buffer_{};
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

// These changes interrupt waiting for input. Idempotent.
void install_change_handler();

}  // namespace spqr
