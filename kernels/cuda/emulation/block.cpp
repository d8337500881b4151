#include "kernels/cuda/emulation/block.h"

#include "kernels/cuda/emulation/builtins.h"

#include <algorithm>
#include <bit>
#include <boost/context/detail/fcontext.hpp>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace spqr::emulation {

constinit thread_local Thread* current = nullptr;

namespace {

constexpr std::size_t kRedZone = 256;  // bytes before and after the shared memory of a block that are checked
constexpr std::size_t kSharedZone = std::size_t{16} << 10U;  // bytes that lie between it and other memory
constexpr std::size_t kSharedAlignment = 128;
constexpr std::byte kRedZoneByte{0xC3};
constexpr std::byte kUninitialized{0xFF};  // NaN as f16 and as f32

bool same(Place a, Place b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::string to_string(Place where) {
  const std::string_view path = where.file;
  return std::string(path.substr(path.rfind('/') + 1)) + ":" + std::to_string(where.line);
}

unsigned lowest(unsigned lanes) {
  return static_cast<unsigned>(std::countr_zero(lanes));
}

unsigned bit_of(unsigned thread) {
  return 1U << thread % kLanes;
}

void switch_to(void* fiber, void** previous) {
  const boost::context::detail::transfer_t from = boost::context::detail::jump_fcontext(fiber, previous);
  *static_cast<void**>(from.data) = from.fctx;
}

}  // namespace

std::string to_string(const uint3& index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) +
         ")";
}

Block& Block::of_this_thread() {
  static thread_local Block block;
  return block;
}

Block::Block()
    : threads_(kMostThreads),
      warps_(kMostThreads / kLanes),
      contexts_(kMostThreads),
      stack_of_(kMostThreads),
      shared_(kSharedZone + kSharedBytesOptIn + kSharedZone) {
  const auto begin = reinterpret_cast<std::uintptr_t>(shared_.data()) + kSharedZone;
  shared_offset_ = kSharedZone - begin % kSharedAlignment;
}
Block::~Block() = default;

void Block::prepare(const LaunchInfo& launch, std::uint32_t number, const std::function<void()>& kernel) {
  launch_ = &launch;
  kernel_ = &kernel;
  const dim3& shape = launch.block;
  thread_count_ = shape.x * shape.y * shape.z;
  warp_count_ = (thread_count_ + kLanes - 1) / kLanes;
  for (unsigned i = 0; i < thread_count_; ++i) {
    Thread& thread = threads_[i];
    thread.index = {i % shape.x, i / shape.x % shape.y, i / shape.x / shape.y};
    thread.block_shape = shape;
    thread.grid_shape = launch.grid;
    thread.number = i;
    thread.lane = i % kLanes;
  }
  for (unsigned w = 0; w < warp_count_; ++w) {
    const unsigned lanes = std::min<unsigned>(kLanes, thread_count_ - w * kLanes);
    warps_[w].exists = lanes == kLanes ? ~0U : (1U << lanes) - 1;
  }
  stacks_.reserve(thread_count_);
  std::fill_n(shared_memory() - kRedZone, kRedZone, kRedZoneByte);
  std::fill_n(shared_memory() + launch.shared_bytes, kRedZone, kRedZoneByte);
  if (!watched()) return;
  if (watch_ == nullptr) watch_ = std::make_unique<Watch>(*this);
  watch_->begin_launch(number);
}

void Block::run(std::int64_t index) {
  const auto number = static_cast<std::uint64_t>(index);
  number_ = static_cast<std::uint32_t>(number);
  const dim3& grid = launch_->grid;
  const uint3 block{static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
                    static_cast<unsigned>(number / grid.x / grid.y)};
  for (unsigned i = 0; i < thread_count_; ++i) threads_[i].block = block;
  for (unsigned w = 0; w < warp_count_; ++w) {
    Warp& warp = warps_[w];
    warp.unstarted = warp.exists;
    warp.ready = warp.at_barrier = warp.ended = 0;
    warp.meeting_count = 0;
  }
  free_stacks_.resize(thread_count_);
  for (unsigned i = 0; i < thread_count_; ++i) free_stacks_[i] = thread_count_ - 1 - i;
  current_warp_ = ended_ = at_barrier_ = 0;
  failure_ = nullptr;
  copies_.clear();
  std::memset(shared_memory(), static_cast<int>(kUninitialized), launch_->shared_bytes);

  if (watch_ != nullptr) watch_->begin_block();
  start(0);
  select(0);
  switch_to(contexts_[0], &outside_);
  current = nullptr;
  if (failure_ != nullptr) std::rethrow_exception(std::exchange(failure_, nullptr));
  check_shared_memory();
  if (watch_ != nullptr) watch_->end_block();
}

bool Block::in_shared_buffer(std::uintptr_t address) const {
  return address - reinterpret_cast<std::uintptr_t>(shared_.data()) < shared_.size();
}

void Block::check_shared_memory() const {
  const auto damaged = [](std::byte b) { return b != kRedZoneByte; };
  const auto begin = shared_.begin() + static_cast<std::ptrdiff_t>(shared_offset_);
  const auto end = begin + static_cast<std::ptrdiff_t>(launch_->shared_bytes);
  const std::string where = std::string("kernel '") + launch_->name + "', block " +
                            to_string(threads_[0].block) + ": a thread has written ";
  const auto after = std::find_if(end, end + kRedZone, damaged);
  if (after != end + kRedZone)
    throw std::logic_error(where + std::to_string(after - end) + " bytes past the " +
                           std::to_string(launch_->shared_bytes) + " bytes of shared memory");
  const auto before = std::find_if(begin - kRedZone, begin, damaged);
  if (before != begin)
    throw std::logic_error(where + std::to_string(begin - before) + " bytes before the shared memory");
}

// ---- fibers

struct FiberEntry {
  static void enter(boost::context::detail::transfer_t from) {
    *static_cast<void**>(from.data) = from.fctx;
    Block::of_this_thread().run_threads();
  }
};

unsigned Block::next_thread() const {
  unsigned w = current_warp_;
  for (unsigned i = 0; i < warp_count_; ++i) {
    const unsigned lanes = warps_[w].ready | warps_[w].unstarted;
    if (lanes != 0) return w * kLanes + lowest(lanes);
    if (++w == warp_count_) w = 0;
  }
  return kNone;
}

void Block::start(unsigned number) {
  const unsigned stack = free_stacks_.back();
  free_stacks_.pop_back();
  stack_of_[number] = stack;
  stacks_.forget_frames(stack);
  contexts_[number] = boost::context::detail::make_fcontext(stacks_.top(stack), Stacks::usable_bytes(stack),
                                                            FiberEntry::enter);
  Warp& warp = warps_[number / kLanes];
  warp.unstarted &= ~bit_of(number);
  warp.ready |= bit_of(number);
}

void Block::select(unsigned number) {
  current = &threads_[number];
  current_warp_ = number / kLanes;
  warps_[current_warp_].ready &= ~bit_of(number);
}

void Block::wait() {
  const unsigned self = current->number;
  const unsigned next = next_thread();
  if (next == kNone) report_deadlock();
  if ((warps_[next / kLanes].unstarted & bit_of(next)) != 0) start(next);
  select(next);
  switch_to(contexts_[next], &contexts_[self]);
}

void Block::run_threads() {
  for (;;) {
    try {
      (*kernel_)();
    } catch (...) {
      failure_ = std::current_exception();
    }
    if (failure_ != nullptr) leave();
    const unsigned self = current->number;
    warps_[self / kLanes].ended |= bit_of(self);
    ++ended_;
    const unsigned next = next_thread();
    if (next == kNone && ended_ == thread_count_) leave();
    if (next == kNone) report_deadlock();
    Warp& warp = warps_[next / kLanes];
    if ((warp.unstarted & bit_of(next)) != 0) {  // goes on in this fiber
      warp.unstarted &= ~bit_of(next);
      stack_of_[next] = stack_of_[self];
      select(next);
    } else {
      free_stacks_.push_back(stack_of_[self]);
      select(next);
      switch_to(contexts_[next], &left_behind_);
    }
  }
}

void Block::leave() {
  switch_to(outside_, &left_behind_);
  std::abort();  // nobody comes back
}

void Block::fail(const std::string& what) {
  const std::string where = std::string("kernel '") + launch_->name + "', block " +
                            to_string(current->block) + ", thread " + to_string(current->index) + ": ";
  failure_ = std::make_exception_ptr(std::logic_error(where + what));
  leave();
}

// ---- waiting for each other

void Block::collective(const Collective& what, unsigned mask, void* payload, Place where) {
  Warp& warp = warps_[current_warp_];
  const unsigned self = 1U << current->lane;
  if ((mask & self) == 0)
    fail(std::string(what.name) + " at " + to_string(where) + " with a mask that lacks the lane itself");
  if ((mask & ~warp.exists) != 0)
    fail(std::string(what.name) + " at " + to_string(where) + " with a mask that names lane " +
         std::to_string(lowest(mask & ~warp.exists)) + ", which the warp does not have");
  warp.payloads[current->lane] = payload;
  int i = 0;
  while (i < warp.meeting_count && !(warp.meetings[i].what == &what && warp.meetings[i].mask == mask &&
                                     same(warp.meetings[i].where, where)))
    ++i;
  Meeting& meeting = warp.meetings[i];
  if (i == warp.meeting_count) {
    meeting = {&what, mask, 0, where};
    ++warp.meeting_count;
  }
  meeting.arrived |= self;
  if (meeting.arrived != mask) {
    wait();
    return;
  }
  meeting = warp.meetings[--warp.meeting_count];
  what.run(warp.payloads.data(), mask);
  if (watch_ != nullptr) watch_->lanes_met(current_warp_, mask, &what == &kSyncWarp);
  warp.ready |= mask & ~self;
}

void Block::barrier(Place where) {
  if (at_barrier_ == 0) {
    barrier_where_ = where;
  } else if (!same(barrier_where_, where)) {
    fail("waits at __syncthreads at " + to_string(where) + " while other threads wait at the one at " +
         to_string(barrier_where_));
  }
  if (++at_barrier_ < thread_count_) {
    warps_[current_warp_].at_barrier |= 1U << current->lane;
    wait();
    return;
  }
  at_barrier_ = 0;
  if (watch_ != nullptr) watch_->threads_met();
  for (unsigned w = 0; w < warp_count_; ++w) warps_[w].ready |= std::exchange(warps_[w].at_barrier, 0);
}

// "thread (3, 0, 0) has ended", or what else it does instead of what others wait for.
std::string Block::what_does(unsigned number) const {
  const Warp& warp = warps_[number / kLanes];
  const std::string thread = "thread " + to_string(threads_[number].index);
  if ((warp.ended & bit_of(number)) != 0) return thread + " has ended";
  if ((warp.at_barrier & bit_of(number)) != 0)
    return thread + " waits at __syncthreads at " + to_string(barrier_where_);
  for (int i = 0; i < warp.meeting_count; ++i) {
    const Meeting& meeting = warp.meetings[i];
    if ((meeting.arrived & bit_of(number)) != 0)
      return thread + " waits at " + meeting.what->name + " at " + to_string(meeting.where);
  }
  return thread + " runs";
}

// No thread can go on. Collectives of warps come first: a barrier that lacks their lanes is a consequence.
void Block::report_deadlock() {
  for (unsigned w = 0; w < warp_count_; ++w) {
    if (warps_[w].meeting_count == 0) continue;
    const Meeting& meeting = warps_[w].meetings[0];
    current = &threads_[w * kLanes + lowest(meeting.arrived)];
    fail(std::string("divergent ") + meeting.what->name + " at " + to_string(meeting.where) + ": " +
         what_does(w * kLanes + lowest(meeting.mask & ~meeting.arrived)));
  }
  unsigned waits = 0;
  while ((warps_[waits / kLanes].at_barrier & bit_of(waits)) == 0) ++waits;
  unsigned lacks = 0;
  while ((warps_[lacks / kLanes].at_barrier & bit_of(lacks)) != 0) ++lacks;
  current = &threads_[waits];
  fail("divergent __syncthreads at " + to_string(barrier_where_) + ": " + what_does(lacks));
}

Copies& Block::copies_of_thread() {
  if (copies_.empty()) copies_.resize(thread_count_);
  return copies_[current->number];
}

// ---- what thread.h declares

void collective(const Collective& what, unsigned mask, void* payload, Place where) {
  Block::of_this_thread().collective(what, mask, payload, where);
}
void barrier(Place where) {
  Block::of_this_thread().barrier(where);
}
void fail(const char* what) {
  Block::of_this_thread().fail(what);
}
void* shared_memory() {
  return Block::of_this_thread().shared_memory();
}

}  // namespace spqr::emulation
