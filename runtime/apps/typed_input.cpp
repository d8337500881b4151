#include "runtime/apps/typed_input.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>

#include "runtime/apps/command_line.h"

namespace spqr {
namespace {

constexpr wchar_t kReplacement = 0xfffd;
constexpr unsigned char kInterrupt = 0x03;  // Ctrl-C
constexpr std::size_t kMostTypedAhead = 1U << 20U;

std::atomic<bool> changed{false};

void on_change_signal(int signal) {
  if (!sent_to_main_thread(signal)) changed = true;
}

// Bytes that follow a lead byte, and the bits it contributes; 0 bytes and the byte itself for ASCII; -1: no
// lead.
struct Lead {
  int following;
  wchar_t bits;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {0, byte};
  if (byte >= 0xc2 && byte < 0xe0) return {1, static_cast<wchar_t>(byte & 0x1f)};
  if (byte >= 0xe0 && byte < 0xf0) return {2, static_cast<wchar_t>(byte & 0x0f)};
  if (byte >= 0xf0 && byte < 0xf5) return {3, static_cast<wchar_t>(byte & 0x07)};
  return {-1, kReplacement};
}

bool is_scalar(wchar_t character, int following) {
  constexpr std::array<wchar_t, 4> kLeast{0, 0x80, 0x800, 0x10000};
  const bool surrogate = character >= 0xd800 && character < 0xe000;
  return character >= kLeast[static_cast<std::size_t>(following)] && character <= 0x10ffff && !surrogate;
}

}  // namespace

bool terminal_hung_up() {
  pollfd input{STDIN_FILENO, 0, 0};
  return poll(&input, 1, 0) > 0;
}

void install_change_handler() {
  struct sigaction action = {};
  action.sa_handler = on_change_signal;
  action.sa_flags =
      SA_RESTART;  // an answer that is being written goes on; waiting for input ends all the same
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGWINCH, SIGCONT}) sigaction(signal, &action, nullptr);
}

Typed TypedInput::fill(const std::function<void()>& on_change) {
  // Signals are let in only while waiting: none slips in between the question and the wait.
  sigset_t ours;
  sigset_t before;
  sigemptyset(&ours);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGCONT}) sigaddset(&ours, signal);
  pthread_sigmask(SIG_BLOCK, &ours, &before);
  Typed result = Typed::end;
  while (true) {
    if (interrupted() || terminated()) {
      result = Typed::interrupted;
      break;
    }
    if (changed.exchange(false) && on_change) on_change();
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (ppoll(&input, 1, nullptr, &before) < 0) {
      if (errno == EINTR) continue;
      break;
    }
    if (read_some()) {
      result = Typed::line;
    } else if (errno == EINTR || errno == EAGAIN) {
      continue;
    }
    break;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return result;
}

// errno is 0 at the end of input.
bool TypedInput::read_some() {
  std::array<unsigned char, 4096> buffer;
  errno = 0;
  const ssize_t count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
  if (count > 0) pending_.insert(pending_.end(), buffer.begin(), buffer.begin() + count);
  return count > 0;
}

bool TypedInput::find_interrupt() {
  if (!takes_interrupts_) return false;
  pollfd input{STDIN_FILENO, POLLIN, 0};
  while (pending_.size() < kMostTypedAhead && poll(&input, 1, 0) > 0 && read_some()) {
  }
  const auto found = std::find(pending_.begin(), pending_.end(), kInterrupt);
  if (found == pending_.end()) return false;
  pending_.erase(pending_.begin(), found + 1);
  return true;
}

Typed TypedInput::next_byte(unsigned char& byte, const std::function<void()>& on_change) {
  if (pending_.empty()) {
    const Typed filled = fill(on_change);
    if (filled != Typed::line) return filled;
  }
  byte = pending_.front();
  pending_.pop_front();
  return byte == kInterrupt && takes_interrupts_ ? Typed::interrupted : Typed::line;
}

Typed TypedInput::next(wchar_t& character, const std::function<void()>& on_change) {
  unsigned char byte = 0;
  if (const Typed got = next_byte(byte, on_change); got != Typed::line) return got;
  const Lead lead = lead_of(byte);
  character = lead.bits;
  for (int i = 0; i < lead.following; ++i) {
    const Typed got = next_byte(byte, on_change);
    if (got == Typed::interrupted) return got;
    if (got == Typed::end || (byte & 0xc0) != 0x80) {
      if (got == Typed::line) pending_.push_front(byte);  // it begins something else
      character = kReplacement;
      return Typed::line;
    }
    character = static_cast<wchar_t>(character << 6 | (byte & 0x3f));
  }
  if (lead.following > 0 && !is_scalar(character, lead.following)) character = kReplacement;
  return Typed::line;
}

}  // namespace spqr
