#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace eelsvae {

// Types of the numbers that files hold and that can be read as float32.
enum class ElementType {
  boolean,  // a byte, zero or not
  int8,
  uint8,
  int16,
  uint16,
  int32,
  uint32,
  int64,
  uint64,
  float16,
  float32,
  float64
};

size_t element_size(ElementType type);       // bytes
const char* element_name(ElementType type);  // as NumPy calls it: "int16", "bool"
std::optional<ElementType> element_type_named(std::string_view name);

// The value of a float16, by its bits.
float half_to_float(uint16_t half);

}  // namespace eelsvae
