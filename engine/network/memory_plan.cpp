#include "engine/network/memory_plan.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

namespace eelsvae {
namespace {

constexpr size_t alignment = 256;  // of the strictest reader: vector loads on a GPU

// Large buffers keep this distance. Those of the big Linear layers have whole mebibytes, and what reads
// several of them side by side would find all its addresses in the same places of a cache: Adam ran at half
// its speed.
constexpr size_t large = size_t{1} << 20, distance = 17 * alignment;

size_t end_of(const MemoryPlan::Buffer& buffer) {
  return buffer.offset + buffer.bytes + (buffer.bytes >= large ? distance : 0);
}

double gib(size_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

std::string line(const char* format, auto... values) {
  char text[256];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

}  // namespace

int64_t MemoryPlan::Buffer::count() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

BufferId MemoryPlan::add(std::string name, std::vector<int64_t> shape, DType type, int first, int last) {
  Buffer buffer{std::move(name), std::move(shape), type, first, last, 0, 0};
  buffer.bytes = static_cast<size_t>(buffer.count()) * size_of(type);
  buffers_.push_back(std::move(buffer));
  return static_cast<BufferId>(buffers_.size()) - 1;
}

BufferId MemoryPlan::add_bytes(std::string name, size_t bytes, int first, int last) {
  buffers_.push_back({std::move(name), {}, DType::f32, first, last, bytes, 0});
  return static_cast<BufferId>(buffers_.size()) - 1;
}

void MemoryPlan::place() {
  std::vector<Buffer*> order;
  for (Buffer& buffer : buffers_) order.push_back(&buffer);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->bytes > b->bytes; });
  std::vector<const Buffer*> placed;  // by offset
  for (Buffer* buffer : order) {
    buffer->offset = 0;
    for (const Buffer* other : placed) {
      if (other->last < buffer->first || buffer->last < other->first) continue;
      if (end_of(*buffer) <= other->offset) break;
      buffer->offset = std::max(buffer->offset, (end_of(*other) + alignment - 1) / alignment * alignment);
    }
    placed.insert(std::upper_bound(placed.begin(), placed.end(), buffer,
                                   [](auto* a, auto* b) { return a->offset < b->offset; }),
                  buffer);
    bytes_ = std::max(bytes_, buffer->offset + buffer->bytes);
  }
}

std::string MemoryPlan::summary(const DeviceMemory& memory) const {
  size_t sum = 0;
  for (const Buffer& buffer : buffers_) sum += buffer.bytes;
  return line("%zu buffers, %.3f GiB; sharing by lifetime brings them down to %.3f GiB.\n", buffers_.size(),
              gib(sum), gib(bytes_)) +
         line("The device has %.3f GiB, %.3f GiB of them free.\n", gib(memory.total), gib(memory.available));
}

std::string MemoryPlan::table() const {
  std::vector<const Buffer*> order;
  for (const Buffer& buffer : buffers_) order.push_back(&buffer);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->bytes > b->bytes; });
  std::string text = line("%-34s %-26s %-5s %12s  %s\n", "buffer", "shape", "type", "MiB", "operations");
  for (const Buffer* b : order) {
    std::string shape;
    for (int64_t extent : b->shape) shape += (shape.empty() ? "" : " x ") + std::to_string(extent);
    std::string life =
        b->last == forever ? "always" : std::to_string(b->first) + " to " + std::to_string(b->last);
    text += line("%-34s %-26s %-5s %12.3f  %s\n", b->name.c_str(), shape.c_str(),
                 b->shape.empty() ? "bytes" : name_of(b->type), static_cast<double>(b->bytes) / (1 << 20),
                 life.c_str());
  }
  return text;
}

Arena::Arena(Backend& backend, const MemoryPlan& plan, const std::string& advice)
    : backend_(backend), plan_(plan), memory_(nullptr) {
  DeviceMemory memory = backend.memory();
  if (plan.bytes() > memory.available)
    throw UserError(line("not enough memory on %s: the plan needs %.2f GiB, %.2f GiB are free; ",
                         backend.device().c_str(), gib(plan.bytes()), gib(memory.available)) +
                    advice + " (--plan=full lists the buffers)");
  memory_ = static_cast<char*>(backend.allocate(plan.bytes()));
}

Arena::~Arena() {
  backend_.release(memory_, plan_.bytes());
}

void* Arena::at(BufferId id) const {
  return memory_ + plan_[id].offset;
}

Array Arena::array(BufferId id) const {
  const MemoryPlan::Buffer& buffer = plan_[id];
  expect(!buffer.shape.empty(), "raw memory used as an array");
  return {at(id), buffer.type, buffer.count()};
}

}  // namespace eelsvae
