#include "io/files/stored_array.h"

#include <omp.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "engine/first_failure.h"
#include "kernels/error.h"
#include "kernels/host_memory.h"
#include "kernels/transpose.h"

namespace eelsvae {
namespace {

// An axis of an array on its way from one place to another.
struct Dimension {
  int64_t size;
  int64_t from;  // bytes from one element to the next at the source
  int64_t to;    // floats, at the target
};

// The axes that have more than one element, in the order of the target, its fastest last. Axes that follow
// each other at the source as they do at the target become one.
std::vector<Dimension> simplified(const StoredArray& array, std::span<const int64_t> out_stride) {
  std::vector<Dimension> axes;
  for (size_t d = 0; d < array.shape.size(); ++d) {
    if (array.shape[d] != 1) axes.push_back({array.shape[d], array.stride[d], out_stride[d]});
  }
  std::stable_sort(axes.begin(), axes.end(),
                   [](const Dimension& a, const Dimension& b) { return a.to > b.to; });
  for (size_t d = axes.size(); d-- > 1;) {
    Dimension& outer = axes[d - 1];
    const Dimension& inner = axes[d];
    if (outer.from != inner.from * inner.size || outer.to != inner.to * inner.size) continue;
    outer = {outer.size * inner.size, inner.from, inner.to};
    axes.erase(axes.begin() + static_cast<std::ptrdiff_t>(d));
  }
  if (axes.empty()) axes.push_back({1, static_cast<int64_t>(element_size(array.type)), 1});
  return axes;
}

// Stand-ins for types that C++ has no name for or that need more than a cast.
struct Boolean {
  uint8_t byte;
  explicit operator float() const { return byte != 0; }
};
struct Half {
  uint16_t bits;
  explicit operator float() const { return half_to_float(bits); }
};

template <size_t size>
using Unsigned = std::conditional_t<
    size == 1, uint8_t,
    std::conditional_t<size == 2, uint16_t, std::conditional_t<size == 4, uint32_t, uint64_t>>>;

template <class U>
U reversed(U value) {
  if constexpr (sizeof(U) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(U) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(U) == 8) return __builtin_bswap64(value);
  return value;
}

template <class T, bool big_endian>
struct Element {
  static constexpr int64_t size = sizeof(T);
  static constexpr bool may_be_infinite = !std::is_integral_v<T> && !std::is_same_v<T, Boolean>;

  static float load(const std::byte* place) {
    Unsigned<sizeof(T)> bits;
    std::memcpy(&bits, place, sizeof bits);
    if constexpr (big_endian != (std::endian::native == std::endian::big)) bits = reversed(bits);
    return static_cast<float>(std::bit_cast<T>(bits));
  }
};

// A row of n elements. Returns 0, or NaN if one of them is not finite.
template <class E>
float convert_row(const std::byte* in, int64_t in_stride, int64_t n, float* out, int64_t out_stride = 1) {
  float check = 0;
  if (in_stride == E::size && out_stride == 1) {  // vectorises
#pragma omp simd reduction(+ : check)
    for (int64_t i = 0; i < n; ++i) {
      out[i] = E::load(in + i * E::size);
      if constexpr (E::may_be_infinite) check += out[i] * 0.0f;
    }
  } else {
    for (int64_t i = 0; i < n; ++i) {
      const float value = E::load(in + i * in_stride);
      if constexpr (E::may_be_infinite) check += value * 0.0f;
      out[i * out_stride] = value;
    }
  }
  return check;
}

// Several axes as one, in the order of the source.
class Indices {
 public:
  explicit Indices(std::vector<Dimension> axes) : axes_(std::move(axes)) {
    std::sort(axes_.begin(), axes_.end(),
              [](const Dimension& a, const Dimension& b) { return a.from > b.from; });
    for (const Dimension& axis : axes_) count_ *= axis.size;
  }

  int64_t count() const { return count_; }

  struct Place {
    int64_t from = 0;  // bytes
    int64_t to = 0;    // floats
  };
  Place operator[](int64_t index) const {
    Place place;
    for (size_t d = axes_.size(); d-- > 0;) {
      const int64_t i = index % axes_[d].size;
      index /= axes_[d].size;
      place.from += i * axes_[d].from;
      place.to += i * axes_[d].to;
    }
    return place;
  }

 private:
  std::vector<Dimension> axes_;
  int64_t count_ = 1;
};

constexpr int64_t batch_bytes = int64_t{32} << 20;   // between two reports of what is done
constexpr int64_t slice_bytes = int64_t{256} << 20;  // of the target
constexpr int64_t longest_piece = int64_t{1} << 16;  // elements of a row that a thread converts at a time

// Row by row of the target: the way for arrays whose fastest axis is the target's too.
template <class E>
bool convert_rows(const std::byte* in, std::vector<Dimension> axes, float* out, const Done& done) {
  const Dimension row = axes.back();
  int64_t extent = E::size;  // of the source, with what is stepped over
  for (const Dimension& axis : axes) extent += (axis.size - 1) * axis.from;
  axes.pop_back();
  // Rows in pieces, so that a single long one is shared among the threads as well.
  const int64_t pieces = (row.size + longest_piece - 1) / longest_piece;
  const Indices rows(axes);
  const int64_t count = rows.count() * pieces;
  const int64_t piece_size = (row.size + pieces - 1) / pieces;
  const int64_t batch = std::max<int64_t>(batch_bytes / std::max(piece_size * E::size, extent / count), 1);
  float check = 0;
  for (int64_t begin = 0; begin < count; begin += batch) {
    const int64_t end = std::min(begin + batch, count);
#pragma omp parallel for schedule(static) reduction(+ : check)
    for (int64_t i = begin; i < end; ++i) {
      const auto [from, to] = rows[i / pieces];
      const int64_t first = i % pieces * piece_size;
      check += convert_row<E>(in + from + first * row.from, row.from, std::min(piece_size, row.size - first),
                              out + to + first * row.to, row.to);
    }
    if (done) done(in + rows[begin / pieces].from, in + rows[(end - 1) / pieces].from + row.size * row.from);
  }
  return check == 0;
}

// A line of the cache: 16 floats.
constexpr int64_t line = 16;
using Line = float __attribute__((vector_size(line * sizeof(float))));

// Writes a whole line of the cache past it: nothing reads the line before the whole array is there, and a
// plain store would first read it from memory.
inline void stream_line(float* to, const float* from) {
#ifdef __AVX512F__
  _mm512_stream_ps(to, _mm512_loadu_ps(from));
#elif defined(__SSE2__)
  for (int i = 0; i < line; i += 4) _mm_stream_ps(to + i, _mm_loadu_ps(from + i));
#else
  std::memcpy(to, from, line * sizeof(float));
#endif
}

inline void finish_stream() {
#ifdef __SSE2__
  _mm_sfence();
#endif
}

// Columns of the source that a thread transposes at a time, and rows: the block and the line before it fit a
// core's second-level cache, and a row is a page.
constexpr int64_t block_columns = 1024;
constexpr int64_t block_rows = 64;
constexpr int64_t pitch =
    block_columns + line;  // rows a power of two apart would share few lines of the cache
constexpr int64_t scratch_size = (block_rows + line) * pitch;  // floats, for each thread

// Transposes source rows [begin, begin + block_rows) of so many columns, up to block_columns, from `in` (row
// 0, first column) to `out` (row 0 of the first column's target row, whose elements are contiguous).
//
// Of each target row the lines are written whole. As they begin at another element in each target row, the
// first line of the block reaches back by up to a line of source rows, and its last ends as much earlier:
// rows [begin - line, begin + block_rows) are read, and the last block must begin at or before row.size +
// line - 2. Returns 0, or NaN if an element is not finite.
template <class E>
float transpose_block(const std::byte* in, const Dimension& row, int64_t begin, int64_t column_stride,
                      int64_t columns, float* out, float* scratch) {
  alignas(sizeof(Line)) float spectra[line][block_rows + line];
  const int64_t before = begin - line;
  float check = 0;
  for (int64_t r = std::max<int64_t>(before, 0); r < std::min(begin + block_rows, row.size); ++r)
    check += convert_row<E>(in + r * row.from, E::size, columns, scratch + (r - before) * pitch);
  for (int64_t c = 0; c < columns; c += line) {
    for (int64_t r = 0; r < block_rows + line; r += line) {
      Line square[line];
      for (int64_t i = 0; i < line; ++i) std::memcpy(&square[i], scratch + (r + i) * pitch + c, sizeof(Line));
      transpose(square);
      for (int64_t i = 0; i < line; ++i) std::memcpy(&spectra[i][r], &square[i], sizeof(Line));
    }
    for (int64_t i = 0; i < std::min(line, columns - c); ++i) {
      float* target = out + (c + i) * column_stride;
      const auto misfit = static_cast<int64_t>(reinterpret_cast<uintptr_t>(target) / sizeof(float) %
                                               static_cast<uintptr_t>(line));
      for (int64_t r = begin - misfit; r < begin - misfit + block_rows; r += line) {
        const float* values = &spectra[i][r - before];
        if (r >= 0 && r + line <= row.size)
          stream_line(target + r, values);
        else
          for (int64_t k = std::max<int64_t>(-r, 0); k < std::min(line, row.size - r); ++k)
            target[r + k] = values[k];
      }
    }
  }
  return check;
}

// The source's fastest axis, `column`, is another than the target's, `row`: energy planes become spectra. The
// source is read in its order, block by block of rows. `inner` axes run faster than the rows there, `outer`
// ones slower.
template <class E>
bool transpose_rows(const std::byte* in, const Indices& outer, const Dimension& row, const Indices& inner,
                    const Dimension& column, float* out, const Done& done) {
  const int threads = omp_get_max_threads();
  const int64_t end = row.size + line - 1;
  // Few columns are shared among the threads; many outer indices are a task each instead.
  const bool outer_tasks = outer.count() >= 2 * threads;
  const int64_t share = outer_tasks ? column.size : (column.size * inner.count() + threads - 1) / threads;
  const int64_t width = std::min(block_columns, (share + line - 1) / line * line);
  const int64_t strips = (column.size + width - 1) / width;
  std::vector<float, HostAllocator<float>> memory(static_cast<size_t>(threads * scratch_size));
  const auto block = [&](int64_t o, int64_t begin, int64_t strip) {
    const auto [outer_from, outer_to] = outer[o];
    const auto [inner_from, inner_to] = inner[strip / strips];
    const int64_t left = strip % strips * width;
    return transpose_block<E>(in + outer_from + inner_from + left * E::size, row, begin, column.to,
                              std::min(width, column.size - left),
                              out + outer_to + inner_to + left * column.to,
                              memory.data() + omp_get_thread_num() * scratch_size);
  };
  float check = 0;
  if (outer_tasks) {
    FirstFailure failure;
#pragma omp parallel for schedule(dynamic) reduction(+ : check)
    for (int64_t o = 0; o < outer.count(); ++o)
      failure.guard([&] {
        for (int64_t begin = 0; begin < end; begin += block_rows)
          for (int64_t strip = 0; strip < inner.count() * strips; ++strip) check += block(o, begin, strip);
        finish_stream();
        if (done) done(in + outer[o].from, in + outer[o].from + row.size * row.from);
      });
    failure.rethrow();
    return check == 0;
  }
  // As many strips at a time as have a target that memory holds even where it does not hold the whole array:
  // every block of rows writes to all of it.
  const int64_t all = inner.count() * strips,
                at_once =
                    std::max<int64_t>(threads, slice_bytes / (width * row.size * int64_t{sizeof(float)}));
  for (int64_t o = 0; o < outer.count(); ++o) {
    for (int64_t first = 0; first < all; first += at_once) {
      const int64_t last = std::min(first + at_once, all);
      // Where strips lie at the source, which has them in this order.
      const auto begin_of = [&](int64_t strip) {
        return in + outer[o].from + inner[strip / strips].from + strip % strips * width * E::size;
      };
      const std::byte* from = begin_of(first);
      const std::byte* to =
          begin_of(last - 1) + std::min(width, column.size - (last - 1) % strips * width) * E::size;
      for (int64_t begin = 0; begin < end; begin += block_rows) {
#pragma omp parallel reduction(+ : check)
        {
#pragma omp for schedule(static)
          for (int64_t strip = first; strip < last; ++strip) check += block(o, begin, strip);
          finish_stream();
        }
        if (!done) continue;
        // The last rows of this block begin the next one.
        for (int64_t r = std::max<int64_t>(begin - line, 0);
             r < std::min(begin + block_rows - line, row.size); ++r)
          done(from + r * row.from, to + r * row.from);
      }
    }
  }
  return check == 0;
}

template <class E>
bool convert(const std::byte* first, const std::vector<Dimension>& axes, float* out, const Done& done) {
  const auto fastest = std::min_element(axes.begin(), axes.end() - 1,
                                        [](const auto& a, const auto& b) { return a.from < b.from; });
  const Dimension row = axes.back();
  if (axes.size() < 2 || fastest->from != E::size || row.from <= fastest->from || row.to != 1)
    return convert_rows<E>(first, axes, out, done);

  std::vector<Dimension> outer, inner;
  for (auto axis = axes.begin(); axis != axes.end() - 1; ++axis) {
    if (axis != fastest) (axis->from > row.from ? outer : inner).push_back(*axis);
  }
  return transpose_rows<E>(first, Indices(outer), row, Indices(inner), *fastest, out, done);
}

template <class T>
bool convert(const std::byte* first, bool big_endian, const std::vector<Dimension>& axes, float* out,
             const Done& done) {
  return big_endian ? convert<Element<T, true>>(first, axes, out, done)
                    : convert<Element<T, false>>(first, axes, out, done);
}

class MappedValues : public ImageValues {
 public:
  MappedValues(std::shared_ptr<const MappedFile> file, size_t offset, StoredArray array)
      : file_(std::move(file)), offset_(offset), array_(std::move(array)) {}

  bool read(const ArrayPart& part, std::span<const int64_t> out_stride, float* out,
            const StopToken& stop) const override {
    stop.stop_if_requested();
    const PartOfArray wanted = part_of(array_, part);
    return convert_array(file_->data() + offset_ + wanted.begin, wanted.array, out_stride, out,
                         [&](const std::byte* begin, const std::byte* end) {
                           file_->release(begin, end);
                           stop.stop_if_requested();
                         });
  }

 private:
  std::shared_ptr<const MappedFile> file_;
  size_t offset_;
  StoredArray array_;
};

}  // namespace

StoredArray StoredArray::dense(ElementType type, bool big_endian, std::vector<int64_t> shape,
                               const std::vector<size_t>& order) {
  expect(order.size() == shape.size(), "order names every axis");
  StoredArray array{type, big_endian, std::move(shape), {}};
  array.stride.resize(order.size());
  auto stride = static_cast<int64_t>(element_size(type));
  for (size_t i = order.size(); i-- > 0;) {
    array.stride[order[i]] = stride;
    stride *= array.shape[order[i]];
  }
  return array;
}

ArrayPart whole_of(std::span<const int64_t> shape) {
  return {std::vector<int64_t>(shape.size()), {shape.begin(), shape.end()}};
}

PartOfArray part_of(const StoredArray& array, const ArrayPart& part) {
  expect(part.first.size() == array.shape.size() && part.size.size() == array.shape.size(),
         "a part of an array has a place along every axis");
  PartOfArray result{array, 0};
  for (size_t d = 0; d < array.shape.size(); ++d) {
    expect(0 <= part.first[d] && 0 <= part.size[d] && part.size[d] <= array.shape[d] - part.first[d],
           "a part lies within its array");
    result.array.shape[d] = part.size[d];
    result.begin += part.first[d] * array.stride[d];
  }
  return result;
}

std::optional<Overlap> overlap_of(std::span<const int64_t> start, std::span<const int64_t> size,
                                  const ArrayPart& wanted) {
  Overlap overlap;
  for (size_t d = 0; d < start.size(); ++d) {
    const int64_t first = std::max(start[d], wanted.first[d]),
                  last = std::min(start[d] + size[d], wanted.first[d] + wanted.size[d]);
    if (first >= last) return std::nullopt;
    overlap.in_box.first.push_back(first - start[d]);
    overlap.in_box.size.push_back(last - first);
    overlap.in_wanted.push_back(first - wanted.first[d]);
  }
  return overlap;
}

int64_t element_count(std::span<const int64_t> shape, size_t element_bytes) {
  int64_t bytes = static_cast<int64_t>(element_bytes);
  bool empty = false;  // a size of zero would hide an overflow of the others
  for (const int64_t size : shape) {
    if (size < 0) return -1;
    empty |= size == 0;
    if (size != 0 && __builtin_mul_overflow(bytes, size, &bytes)) return -1;
  }
  return empty ? 0 : bytes / static_cast<int64_t>(element_bytes);
}

std::vector<int64_t> dense_strides(std::span<const int64_t> shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    strides[d] = stride;
    stride *= shape[d];
  }
  return strides;
}

bool convert_array(const std::byte* first, const StoredArray& array, std::span<const int64_t> out_stride,
                   float* out, const Done& done) {
  expect(array.shape.size() == array.stride.size() && array.shape.size() == out_stride.size(),
         "an array has a stride for every axis");
  if (std::find(array.shape.begin(), array.shape.end(), 0) != array.shape.end()) return true;
  const std::vector<Dimension> axes = simplified(array, out_stride);
  const bool big = array.big_endian;
  switch (array.type) {
    case ElementType::boolean:
      return convert<Boolean>(first, big, axes, out, done);
    case ElementType::int8:
      return convert<int8_t>(first, big, axes, out, done);
    case ElementType::uint8:
      return convert<uint8_t>(first, big, axes, out, done);
    case ElementType::int16:
      return convert<int16_t>(first, big, axes, out, done);
    case ElementType::uint16:
      return convert<uint16_t>(first, big, axes, out, done);
    case ElementType::int32:
      return convert<int32_t>(first, big, axes, out, done);
    case ElementType::uint32:
      return convert<uint32_t>(first, big, axes, out, done);
    case ElementType::int64:
      return convert<int64_t>(first, big, axes, out, done);
    case ElementType::uint64:
      return convert<uint64_t>(first, big, axes, out, done);
    case ElementType::float16:
      return convert<Half>(first, big, axes, out, done);
    case ElementType::float32:
      return convert<float>(first, big, axes, out, done);
    case ElementType::float64:
      return convert<double>(first, big, axes, out, done);
  }
  return true;
}

std::shared_ptr<const ImageValues> mapped_values(std::shared_ptr<const MappedFile> file, uint64_t offset,
                                                 StoredArray array, const std::string& context) {
  const int64_t elements = element_count(array.shape, element_size(array.type));
  expect(elements >= 0, "an array's size was checked");
  uint64_t end = element_size(array.type);  // of the last element, seen from the first
  for (size_t d = 0; d < array.shape.size(); ++d)
    end += static_cast<uint64_t>(std::max<int64_t>(array.shape[d] - 1, 0)) *
           static_cast<uint64_t>(array.stride[d]);
  if (elements > 0 && (offset > file->size() || end > file->size() - offset))
    throw UserError(context + ": cut off: " + std::to_string(end) + " bytes of data are needed from byte " +
                    std::to_string(offset) + ", the file has " + std::to_string(file->size()) + " bytes");
  return std::make_shared<MappedValues>(std::move(file), static_cast<size_t>(offset), std::move(array));
}

}  // namespace eelsvae
