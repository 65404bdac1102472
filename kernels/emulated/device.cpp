// Runs the threads of a grid: see include/cuda_runtime.h.
#include <cuda_runtime.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/emulated/scheduler.h"

#define BOOST_DISABLE_ASSERTS
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>

constinit thread_local uint3 threadIdx{}, blockIdx{};
constinit thread_local dim3 blockDim, gridDim;

namespace eelsvae::emulated_device {
namespace {

namespace context = boost::context;

// Stacks for the threads of a block, kept for the next one.
context::pooled_fixedsize_stack& stacks() {
  static thread_local context::pooled_fixedsize_stack pool(std::size_t{1} << 16);
  return pool;
}

// A number of threads that wait for each other, again and again.
struct Meeting {
  unsigned arrived = 0;  // lanes of a warp by their bits, threads of a block by their number
  unsigned alive = 0;    // likewise; those that have ended are not waited for
  uint64_t round = 0;
};

class Block {
 public:
  Block(dim3 grid, dim3 block, const std::function<void()>& body)
      : body_(body),
        threads_(static_cast<size_t>(block.x) * block.y * block.z),
        warps_((threads_ + 31) / 32),
        slots_(warps_ * 64),
        meetings_(warps_),
        grid_(grid),
        size_(block) {}

  void run(uint3 index, const std::vector<size_t>& order);

  void block_barrier() {
    progress_ = true;
    const uint64_t round = block_meeting_.round;
    if (++block_meeting_.arrived == block_meeting_.alive) release_block();
    while (block_meeting_.round == round) leave();
  }
  void warp_barrier(unsigned mask) {
    progress_ = true;
    Meeting& meeting = meetings_[running_ / 32];
    const uint64_t round = meeting.round;
    meeting.arrived |= 1u << (running_ % 32);
    const unsigned expected = mask & meeting.alive;
    if ((meeting.arrived & expected) == expected) {
      meeting.arrived &= ~expected;
      ++meeting.round;
      return;
    }
    while (meeting.round == round) leave();
  }
  // Two sets take turns, so that a lane can write its next value while others still read the last ones.
  uint64_t* slots() { return slots_.data() + running_ / 32 * 64 + meetings_[running_ / 32].round % 2 * 32; }

 private:
  struct Thread {
    context::fiber resume;
    bool done = true;
  };

  void release_block() {
    block_meeting_.arrived = 0;
    ++block_meeting_.round;
  }
  void leave() {
    const size_t self = running_;
    caller_ = std::move(caller_).resume();
    running_ = self;
  }

  const std::function<void()>& body_;
  size_t threads_, warps_;
  std::vector<uint64_t> slots_;
  std::vector<Meeting> meetings_;
  Meeting block_meeting_;
  dim3 grid_, size_;
  std::vector<Thread> fibers_;
  context::fiber caller_;
  size_t running_ = 0;
  bool progress_ = false;
};

thread_local Block* current = nullptr;
thread_local uint64_t blocks_begun = 0;

void Block::run(uint3 index, const std::vector<size_t>& order) {
  current = this;
  ++blocks_begun;
  blockIdx = index;
  blockDim = size_;
  gridDim = grid_;
  fibers_.clear();
  fibers_.resize(threads_);
  block_meeting_ = {0, static_cast<unsigned>(threads_), 0};
  for (size_t w = 0; w < warps_; ++w) {
    const size_t lanes = std::min<size_t>(32, threads_ - w * 32);
    meetings_[w] = {0, lanes == 32 ? 0xffffffffu : (1u << lanes) - 1, 0};
  }
  for (Thread& thread : fibers_) {
    thread.done = false;
    thread.resume = context::fiber(std::allocator_arg, stacks(), [this, &thread](context::fiber&& caller) {
      caller_ = std::move(caller);
      body_();
      thread.done = true;
      progress_ = true;
      meetings_[running_ / 32].alive &= ~(1u << (running_ % 32));
      if (--block_meeting_.alive > 0 && block_meeting_.arrived == block_meeting_.alive) release_block();
      return std::move(caller_);
    });
  }
  while (block_meeting_.alive > 0) {
    progress_ = false;
    for (size_t i : order) {
      Thread& thread = fibers_[i];
      if (thread.done) continue;
      running_ = i;
      const auto t = static_cast<unsigned>(i);
      threadIdx = {t % size_.x, t / size_.x % size_.y, t / size_.x / size_.y};
      thread.resume = std::move(thread.resume).resume();
    }
    if (!progress_)
      fault("a barrier in block " + std::to_string(index.x) + " is not reached by all of its threads");
  }
  current = nullptr;
}

}  // namespace

uint64_t block_number() {
  return blocks_begun;
}
void block_barrier() {
  const uint3 mine = threadIdx;
  current->block_barrier();
  threadIdx = mine;
}
void warp_barrier(unsigned mask) {
  const uint3 mine = threadIdx;
  current->warp_barrier(mask);
  threadIdx = mine;
}
uint64_t* warp_slots() {
  return current->slots();
}

void run_grid(dim3 grid, dim3 block, const std::function<void()>& body) {
  std::vector<size_t> order(static_cast<size_t>(block.x) * block.y * block.z);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[draw(static_cast<unsigned>(i))]);
  const int64_t blocks = static_cast<int64_t>(grid.x) * grid.y * grid.z;
  // Blocks begin anywhere and go up or down.
  const int64_t first = draw(static_cast<unsigned>(blocks)), step = draw(2) == 0 ? 1 : blocks - 1;
  // Waking another core costs more than a few small blocks.
#pragma omp parallel if (blocks * static_cast <int64_t>(order.size()) > 4096)
  {
    Block runner(grid, block, body);
#pragma omp for schedule(dynamic, 8)
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t b = (first + i * step) % blocks;
      runner.run({static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                  static_cast<unsigned>(b / grid.x / grid.y)},
                 order);
    }
  }
}

}  // namespace eelsvae::emulated_device
