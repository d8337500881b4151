#include "tests/runtime/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <stdexcept>

namespace spqr {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  return ends;
}

// Appends what can be read; closes at the end.
void drain(int& stream, std::string& text) {
  std::array<char, 4096> buffer{};
  const ssize_t count = read(stream, buffer.data(), buffer.size());
  if (count > 0) {
    text.append(buffer.data(), static_cast<std::size_t>(count));
  } else {
    close(stream);
    stream = -1;
  }
}

}  // namespace

Process::Process(const std::vector<std::string>& arguments, const std::string& out_file) {
  const auto out = make_pipe();
  const auto err = make_pipe();
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("no process");
  if (pid_ == 0) {
    std::vector<char*> pointers;
    for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
    pointers.push_back(nullptr);
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    dup2(out_file.empty() ? out[1] : open(out_file.c_str(), O_WRONLY), STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    execv(pointers[0], pointers.data());
    _exit(127);
  }
  close(out[1]);
  close(err[1]);
  out_ = out[0];
  err_ = err[0];
}

Process::~Process() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  for (const int stream : {out_, err_}) {
    if (stream >= 0) close(stream);
  }
}

bool Process::read_some() {
  std::array<pollfd, 2> streams{pollfd{out_, POLLIN, 0}, pollfd{err_, POLLIN, 0}};
  if (out_ < 0 && err_ < 0) return false;
  poll(streams.data(), streams.size(), 1000);
  if (out_ >= 0 && streams[0].revents != 0) drain(out_, result_.out);
  if (err_ >= 0 && streams[1].revents != 0) drain(err_, result_.err);
  return true;
}

void Process::wait_for_output(std::size_t bytes) {
  const auto begin = std::chrono::steady_clock::now();
  while (result_.out.size() < bytes) {
    if (!read_some() || std::chrono::steady_clock::now() - begin > kPatience)
      throw std::runtime_error("no output; it printed: " + result_.err);
  }
}

void Process::send(int signal) const {
  kill(pid_, signal);
}

void Process::close_output() {
  close(out_);
  out_ = -1;
}

Finished Process::finish() {
  const auto begin = std::chrono::steady_clock::now();
  while (read_some()) {
    if (std::chrono::steady_clock::now() - begin > kPatience) kill(pid_, SIGKILL);
  }
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  result_.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result_;
}

Finished run_process(const std::vector<std::string>& arguments, const std::string& out) {
  return Process(arguments, out).finish();
}

}  // namespace spqr
