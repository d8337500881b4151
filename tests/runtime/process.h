// Runs an executable as a user does: arguments in, exit status and what it printed out.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace spqr {

struct Finished {
  int status = -1;  // exit status; 128 + N where signal N ended it
  std::string out;
  std::string err;
};

// A running process. The destructor ends it.
class Process {
 public:
  // arguments[0] is the executable's path; standard input is empty. Standard output goes to `out_file` if one
  // is given.
  explicit Process(const std::vector<std::string>& arguments, const std::string& out_file = "");
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Waits until it has printed this many bytes to standard output. Throws std::runtime_error if it ends
  // before, or after a minute.
  void wait_for_output(std::size_t bytes);
  void send(int signal) const;
  // Stops reading its standard output, as `head` does.
  void close_output();
  // Reads the rest of what it prints. Ends it after a minute.
  Finished finish();

 private:
  // Reads what is there; false: all streams are closed.
  bool read_some();

  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
  Finished result_;
};

Finished run_process(const std::vector<std::string>& arguments, const std::string& out = "");

}  // namespace spqr
