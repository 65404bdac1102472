#include "kernels/backend.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "backend_table.h"  // generated from the folders of kernels/: one <folder>_backend() each

namespace eelsvae {

const std::vector<const BackendFactory*>& backend_factories() {
  return generated_backend_table();
}

namespace {

// Where operations are done when they are queued, a copy is there at once.
class HostFeed final : public Feed {
 public:
  HostFeed(Backend& backend, size_t bytes) : backend_(backend), slot_(bytes) {}
  void* slot() override { return slot_.data(); }
  void submit(void* device) override { backend_.upload(slot_.data(), device, slot_.size()); }

 private:
  Backend& backend_;
  std::vector<std::byte> slot_;
};

class HostDrain final : public Drain {
 public:
  HostDrain(Backend& backend, size_t bytes) : backend_(backend), slots_{Slot(bytes), Slot(bytes)} {}
  void submit(const void* device) override {
    Slot& slot = slots_[submitted_++ % slots_.size()];
    backend_.download(device, slot.data(), slot.size());
  }
  const void* wait() override {
    expect(waited_ < submitted_, "drain: nothing to wait for");
    return slots_[waited_++ % slots_.size()].data();
  }

 private:
  using Slot = std::vector<std::byte>;
  Backend& backend_;
  std::array<Slot, 2> slots_;
  size_t submitted_ = 0, waited_ = 0;
};

class Repetition final : public Recording {
 public:
  explicit Repetition(std::function<void()> operations) : operations_(std::move(operations)) {}
  void run() override { operations_(); }

 private:
  std::function<void()> operations_;
};

}  // namespace

std::unique_ptr<Feed> Backend::make_feed(size_t bytes, void*) {
  return std::make_unique<HostFeed>(*this, bytes);
}
std::unique_ptr<Drain> Backend::make_drain(size_t bytes, void*) {
  return std::make_unique<HostDrain>(*this, bytes);
}
std::unique_ptr<Recording> Backend::record(std::function<void()> operations) {
  return std::make_unique<Repetition>(std::move(operations));
}

BackendOffer find_backend(const std::string& device, const std::string& precision, const std::string& kernels,
                          std::string* reason) {
  std::vector<const BackendFactory*> factories = backend_factories();
  std::sort(factories.begin(), factories.end(),
            [](auto* a, auto* b) { return a->preference > b->preference; });

  if (device == "auto") {
    for (const BackendFactory* factory : factories) {
      if (!factory->automatic) continue;
      std::optional<std::string> obstacle = factory->probe(0);
      if (!obstacle) return {factory, 0, factory->variants(precision, kernels)};
      if (reason && reason->empty()) *reason = std::string(factory->kind) + " not used: " + *obstacle;
    }
    throw UserError("device auto: no usable device");
  }

  size_t colon = device.find(':');
  std::string kind = device.substr(0, colon);
  int index = 0;
  if (colon != std::string::npos) {
    const char* first = device.data() + colon + 1;
    const char* last = device.data() + device.size();
    auto [end, error] = std::from_chars(first, last, index);
    if (error != std::errc() || end != last || index < 0)
      throw UserError("device '" + device + "': expected a device number after the colon, such as cuda:0");
  }
  std::string known = "auto";
  for (const BackendFactory* factory : factories) {
    if (kind == factory->kind) {
      if (std::optional<std::string> obstacle = factory->probe(index))
        throw UserError("device '" + device + "' cannot be used: " + *obstacle);
      return {factory, index, factory->variants(precision, kernels)};
    }
    known += std::string(", ") + factory->kind;
  }
  throw UserError("device '" + device + "' is not in this build; choose one of " + known);
}

std::unique_ptr<Backend> make_backend(const std::string& device, const std::string& precision,
                                      const std::string& kernels) {
  const BackendOffer offer = find_backend(device, precision, kernels);
  return offer.create(offer.variants.front());
}

}  // namespace eelsvae
