#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/stop_token.h"
#include "io/files/element_type.h"
#include "io/files/mapped_file.h"

namespace eelsvae {

// How the numbers of an array lie in memory or in a file: the element at (i0, i1, ...) begins
// sum(i_d * stride[d]) bytes after the first one.
struct StoredArray {
  ElementType type = ElementType::float32;
  bool big_endian = false;
  std::vector<int64_t> shape;   // in the order in which the axes are shown: (y, x, E)
  std::vector<int64_t> stride;  // bytes; positive in files, in a program's memory any

  // Without gaps, the axis order[0] running slowest and order.back() fastest: {0, 1, 2} is C order.
  static StoredArray dense(ElementType type, bool big_endian, std::vector<int64_t> shape,
                           const std::vector<size_t>& order);
};

// Elements of an array of this shape, or -1 if that many elements of this size exceed 2^63 - 1 bytes or a
// size is negative. For shapes as files state them.
int64_t element_count(std::span<const int64_t> shape, size_t element_size);

// Strides of a C-ordered array of floats, in floats.
std::vector<int64_t> dense_strides(std::span<const int64_t> shape);

// Tells that no more is read between two places of the source. May throw, which ends the reading.
using Done = std::function<void(const std::byte* begin, const std::byte* end)>;

// Converts an array to floats and transposes it on the way, with all threads: the element at (i0, i1, ...)
// goes to out[sum(i_d * out_stride[d])]. Returns whether all of them are finite. Numbers are rounded to the
// nearest float. The source is read once, from its first byte to its last where the layout allows it, and
// `done` follows behind.
bool convert_array(const std::byte* first, const StoredArray& array, std::span<const int64_t> out_stride,
                   float* out, const Done& done = {});

// A part of an array: from first[d] on, size[d] elements along each axis.
struct ArrayPart {
  std::vector<int64_t> first, size;
  bool more = false;  // another part is read next (ImagePart)
};

ArrayPart whole_of(std::span<const int64_t> shape);

// The part alone, as an array, and how many bytes after the array's first element it begins.
struct PartOfArray {
  StoredArray array;
  int64_t begin = 0;
};
PartOfArray part_of(const StoredArray& array, const ArrayPart& part);

// What a box of an array, from `start` on, shares with the part that is wanted of it; nothing if they do not
// meet.
struct Overlap {
  ArrayPart in_box;                // from the box's first element on
  std::vector<int64_t> in_wanted;  // where it begins there
};
std::optional<Overlap> overlap_of(std::span<const int64_t> start, std::span<const int64_t> size,
                                  const ArrayPart& wanted);

// The numbers of one image of a file.
class ImageValues {
 public:
  virtual ~ImageValues() = default;

  // Reads a part of them as floats: the element at (i0, i1, ...) of the part, along the image's axes, goes to
  // out[sum(i_d * out_stride[d])]. Returns whether all are finite. What lies elsewhere in the file is not
  // looked at where it can be stepped over. UserError if the file cannot be read, Interrupted if it was asked
  // to stop.
  virtual bool read(const ArrayPart& part, std::span<const int64_t> out_stride, float* out,
                    const StopToken& stop = {}) const = 0;

  // How many elements along each axis are unpacked together, whatever is wanted of them: a chunk's shape, or,
  // where all is unpacked from its beginning, everything but a step of the slowest axis. Empty: none are.
  virtual std::vector<int64_t> together() const { return {}; }
};

// Numbers that lie plainly in a file, from a byte on. UserError that begins with `context` if the file ends
// before the last of them. Reading touches each page once and lets go of it.
std::shared_ptr<const ImageValues> mapped_values(std::shared_ptr<const MappedFile> file, uint64_t offset,
                                                 StoredArray array, const std::string& context);

}  // namespace eelsvae
