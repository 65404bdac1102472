#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/files/stored_array.h"
#include "kernels/error.h"

namespace eelsvae {

// NumPy's .npy files, versions 1 to 3
// (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).

// Elements other than those of ElementType: objects, structures, complex numbers, text.
class NpyTypeError : public UserError {
 public:
  using UserError::UserError;
};

struct NpyHeader {
  ElementType type = ElementType::float32;
  bool big_endian = false;
  bool fortran_order = false;  // the first index runs fastest
  std::vector<int64_t> shape;  // empty: a single number
  size_t data_offset = 0;      // of the first element in the file
  int64_t elements = 1;
};

// How the elements lie behind the header.
StoredArray stored_array(const NpyHeader& header);

struct NpyArray {
  std::vector<int64_t> shape;
  std::vector<float> values;  // C order, rounded to the nearest float
};

// Parses the header of a file of `size` bytes, of which `content` is the beginning, as long as the header or
// longer, and checks it against the size; `name` is the file to name in a UserError. NpyTypeError if it is
// sound as far as the type, which cannot be read.
NpyHeader parse_npy_header(std::span<const std::byte> content, uint64_t size, const std::string& name);
NpyHeader read_npy_header(const std::string& path);

// Where the elements begin in a file of which `content` is the beginning, whatever their type: a single text,
// say, which decode_npy_text() gives as UTF-8, or a pickle of Python's objects (pickle.h). UserError as
// above.
size_t npy_data_offset(std::span<const std::byte> content, const std::string& name);
std::string decode_npy_text(std::span<const std::byte> content, const std::string& name);

// A whole file; decode_npy takes its content from memory (a member of a .npz archive, say).
NpyArray decode_npy(std::span<const std::byte> content, const std::string& name);
NpyArray read_npy(const std::string& path);

// A truth mask (y, x) of any integer or boolean type, as 0 and 1. UserError if it has another shape.
std::vector<uint8_t> decode_npy_mask(std::span<const std::byte> content, const std::string& name,
                                     int64_t y_size, int64_t x_size);
std::vector<uint8_t> read_npy_mask(const std::string& path, int64_t y_size, int64_t x_size);

// What is known of each pixel (y, x).
struct Truth {
  std::vector<uint8_t> anomalous;  // 0 or 1
  std::vector<uint8_t> undecided;  // 1 where neither to find it nor to miss it is wrong; empty if nowhere
};
// The same of a file in which pixels with a negative number are undecided.
Truth decode_npy_truth(std::span<const std::byte> content, const std::string& name, int64_t y_size,
                       int64_t x_size);
Truth read_npy_truth(const std::string& path, int64_t y_size, int64_t x_size);

// Little-endian float32 and, from zero / non-zero bytes, boolean; C order, all or nothing (AtomicFile).
void write_npy(const std::string& path, const std::vector<int64_t>& shape, const float* values);
void write_npy(const std::string& path, const std::vector<int64_t>& shape, const uint8_t* mask);
// What stands before the numbers of such a file of float32, for who writes them bit by bit.
std::string npy_float32_header(const std::vector<int64_t>& shape);
// The same for bytes that are numbers, uint8.
void write_npy_labels(const std::string& path, const std::vector<int64_t>& shape, const uint8_t* labels);
// Booleans, or int8 with -1 where pixels are undecided.
void write_npy_truth(const std::string& path, const std::vector<int64_t>& shape, const Truth& truth);
}  // namespace eelsvae
