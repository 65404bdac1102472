#pragma once

#include <cstdint>
#include <functional>

namespace eelsvae {

// Which of several devices a thread works with is a setting of the thread, which in another program is that
// program's: while a DeviceScope lives, who changes it says before how it is put back, and at the scope's end
// it is. Of scopes within each other the outermost one counts.
class DeviceScope {
 public:
  DeviceScope();
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

  // For backends, before a change. Of the thread's scope, each has its own; 0: there is none, and nothing is
  // to be put back.
  static uint64_t current();
  // Called at the end of the current scope, which there is; does not throw.
  static void at_end(std::function<void()> put_back);
};

}  // namespace eelsvae
