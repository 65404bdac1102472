#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "kernels/backend.h"

namespace eelsvae {

// Tests hold numbers as doubles on the host, whatever a backend stores.
using Values = std::vector<double>;

// An array in a backend's memory for the time of a test. It starts as NaN, so that elements which an
// operation forgets to write are found, and is followed by bytes that nobody may touch.
class DeviceArray {
 public:
  DeviceArray(Backend& backend, DType type, int64_t count)
      : backend_(backend), array_{backend.allocate(allocated(type, count)), type, count} {
    std::vector<unsigned char> bytes(allocated(type, count), 0xff);  // NaN in every type
    std::fill(bytes.end() - guard_bytes, bytes.end(), guard);
    backend_.upload(bytes.data(), array_.data, bytes.size());
  }
  // Rounds the values to the type.
  DeviceArray(Backend& backend, DType type, const Values& values)
      : DeviceArray(backend, type, static_cast<int64_t>(values.size())) {
    upload(values);
  }
  ~DeviceArray() {
    std::vector<unsigned char> bytes(allocated(array_.type, array_.count));
    backend_.download(array_.data, bytes.data(), bytes.size());
    auto touched = std::count_if(bytes.end() - guard_bytes, bytes.end(), [](auto b) { return b != guard; });
    EXPECT_EQ(touched, 0) << "bytes written past the end of an array of " << array_.count << " "
                          << name_of(array_.type);
    backend_.release(array_.data, bytes.size());
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  operator Array() const { return array_; }
  operator ConstArray() const { return array_; }
  void* data() const { return array_.data; }

  void upload(const Values& values) {
    ASSERT_EQ(static_cast<int64_t>(values.size()), array_.count);
    with_type(array_.type, [&]<typename T>(T) {
      std::vector<T> host(values.size());
      std::transform(values.begin(), values.end(), host.begin(), round_to<T>);
      backend_.upload(host.data(), array_.data, array_.bytes());
    });
  }
  Values download() const {
    Values values(static_cast<size_t>(array_.count));
    with_type(array_.type, [&]<typename T>(T) {
      std::vector<T> host(values.size());
      backend_.download(array_.data, host.data(), array_.bytes());
      std::copy(host.begin(), host.end(), values.begin());
    });
    return values;
  }

  template <typename T>
  static T round_to(double value) {
    if constexpr (std::is_same_v<T, bfloat16>)
      return bfloat16(static_cast<float>(value));
    else
      return static_cast<T>(value);
  }
  // Calls f with a value of the C++ type of `type`.
  template <typename F>
  static void with_type(DType type, F f) {
    switch (type) {
      case DType::bf16:
        return f(bfloat16{});
      case DType::f32:
        return f(float{});
      case DType::f64:
        return f(double{});
    }
  }

 private:
  static constexpr int64_t guard_bytes = 256;
  static constexpr unsigned char guard = 0xa5;
  static size_t allocated(DType type, int64_t count) {
    return static_cast<size_t>(count) * size_of(type) + guard_bytes;
  }

  Backend& backend_;
  Array array_;
};

// Scratch memory or packed weights: bytes of no type, NaN whatever they are read as.
class DeviceBytes : public DeviceArray {
 public:
  DeviceBytes(Backend& backend, size_t bytes)
      : DeviceArray(backend, DType::bf16, static_cast<int64_t>((bytes + 1) / 2)) {}
};

class DeviceScalars {
 public:
  DeviceScalars(Backend& backend, const StepScalars& scalars)
      : backend_(backend), memory_(static_cast<StepScalars*>(backend.allocate(sizeof(StepScalars)))) {
    backend_.upload(&scalars, memory_, sizeof scalars);
  }
  ~DeviceScalars() { backend_.release(memory_, sizeof(StepScalars)); }
  DeviceScalars(const DeviceScalars&) = delete;
  DeviceScalars& operator=(const DeviceScalars&) = delete;

  operator StepScalars*() const { return memory_; }
  StepScalars download() const {
    StepScalars scalars;
    backend_.download(memory_, &scalars, sizeof scalars);
    return scalars;
  }

 private:
  Backend& backend_;
  StepScalars* memory_;
};

// The values as a backend would store them in `type`.
inline Values rounded(Values values, DType type) {
  DeviceArray::with_type(type, [&]<typename T>(T) {
    for (double& value : values) value = static_cast<double>(DeviceArray::round_to<T>(value));
  });
  return values;
}

}  // namespace eelsvae
