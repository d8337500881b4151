// Runs an executable at a pseudo-terminal, as a person at a keyboard does.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace spqr {

// What spqr-run's chat shows when it waits for a line: it asks the terminal to mark pasted text, then
// prompts.
inline constexpr std::string_view kPrompt = "\033[?2004h> ";
inline constexpr std::string_view kContinued = "\033[?2004h... ";

class Terminal {
 public:
  // arguments[0] is the executable's path; environment: "NAME=VALUE" beside what there is.
  explicit Terminal(const std::vector<std::string>& arguments,
                    const std::vector<std::string>& environment = {});
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(std::string_view keys);
  // Stops the program, gives the terminal a shell's settings, and lets it go on: Ctrl-Z and `fg`.
  void suspend();
  // Closes the window. What comes from then on is lost.
  void hang_up();
  void resize(unsigned short rows, unsigned short cols);
  void send(int signal);
  // The terminal's local modes (termios, c_lflag): ECHO, ICANON, ...
  unsigned settings() const;
  // Waits until the screen got `text` after what was awaited before, and returns all of that. Throws
  // std::runtime_error with what came instead if the program ends before, or after two minutes.
  std::string wait_for(std::string_view text);
  // Waits for the end and returns the exit status; 128 + N where signal N ended it.
  int finish();

  // All that came so far.
  const std::string& screen() const { return screen_; }

 private:
  bool read_some();  // false: the program has closed the terminal

  pid_t pid_ = -1;
  int fd_ = -1;
  std::string screen_;
  std::size_t awaited_ = 0;
};

}  // namespace spqr
