#include "io/files/element_type.h"

#include <cmath>
#include <limits>

namespace eelsvae {
namespace {

struct Entry {
  ElementType type;
  const char* name;
  size_t size;
};

constexpr Entry entries[] = {
    {ElementType::boolean, "bool", 1},    {ElementType::int8, "int8", 1},
    {ElementType::uint8, "uint8", 1},     {ElementType::int16, "int16", 2},
    {ElementType::uint16, "uint16", 2},   {ElementType::int32, "int32", 4},
    {ElementType::uint32, "uint32", 4},   {ElementType::int64, "int64", 8},
    {ElementType::uint64, "uint64", 8},   {ElementType::float16, "float16", 2},
    {ElementType::float32, "float32", 4}, {ElementType::float64, "float64", 8},
};

const Entry& entry(ElementType type) {
  return entries[static_cast<size_t>(type)];
}

}  // namespace

size_t element_size(ElementType type) {
  return entry(type).size;
}

const char* element_name(ElementType type) {
  return entry(type).name;
}

std::optional<ElementType> element_type_named(std::string_view name) {
  for (const Entry& e : entries) {
    if (name == e.name) return e.type;
  }
  return std::nullopt;
}

float half_to_float(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const int fraction = half & 1023;
  float magnitude;
  if (exponent == 31) {
    magnitude = fraction ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(fraction), -24);
  } else {
    magnitude = std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  }
  return half & 0x8000 ? -magnitude : magnitude;
}

}  // namespace eelsvae
