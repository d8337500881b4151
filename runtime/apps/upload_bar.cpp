#include "runtime/apps/upload_bar.h"

#include <unistd.h>

#include "runtime/apps/command_line.h"

namespace spqr {

UploadBar::UploadBar()
    : terminal_(::isatty(STDERR_FILENO) != 0), next_(Progress::Clock::now() + std::chrono::seconds(1)) {}

void UploadBar::update(std::size_t bytes, std::size_t total) {
  const auto now = Progress::Clock::now();
  progress_.update(static_cast<double>(bytes), static_cast<double>(total), now);
  if (!terminal_ || now < next_) return;
  next_ = now + std::chrono::milliseconds(100);
  control_terminal(kClearLine);
  print_error(progress_.bar("weights to the GPU", 100));
  shown_ = true;
}

void UploadBar::clear() {
  if (shown_) control_terminal(kClearLine);
  shown_ = false;
}

}  // namespace spqr
