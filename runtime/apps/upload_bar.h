// How far a model is on its way to a GPU: a line on a terminal, where it takes long.
#pragma once

#include <cstddef>

#include "runtime/progress.h"

namespace spqr {

class UploadBar {
 public:
  UploadBar();
  ~UploadBar() { clear(); }
  UploadBar(const UploadBar&) = delete;
  UploadBar& operator=(const UploadBar&) = delete;

  void update(std::size_t bytes, std::size_t total);
  void clear();

 private:
  bool terminal_;
  bool shown_ = false;
  Progress::Clock::time_point next_;  // not shown before
  Progress progress_{Progress::Clock::now()};
};

}  // namespace spqr
