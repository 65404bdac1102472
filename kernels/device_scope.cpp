#include "kernels/device_scope.h"

#include <utility>
#include <vector>

namespace eelsvae {
namespace {

struct OfThread {
  uint64_t depth = 0, scopes = 0;
  std::vector<std::function<void()>> put_back;
};

OfThread& of_thread() {
  thread_local OfThread scopes;
  return scopes;
}

}  // namespace

DeviceScope::DeviceScope() {
  if (of_thread().depth++ == 0) ++of_thread().scopes;
}

DeviceScope::~DeviceScope() {
  if (--of_thread().depth > 0) return;
  for (const auto& put_back : std::exchange(of_thread().put_back, {})) put_back();
}

uint64_t DeviceScope::current() {
  return of_thread().depth > 0 ? of_thread().scopes : 0;
}

void DeviceScope::at_end(std::function<void()> put_back) {
  of_thread().put_back.push_back(std::move(put_back));
}

}  // namespace eelsvae
