// Standard input as characters, in a way that signals can interrupt.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>

namespace spqr {

// What came: what was asked for, a signal, or the end of input.
enum class Typed : std::uint8_t { line, interrupted, end };

class TypedInput {
 public:
  // Ctrl-C comes as a character from here on. Signals that come at once are one; characters are counted.
  void take_interrupts() { takes_interrupts_ = true; }
  // line: `character` is the next one, U+FFFD for bytes that are none. interrupted: a signal came while
  // interrupted() was false or it is true already, or a Ctrl-C is next. on_change is called when the terminal
  // changed its size or the process goes on after it was stopped.
  Typed next(wchar_t& character, const std::function<void()>& on_change = {});
  // Looks for a Ctrl-C in what has been typed, without waiting; it is taken out with all before it, as
  // terminals do.
  bool find_interrupt();

 private:
  Typed next_byte(unsigned char& byte, const std::function<void()>& on_change);
  // Waits for bytes and reads them.
  Typed fill(const std::function<void()>& on_change);
  bool read_some();

  std::deque<unsigned char> pending_;
  bool takes_interrupts_ = false;
};

// Whether the terminal that standard input was is gone, which its end of input may tell before isatty() does.
bool terminal_hung_up();

// These changes interrupt waiting for input. Idempotent.
void install_change_handler();

}  // namespace spqr
