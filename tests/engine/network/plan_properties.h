#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/network/memory_plan.h"

namespace eelsvae {

// Every buffer lies inside the allocation, aligned for vector loads, and no two that live at the same time
// share a byte.
inline testing::AssertionResult is_placed_soundly(const MemoryPlan& plan) {
  const auto& buffers = plan.buffers();
  for (size_t i = 0; i < buffers.size(); ++i) {
    const MemoryPlan::Buffer& a = buffers[i];
    if (a.offset + a.bytes > plan.bytes())
      return testing::AssertionFailure() << a.name << " ends beyond the allocation";
    if (a.offset % 256 != 0) return testing::AssertionFailure() << a.name << " is not aligned";
    for (size_t j = 0; j < i; ++j) {
      const MemoryPlan::Buffer& b = buffers[j];
      const bool both_live = a.first <= b.last && b.first <= a.last;
      if (both_live && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes)
        return testing::AssertionFailure()
               << a.name << " (" << a.first << " to " << a.last << ") and " << b.name << " (" << b.first
               << " to " << b.last << ") share memory";
    }
  }
  return testing::AssertionSuccess();
}

// The bytes alive in the fullest operation, which no placement can do without.
inline size_t most_live_bytes(const MemoryPlan& plan) {
  size_t most = 0;
  for (const MemoryPlan::Buffer& at : plan.buffers()) {
    size_t live = 0;
    for (const MemoryPlan::Buffer& b : plan.buffers())
      if (b.first <= at.first && at.first <= b.last) live += b.bytes;
    most = std::max(most, live);
  }
  return most;
}

}  // namespace eelsvae
