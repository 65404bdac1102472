// Streams, events and graphs of the emulated device: see include/cuda_runtime.h.
#include "kernels/emulated/scheduler.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <random>

namespace eelsvae::emulated_device {
namespace {

struct State {
  std::recursive_mutex lock;
  std::list<std::unique_ptr<CUstream_st>> streams;
  std::vector<CUstream_st*> default_streams;  // by device
  unsigned seed = 1;
  std::mt19937 random;
  unsigned eagerness = 0;  // of 4: how far the device gets while the host goes on

  State() {
    if (const char* wanted = std::getenv("EELSVAE_EMULATED_SEED"))
      seed = static_cast<unsigned>(std::strtoul(wanted, nullptr, 10));
    restart();
  }
  void restart() {
    random.seed(seed);
    eagerness = 0;
    for (const auto& stream : streams) stream->priority = random();
  }
};

// Never destroyed: objects of the program that end after main may still call.
State& state() {
  static State& only = *new State;
  return only;
}

thread_local std::shared_ptr<Capture> captured_here;

CUstream_st* add_stream(int device) {
  state().streams.push_back(std::make_unique<CUstream_st>());
  CUstream_st* stream = state().streams.back().get();
  stream->device = device;
  stream->priority = state().random();
  return stream;
}

bool ready(const CUstream_st& stream) {
  if (stream.queue.empty()) return false;
  const Waiting* waiting = std::get_if<Waiting>(&stream.queue.front());
  return !waiting || waiting->mark->passed;
}

// One node whose predecessors have run, any of them.
void run_node(Replay& replay) {
  const Nodes& nodes = *replay.nodes;
  std::vector<size_t> candidates;
  for (size_t i = 0; i < nodes.size(); ++i)
    if (!replay.done[i] &&
        std::ranges::all_of(nodes[i].after, [&](size_t before) { return replay.done[before]; }))
      candidates.push_back(i);
  const size_t chosen = candidates[draw(static_cast<unsigned>(candidates.size()))];
  replay.done[chosen] = true;
  --replay.left;
  nodes[chosen].operation.work();
}

void run_front(CUstream_st& stream) {
  if (Replay* replay = std::get_if<Replay>(&stream.queue.front()); replay && replay->left > 0)
    return run_node(*replay);
  const auto item = std::move(stream.queue.front());
  stream.queue.pop_front();
  if (const Operation* operation = std::get_if<Operation>(&item)) operation->work();
  if (const Passing* passing = std::get_if<Passing>(&item))
    *passing->mark = {true, std::chrono::steady_clock::now()};
}

// Runs the next item of one of the streams; false if there is none that need not wait. Streams have
// priorities that change at random, so that one may fall far behind the others.
bool step() {
  CUstream_st* next = nullptr;
  for (const auto& stream : state().streams)
    if (ready(*stream) && (!next || stream->priority > next->priority)) next = stream.get();
  if (!next) return false;
  run_front(*next);
  if (draw(8) == 0) next->priority = state().random();
  if (next->destroyed && next->queue.empty())
    state().streams.remove_if([next](const auto& stream) { return stream.get() == next; });
  return true;
}

template <typename Condition>
void run_until(Condition condition) {
  while (!condition())
    if (!step()) fault("the host waits for work that waits for ever");
}

void advance() {
  if (draw(16) == 0) state().eagerness = draw(5);
  while (draw(4) < state().eagerness && step()) {
  }
}

// Adds work that is no operation.
template <typename Item>
void push(CUstream_st& stream, Item item) {
  stream.queue.push_back(std::move(item));
  advance();
}

bool captures(const CUstream_st& stream) {
  return stream.capture != nullptr;
}

}  // namespace

std::recursive_mutex& device_lock() {
  return state().lock;
}

void set_seed(unsigned seed) {
  const std::lock_guard lock(device_lock());
  state().seed = seed;
  state().restart();
}

unsigned draw(unsigned limit) {
  return static_cast<unsigned>(state().random() % limit);
}

void fault(const std::string& what) {
  std::fprintf(stderr, "emulated device: %s (EELSVAE_EMULATED_SEED=%u)\n", what.c_str(), state().seed);
  std::abort();
}

CUstream_st* stream_of(cudaStream_t handle) {
  if (!handle) {
    int device = 0;
    cudaGetDevice(&device);
    std::vector<CUstream_st*>& streams = state().default_streams;
    while (static_cast<int>(streams.size()) <= device)
      streams.push_back(add_stream(static_cast<int>(streams.size())));
    return streams[static_cast<size_t>(device)];
  }
  for (const auto& stream : state().streams)
    if (stream.get() == handle && !stream->destroyed) return handle;
  return nullptr;
}

void queue(CUstream_st& stream, Operation operation) {
  if (!captures(stream)) return push(stream, std::move(operation));
  Nodes& nodes = stream.capture->nodes;
  nodes.push_back({std::move(operation), std::move(stream.last)});
  stream.last = {nodes.size() - 1};
}

void finish(CUstream_st& stream) {
  const auto mark = std::make_shared<Mark>();
  stream.queue.push_back(Passing{mark});
  run_until([&] { return mark->passed; });
}

void finish_device(int device) {
  run_until([&] {
    return std::ranges::all_of(state().streams, [&](const auto& stream) {
      return stream->device != device || stream->queue.empty();
    });
  });
}

bool in_use(const void* begin, size_t bytes) {
  const auto* first = static_cast<const char*>(begin);
  const auto within = [&](const Operation& operation) {
    return std::ranges::any_of(operation.addresses, [&](const void* address) {
      return address >= first && address < first + bytes;
    });
  };
  for (const auto& stream : state().streams)
    for (const auto& item : stream->queue) {
      if (const Operation* operation = std::get_if<Operation>(&item); operation && within(*operation))
        return true;
      if (const Replay* replay = std::get_if<Replay>(&item))
        for (const Node& node : *replay->nodes)
          if (within(node.operation)) return true;
    }
  return false;
}

bool refused_by_capture() {
  if (captured_here) captured_here->invalid = true;
  return captured_here != nullptr;
}

cudaError_t enqueue(cudaStream_t handle, std::vector<const void*> addresses, std::function<void()> work) {
  const std::lock_guard lock(device_lock());
  CUstream_st* stream = stream_of(handle);
  int device = 0;
  cudaGetDevice(&device);
  if (!stream || stream->device != device) return cudaErrorInvalidResourceHandle;
  for (const void* address : addresses)
    if (!reachable(device, address)) return cudaErrorIllegalAddress;
  queue(*stream, {std::move(work), std::move(addresses)});
  return cudaSuccess;
}

}  // namespace eelsvae::emulated_device

using namespace eelsvae::emulated_device;
using Lock = std::lock_guard<std::recursive_mutex>;

cudaError_t cudaDeviceSynchronize() {
  const Lock lock(device_lock());
  if (refused_by_capture()) return cudaErrorStreamCaptureUnsupported;
  int device = 0;
  cudaGetDevice(&device);
  finish_device(device);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Lock lock(device_lock());
  if (flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;  // others wait for the default stream
  int device = 0;
  cudaGetDevice(&device);
  *stream = add_stream(device);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  const Lock lock(device_lock());
  CUstream_st* stream = handle ? stream_of(handle) : nullptr;
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (captures(*stream)) stream->capture->invalid = true;
  stream->destroyed = true;
  if (stream->queue.empty()) state().streams.remove_if([&](const auto& s) { return s.get() == stream; });
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  const Lock lock(device_lock());
  CUstream_st* stream = stream_of(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (captures(*stream)) {
    stream->capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  finish(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  const Lock lock(device_lock());
  CUstream_st* stream = stream_of(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (!event->capture) {
    if (captures(*stream)) {
      if (!event->mark) return cudaSuccess;
      stream->capture->invalid = true;
      return cudaErrorStreamCaptureIsolation;
    }
    if (event->mark) push(*stream, Waiting{event->mark});
    return cudaSuccess;
  }
  if (event->capture->ended || (captures(*stream) && stream->capture != event->capture)) {
    if (captures(*stream)) stream->capture->invalid = true;
    return cudaErrorStreamCaptureIsolation;
  }
  stream->capture = event->capture;
  stream->last.insert(stream->last.end(), event->nodes.begin(), event->nodes.end());
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  int device = 0;
  cudaGetDevice(&device);
  *event = new CUevent_st{device, nullptr, nullptr, {}};
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  const Lock lock(device_lock());
  CUstream_st* stream = stream_of(handle);
  if (!stream || stream->device != event->device) return cudaErrorInvalidResourceHandle;
  event->capture = stream->capture;
  event->nodes = stream->last;
  event->mark = nullptr;
  if (captures(*stream)) return cudaSuccess;
  event->mark = std::make_shared<Mark>();
  push(*stream, Passing{event->mark});
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(device_lock());
  if (event->capture) {
    event->capture->invalid = true;
    return cudaErrorCapturedEvent;
  }
  if (event->mark) run_until([&] { return event->mark->passed; });
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Lock lock(device_lock());
  if (event->capture) {
    event->capture->invalid = true;
    return cudaErrorCapturedEvent;
  }
  advance();
  return !event->mark || event->mark->passed ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const Lock lock(device_lock());
  if (!start->mark || !end->mark || start->device != end->device) return cudaErrorInvalidResourceHandle;
  if (!start->mark->passed || !end->mark->passed) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(end->mark->time - start->mark->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode) {
  const Lock lock(device_lock());
  CUstream_st* stream = stream_of(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (!handle || captures(*stream) || captured_here) return cudaErrorStreamCaptureUnsupported;
  stream->capture = captured_here = std::make_shared<Capture>();
  stream->capture->origin = stream;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  const Lock lock(device_lock());
  *graph = nullptr;
  CUstream_st* stream = stream_of(handle);
  if (!stream || !captures(*stream)) return cudaErrorInvalidValue;
  const std::shared_ptr<Capture> capture = stream->capture;
  if (capture->origin != stream) return cudaErrorStreamCaptureUnmatched;
  if (capture->thread != std::this_thread::get_id()) return cudaErrorStreamCaptureWrongThread;
  // What the stream's end comes after, directly or not, has joined it again.
  std::vector<bool> joined(capture->nodes.size());
  for (size_t node : stream->last) joined[node] = true;
  for (size_t node = joined.size(); node-- > 0;)
    if (joined[node])
      for (size_t before : capture->nodes[node].after) joined[before] = true;
  capture->ended = true;
  captured_here = nullptr;
  for (const auto& other : state().streams)
    if (other->capture == capture) {
      other->capture = nullptr;
      other->last.clear();
    }
  if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
  if (!std::ranges::all_of(joined, std::identity{})) return cudaErrorStreamCaptureUnjoined;
  *graph = new CUgraph_st{std::make_shared<const Nodes>(std::move(capture->nodes))};
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{graph->nodes, nullptr};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
  const Lock lock(device_lock());
  CUstream_st* stream = stream_of(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (captures(*stream)) {
    stream->capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  for (const Node& node : *executable->nodes)
    for (const void* address : node.operation.addresses)
      if (!reachable(stream->device, address)) return cudaErrorIllegalAddress;
  if (executable->last) push(*stream, Waiting{executable->last});
  executable->last = std::make_shared<Mark>();
  const size_t count = executable->nodes->size();
  push(*stream, Replay{executable->nodes, std::vector<bool>(count), count});
  push(*stream, Passing{executable->last});
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
