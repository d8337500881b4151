#include "tests/runtime/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <stdexcept>

namespace spqr {
namespace {

constexpr auto kPatience = std::chrono::minutes(2);

}  // namespace

Terminal::Terminal(const std::vector<std::string>& arguments, const std::vector<std::string>& environment) {
  winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  pid_ = forkpty(&fd_, nullptr, nullptr, &size);
  if (pid_ < 0) throw std::runtime_error("no pseudo-terminal");
  if (pid_ == 0) {
    setenv("TERM", "xterm", 1);
    setenv("HOME", "/nonexistent", 1);
    for (const std::string& variable : environment) putenv(const_cast<char*>(variable.c_str()));
    execv(pointers[0], pointers.data());
    _exit(127);
  }
  fcntl(fd_, F_SETFL, O_NONBLOCK);
}

Terminal::~Terminal() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(fd_);
}

bool Terminal::read_some() {
  pollfd stream{fd_, POLLIN, 0};
  poll(&stream, 1, 1000);
  if (stream.revents == 0) return true;
  std::array<char, 65536> buffer{};
  const ssize_t count = read(fd_, buffer.data(), buffer.size());
  if (count <= 0) return count < 0 && errno == EAGAIN;
  screen_.append(buffer.data(), static_cast<std::size_t>(count));
  return true;
}

void Terminal::type(std::string_view keys) {
  const auto begin = std::chrono::steady_clock::now();
  while (!keys.empty()) {
    const ssize_t count = write(fd_, keys.data(), keys.size());
    if (count > 0) keys.remove_prefix(static_cast<std::size_t>(count));
    // The program echoes while it reads: both sides have to move.
    pollfd stream{fd_, POLLIN, 0};
    while (poll(&stream, 1, keys.empty() ? 0 : 1) > 0 && stream.revents != 0 && read_some()) {
    }
    if (std::chrono::steady_clock::now() - begin > kPatience)
      throw std::runtime_error("the program does not read what is typed");
  }
}

void Terminal::hang_up() {
  close(fd_);
  fd_ = -1;
}

void Terminal::resize(unsigned short rows, unsigned short cols) {
  const winsize size{.ws_row = rows, .ws_col = cols, .ws_xpixel = 0, .ws_ypixel = 0};
  ioctl(fd_, TIOCSWINSZ, &size);
}

void Terminal::send(int signal) {
  kill(pid_, signal);
}

unsigned Terminal::settings() const {
  termios settings = {};
  tcgetattr(fd_, &settings);
  return settings.c_lflag;
}

void Terminal::suspend() {
  kill(pid_, SIGSTOP);
  waitpid(pid_, nullptr, WUNTRACED);
  termios settings = {};
  tcgetattr(fd_, &settings);
  settings.c_lflag |= ICANON | ECHO | ISIG;
  settings.c_iflag |= ICRNL;
  tcsetattr(fd_, TCSANOW, &settings);
  kill(pid_, SIGCONT);
}

std::string Terminal::wait_for(std::string_view text) {
  const auto begin = std::chrono::steady_clock::now();
  while (true) {
    const std::size_t found = screen_.find(text, awaited_);
    if (found != std::string::npos) {
      const std::size_t from = std::exchange(awaited_, found + text.size());
      return screen_.substr(from, awaited_ - from);
    }
    if (!read_some() || std::chrono::steady_clock::now() - begin > kPatience)
      throw std::runtime_error("awaited '" + std::string(text) + "', came: " + screen_.substr(awaited_));
  }
}

int Terminal::finish() {
  const auto begin = std::chrono::steady_clock::now();
  int status = 0;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    read_some();
    if (std::chrono::steady_clock::now() - begin > kPatience) kill(pid_, SIGKILL);
  }
  while (true) {  // what is left
    const std::size_t before = screen_.size();
    if (!read_some() || screen_.size() == before) break;
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace spqr
