#include "kernels/backend.h"

#include <algorithm>
#include <charconv>

#include "backend_table.h"  // generated from the folders of kernels/: one <folder>_backend() each

namespace eelsvae {

const std::vector<const BackendFactory*>& backend_factories() {
  return generated_backend_table();
}

std::unique_ptr<Backend> make_backend(const std::string& device, const std::string& precision,
                                      std::string* reason) {
  std::vector<const BackendFactory*> factories = backend_factories();
  std::sort(factories.begin(), factories.end(),
            [](auto* a, auto* b) { return a->preference > b->preference; });

  if (device == "auto") {
    for (const BackendFactory* factory : factories) {
      if (!factory->automatic) continue;
      std::optional<std::string> obstacle = factory->probe();
      if (!obstacle) return factory->create(0, precision);
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
      if (std::optional<std::string> obstacle = factory->probe())
        throw UserError("device '" + device + "' cannot be used: " + *obstacle);
      return factory->create(index, precision);
    }
    known += std::string(", ") + factory->kind;
  }
  throw UserError("device '" + device + "' is not in this build; choose one of " + known);
}

}  // namespace eelsvae
