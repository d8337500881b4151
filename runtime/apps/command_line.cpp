#include "runtime/apps/command_line.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/utf8.h"

namespace spqr {
namespace {

std::atomic<int> interrupts{0};
std::atomic<int> ended_by{0};
std::optional<termios> terminal;  // as it was at the start
bool errors_were_lost = false;    // standard error could not be written

void on_interrupt(int signal) {
  if (sent_to_main_thread(signal)) return;
  if (signal != SIGINT) ended_by = signal;
  // A closed window sends it more than once, and nobody who is impatient.
  if (interrupts.fetch_add(1) == 0 || signal == SIGHUP) return;
  if (terminal) tcsetattr(STDIN_FILENO, TCSANOW, &*terminal);
  _exit(128 + signal);
}

// Where a standard stream is closed, the next file to be opened would take its place, and what is printed
// would go into that.
void occupy_standard_streams() {
  while (true) {
    const int fd = ::open("/dev/null", O_RDONLY);  // writing to it fails as it did
    if (fd > STDERR_FILENO) ::close(fd);
    if (fd < 0 || fd > STDERR_FILENO) return;
  }
}

int status_of(int argc, char** argv, cxxopts::Options& options,
              const std::function<int(const cxxopts::ParseResult&)>& body) {
  const std::string name = options.program();
  try {
    const auto parsed = parse_arguments(options, argc, argv);
    if (parsed.count("help") > 0) {
      print(fmt::format("{}\n", options.help()));
      return kExitGood;
    }
    if (parsed.count("version") > 0) {
      print(fmt::format("{} {}\n", name, SPQR_VERSION));
      return kExitGood;
    }
    if (!parsed.unmatched().empty()) {
      throw UsageError(fmt::format("unexpected argument '{}'", parsed.unmatched().front()));
    }
    return body(parsed);
  } catch (const UsageError& error) {
    print_error(fmt::format("{}: error: {}; see {} --help\n", name, error.what(), name));
    return kExitUsage;
  } catch (const cxxopts::exceptions::exception& error) {
    print_error(fmt::format("{}: error: {}; see {} --help\n", name, error.what(), name));
    return kExitUsage;
  } catch (const std::bad_alloc& error) {
    // The library's own says no more than its name; a GPU's says whose memory it is.
    const bool plain = std::string_view(error.what()) == std::bad_alloc().what();
    print_error(fmt::format("{}: error: {}\n", name, plain ? "out of memory" : error.what()));
  } catch (const std::exception& error) {
    print_error(fmt::format("{}: error: {}\n", name, error.what()));
  }
  return terminated() != 0 ? terminated() : kExitFailed;
}

}  // namespace

int run_tool(int argc, char** argv, cxxopts::Options& options,
             const std::function<int(const cxxopts::ParseResult&)>& body) {
  occupy_standard_streams();
  options.add_options()("h,help", "print this help")("version", "print the version");
  const int status = status_of(argc, argv, options, body);
  return status == kExitGood && errors_were_lost ? kExitFailed : status;
}

bool print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
    return true;
  if (errno == EPIPE) return false;
  throw std::runtime_error(fmt::format("cannot write to standard output: {}", std::strerror(errno)));
}

bool print_text(std::string_view text) {
  return isatty(STDOUT_FILENO) == 1 ? print(printable(text)) : print(text);
}

void print_error(std::string_view text) {
  control_terminal(printable(text));
}

void control_terminal(std::string_view sequence) {
  if (std::fwrite(sequence.data(), 1, sequence.size(), stderr) != sequence.size() || std::fflush(stderr) != 0)
    errors_were_lost = true;
}

bool sent_to_main_thread(int signal) {
  if (::gettid() == ::getpid()) return false;
  return ::tgkill(::getpid(), ::getpid(), signal) == 0;
}

void install_interrupt_handler() {
  termios now = {};
  if (!terminal && tcgetattr(STDIN_FILENO, &now) == 0) terminal = now;
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;  // what is being written is written to its end
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaction(signal, &action, nullptr);
}

bool interrupted() {
  return interrupts.load() > 0;
}

void set_interrupted() {
  interrupts = 1;
}

int terminated() {
  const int signal = ended_by.load();
  return signal == 0 ? 0 : 128 + signal;
}

void forget_interrupt() {
  interrupts = 0;
}

}  // namespace spqr
