// One thread inside BLAS while this lives: callers split work into tiles of fixed size themselves, so that
// results do not depend on the number of threads. Process-wide setting; the last one alive restores it.
#pragma once

namespace spqr {

class SingleThreadedBlas {
 public:
  SingleThreadedBlas();
  ~SingleThreadedBlas();
  SingleThreadedBlas(const SingleThreadedBlas&) = delete;
  SingleThreadedBlas& operator=(const SingleThreadedBlas&) = delete;
};

}  // namespace spqr
