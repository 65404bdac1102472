#pragma once

#include <cuda_runtime.h>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

// What the files of the emulated device share: its queues and the order in which work leaves them.
namespace eelsvae::emulated_device {

// Held by every call of the runtime: the device is one for all threads of the host.
std::recursive_mutex& device_lock();

// A number from 0 to below `limit`, of the sequence that the seed determines.
unsigned draw(unsigned limit);

// Ends the program: what happened is a defect that no call could report.
[[noreturn]] void fault(const std::string& what);

struct Operation {
  std::function<void()> work;
  std::vector<const void*> addresses;  // memory of the device or page-locked memory that it is handed
};

// A point in a stream, passed when all that was queued before it has run.
struct Mark {
  bool passed = false;
  std::chrono::steady_clock::time_point time;
};
struct Waiting {
  std::shared_ptr<Mark> mark;
};
struct Passing {
  std::shared_ptr<Mark> mark;
};

struct Node {
  Operation operation;
  std::vector<size_t> after;  // nodes that must have run
};
using Nodes = std::vector<Node>;
struct Replay {
  std::shared_ptr<const Nodes> nodes;
  std::vector<bool> done;
  size_t left;
};

// Work of all streams that an event joined to the first, while it is being captured.
struct Capture {
  Nodes nodes;
  CUstream_st* origin;
  std::thread::id thread = std::this_thread::get_id();
  bool invalid = false, ended = false;
};

// The stream that a handle names, null being one of the current device's; null if it names none.
CUstream_st* stream_of(cudaStream_t handle);
// Queues the operation, or adds it to the capture; then the device may go on for a while.
void queue(CUstream_st& stream, Operation operation);
// Runs queued work, of whatever streams, until all of this one or of the device has run.
void finish(CUstream_st& stream);
void finish_device(int device);
// Whether work that is queued was handed an address of this range.
bool in_use(const void* begin, size_t bytes);

// Whether this thread is capturing: a call that may wait or take memory is refused then, and the capture
// lost.
bool refused_by_capture();

// Whether an operation on the device may be handed the address: memory of the device or page-locked memory.
bool reachable(int device, const void* address);

}  // namespace eelsvae::emulated_device

struct CUstream_st {
  int device;
  std::deque<std::variant<eelsvae::emulated_device::Operation, eelsvae::emulated_device::Waiting,
                          eelsvae::emulated_device::Passing, eelsvae::emulated_device::Replay>>
      queue;
  unsigned priority = 0;
  bool destroyed = false;  // what is queued still runs
  std::shared_ptr<eelsvae::emulated_device::Capture> capture;
  std::vector<size_t> last;  // nodes of the capture that the next one comes after
};
struct CUevent_st {
  int device;
  std::shared_ptr<eelsvae::emulated_device::Mark> mark;  // null if never recorded
  std::shared_ptr<eelsvae::emulated_device::Capture> capture;
  std::vector<size_t> nodes;
};
struct CUgraph_st {
  std::shared_ptr<const eelsvae::emulated_device::Nodes> nodes;
};
struct CUgraphExec_st {
  std::shared_ptr<const eelsvae::emulated_device::Nodes> nodes;
  std::shared_ptr<eelsvae::emulated_device::Mark> last;  // end of the launch before: they do not overlap
};
