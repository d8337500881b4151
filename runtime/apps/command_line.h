// What every executable's main shares: options in, one sentence and an exit status out.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "runtime/apps/arguments.h"

namespace spqr {

inline constexpr int kExitGood = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;  // as shells count a Ctrl-C

// Adds -h/--help and --version, parses, rejects positional arguments beyond those that `options` names, and
// calls `body`. Exceptions become one line on standard error:
//   tool: error: sentence
// Call it from main and return what it returns: kExitFailed too where all went well but print_error() lost
// something.
int run_tool(int argc, char** argv, cxxopts::Options& options,
             const std::function<int(const cxxopts::ParseResult&)>& body);

// Writes to standard output, at once. False: its reader has gone away (and SIGPIPE is ignored). Throws
// std::runtime_error where it cannot be written, e.g. to a full disk.
bool print(std::string_view text);
// As print(), for text that a model or a file made: none of it commands a terminal.
bool print_text(std::string_view text);
// Writes to standard error, at once, what is printable of it: files may be part of what is told. Where it
// cannot be written the work goes on.
void print_error(std::string_view text);
// A control sequence for the terminal at standard error.
void control_terminal(std::string_view sequence);
inline constexpr std::string_view kClearLine = "\r\033[K";

// For handlers of signals. One that the main thread blocks, as it does but while it waits, may come to
// another thread, whose handler would not end that wait: it is sent on.
bool sent_to_main_thread(int signal);

// First Ctrl-C (or SIGTERM, SIGHUP, SIGQUIT) sets the flag, a second one, unless it is SIGHUP, ends the
// process and leaves the terminal as it was. Idempotent.
void install_interrupt_handler();
bool interrupted();
// As a first Ctrl-C does, for one that comes as a character.
void set_interrupted();
// 128 + the signal where that was another one than a Ctrl-C: the exit status with which the process is to
// end; else 0.
int terminated();
// Clears the flag after a Ctrl-C: what it was meant for has stopped.
void forget_interrupt();

}  // namespace spqr
