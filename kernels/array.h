#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/error.h"
#include "kernels/host_device.h"

namespace eelsvae {

// The upper half of an IEEE-754 float: 8 exponent bits, 7 mantissa bits. Arithmetic happens in float.
struct bfloat16 {
  uint16_t bits;

  bfloat16() = default;  // cppcheck-suppress uninitMemberVar ; arrays of it are made without a pass over them
  EELSVAE_HOST_DEVICE explicit bfloat16(float value) : bits(rounded(value)) {}
  // The bits of the nearest value, ties to even; NaN stays NaN.
  EELSVAE_HOST_DEVICE static uint16_t rounded(float value) {
#ifdef __CUDA_ARCH__
    uint16_t nearest_bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(nearest_bits) : "f"(value));
    return nearest_bits;
#else
    uint32_t u = std::bit_cast<uint32_t>(value);
    uint32_t nearest = u + 0x7fffu + ((u >> 16) & 1u);
    bool is_nan = (u & 0x7fffffffu) > 0x7f800000u;
    return static_cast<uint16_t>((is_nan ? (u | 0x400000u) : nearest) >> 16);
#endif
  }
  EELSVAE_HOST_DEVICE operator float() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

enum class DType : uint8_t { bf16, f32, f64 };

constexpr size_t size_of(DType type) {
  switch (type) {
    case DType::bf16:
      return 2;
    case DType::f32:
      return 4;
    case DType::f64:
      return 8;
  }
  return 0;
}

constexpr const char* name_of(DType type) {
  switch (type) {
    case DType::bf16:
      return "bf16";
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
  }
  return "?";
}

template <typename T>
struct dtype_of;
template <>
struct dtype_of<bfloat16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct dtype_of<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct dtype_of<double> {
  static constexpr DType value = DType::f64;
};

// A typed run of elements in a backend's memory. Shapes belong to the operation's problem description; the
// count is kept so that an operation can check that it was handed what it expects.
struct ConstArray {
  const void* data = nullptr;
  DType type = DType::f32;
  int64_t count = 0;

  template <typename T>
  const T* as() const {
    expect(type == dtype_of<T>::value, "array read as another type");
    return static_cast<const T*>(data);
  }
  size_t bytes() const { return static_cast<size_t>(count) * size_of(type); }
  explicit operator bool() const { return data != nullptr; }
};

struct Array {
  void* data = nullptr;
  DType type = DType::f32;
  int64_t count = 0;

  template <typename T>
  T* as() const {
    expect(type == dtype_of<T>::value, "array written as another type");
    return static_cast<T*>(data);
  }
  size_t bytes() const { return static_cast<size_t>(count) * size_of(type); }
  explicit operator bool() const { return data != nullptr; }
  operator ConstArray() const { return {data, type, count}; }
};

}  // namespace eelsvae
