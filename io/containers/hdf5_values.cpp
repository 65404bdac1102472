#include <omp.h>

#include <algorithm>
#include <bit>
#include <mutex>
#include <optional>

#include "engine/stop_token.h"
#include "io/containers/chunk_codec.h"
#include "io/containers/hdf5.h"
#include "io/containers/hdf5_chunks.h"
#include "io/files/first_failure.h"
#include "io/files/message_text.h"
#include "io/files/npy.h"
#include "kernels/error.h"

namespace eelsvae::hdf5 {
namespace {

constexpr int64_t block_bytes = int64_t{16} << 20;     // read at once where HDF5 itself unpacks
constexpr int64_t decoder_bytes = int64_t{256} << 20;  // of all threads' chunks, unless one needs more
constexpr int64_t smallest_chunk = 4096;               // bytes; smaller ones are read by HDF5, many at once

struct NumberType {
  ElementType type;
  bool big_endian;
};

// The type of a dataset's numbers, or nothing if it takes HDF5 to convert them.
std::optional<NumberType> number_type(hid_t type) {
  using enum ElementType;
  const H5T_order_t order = H5Tget_order(type);
  const size_t size = H5Tget_size(type);
  if (order != H5T_ORDER_LE && order != H5T_ORDER_BE) return std::nullopt;
  const bool big = order == H5T_ORDER_BE;
  if (H5Tget_class(type) == H5T_INTEGER) {
    if (H5Tget_precision(type) != 8 * size || H5Tget_offset(type) != 0) return std::nullopt;
    const bool negative = H5Tget_sign(type) == H5T_SGN_2;
    if (size == 1) return NumberType{negative ? int8 : uint8, big};
    if (size == 2) return NumberType{negative ? int16 : uint16, big};
    if (size == 4) return NumberType{negative ? int32 : uint32, big};
    if (size == 8) return NumberType{negative ? int64 : uint64, big};
    return std::nullopt;
  }
  if (H5Tequal(type, big ? H5T_IEEE_F32BE : H5T_IEEE_F32LE) > 0) return NumberType{float32, big};
  if (H5Tequal(type, big ? H5T_IEEE_F64BE : H5T_IEEE_F64LE) > 0) return NumberType{float64, big};
  size_t sign, exponent, exponent_bits, fraction, fraction_bits;
  if (size == 2 && H5Tget_fields(type, &sign, &exponent, &exponent_bits, &fraction, &fraction_bits) >= 0 &&
      sign == 15 && exponent == 10 && exponent_bits == 5 && fraction == 0 && fraction_bits == 10 &&
      H5Tget_ebias(type) == 15 && H5Tget_norm(type) == H5T_NORM_IMPLIED)
    return NumberType{float16, big};
  return std::nullopt;
}

// Where a dataset's elements go.
class Target {
 public:
  Target(std::span<const size_t> order, std::span<const int64_t> stride, float* out)
      : order_(order), stride_(stride), out_(out) {}

  // Places a box whose numbers lie in a dense C-ordered buffer of shape `buffer`, at its beginning.
  bool place(const Box& box, const std::vector<int64_t>& buffer, NumberType type,
             const std::byte* numbers) const {
    StoredArray array{type.type, type.big_endian, {}, {}};
    const std::vector<int64_t> dense = dense_strides(buffer);
    for (const size_t axis : order_) {
      array.shape.push_back(static_cast<int64_t>(box.size[axis]));
      array.stride.push_back(dense[axis] * static_cast<int64_t>(element_size(type.type)));
    }
    return convert_array(numbers, array, stride_, first(box));
  }

  void fill(const Box& box, float value) const { fill(box, 0, first(box), value); }

 private:
  float* first(const Box& box) const {
    float* place = out_;
    for (size_t i = 0; i < order_.size(); ++i)
      place += static_cast<int64_t>(box.start[order_[i]]) * stride_[i];
    return place;
  }
  void fill(const Box& box, size_t i, float* place, float value) const {
    const auto size = static_cast<int64_t>(box.size[order_[i]]);
    for (int64_t k = 0; k < size; ++k) {
      if (i + 1 == order_.size())
        place[k * stride_[i]] = value;
      else
        fill(box, i + 1, place + k * stride_[i], value);
    }
  }

  std::span<const size_t> order_;
  std::span<const int64_t> stride_;
  float* out_;
};

struct Filters {
  bool known = true;               // no others than these, in this order
  int shuffle = -1, deflate = -1;  // places in the pipeline, which the mask of a chunk counts by
};

Filters filters_of(hid_t properties, size_t element_bytes, const std::string& context) {
  Filters filters;
  const int count = check(H5Pget_nfilters(properties), context);
  for (int i = 0; i < count; ++i) {
    unsigned flags = 0, values[16] = {};
    size_t value_count = std::size(values);
    const H5Z_filter_t filter = check(H5Pget_filter2(properties, static_cast<unsigned>(i), &flags,
                                                     &value_count, values, 0, nullptr, nullptr),
                                      context);
    if (filter == H5Z_FILTER_SHUFFLE && i == 0 && (value_count == 0 || values[0] == element_bytes))
      filters.shuffle = i;
    else if (filter == H5Z_FILTER_DEFLATE && filters.deflate < 0)
      filters.deflate = i;
    else
      filters.known = false;
  }
  unsigned options = 0;  // whether chunks at the edges are stored without the filters
  check(H5Pget_chunk_opts(properties, &options), context);
  filters.known &= options == 0;
  return filters;
}

class DatasetValues : public ImageValues {
 public:
  DatasetValues(std::string path, std::string dataset, std::vector<size_t> order, std::string context)
      : path_(std::move(path)),
        dataset_(std::move(dataset)),
        order_(std::move(order)),
        context_(std::move(context)) {}

  bool read(std::span<const int64_t> out_stride, float* out, const StopToken& stop) const override {
    const File file = open_file(path_);
    const Handle data = open_dataset(file, dataset_, context_);
    const std::vector<int64_t> shape = dataset_shape(data, context_);
    expect(order_.size() == shape.size() && !shape.empty(), "order names every axis of the dataset");
    const Handle type(check(H5Dget_type(data), context_), H5Tclose);
    const Handle properties(check(H5Dget_create_plist(data), context_), H5Pclose);
    if (element_count(shape, std::max(H5Tget_size(type), sizeof(float))) < 0)
      throw UserError(context_ + ": more elements than any memory holds");
    if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return true;
    const Target target(order_, out_stride, out);
    H5D_space_status_t written = H5D_SPACE_STATUS_ERROR;
    check(H5Dget_space_status(data, &written), context_);
    if (written == H5D_SPACE_STATUS_NOT_ALLOCATED) {
      const float value = fill_value(properties);
      target.fill(Grid(shape, shape)[0], value);
      return value * 0 == 0;
    }
    const std::optional<NumberType> number = number_type(type);

    if (H5Pget_layout(properties) == H5D_CHUNKED) {
      std::vector<hsize_t> sizes(shape.size());
      check(H5Pget_chunk(properties, static_cast<int>(shape.size()), sizes.data()), context_);
      const std::vector<int64_t> chunk(sizes.begin(), sizes.end());
      const int64_t elements = element_count(chunk, H5Tget_size(type));
      if (elements <= 0) throw UserError(context_ + ": the chunks have no size");
      const Filters filters = filters_of(properties, H5Tget_size(type), context_);
      if (number && filters.known && elements * static_cast<int64_t>(H5Tget_size(type)) >= smallest_chunk)
        return read_chunks(file, data, properties, shape, chunk, *number, filters, target, stop);
      return read_blocks(data, type, shape, chunk, number, target, stop);
    }
    if (number && H5Pget_layout(properties) == H5D_CONTIGUOUS && H5Pget_external_count(properties) == 0)
      return read_contiguous(data, shape, *number, out_stride, out, stop);
    return read_blocks(data, type, shape, std::vector<int64_t>(shape.size(), 1), number, target, stop);
  }

 private:
  float fill_value(hid_t properties) const {
    H5D_fill_value_t defined = H5D_FILL_VALUE_UNDEFINED;
    check(H5Pfill_value_defined(properties, &defined), context_);
    float value = 0;
    if (defined != H5D_FILL_VALUE_UNDEFINED)
      check(H5Pget_fill_value(properties, H5T_NATIVE_FLOAT, &value), context_);
    return value;
  }

  // The numbers lie in the file as in an array.
  bool read_contiguous(hid_t data, const std::vector<int64_t>& shape, NumberType number,
                       std::span<const int64_t> out_stride, float* out, const StopToken& stop) const {
    const haddr_t offset = H5Dget_offset(data);
    if (offset == HADDR_UNDEF) throw UserError(context_ + ": the data have no place in the file");
    StoredArray array{number.type, number.big_endian, {}, {}};
    const std::vector<int64_t> dense = dense_strides(shape);
    for (const size_t axis : order_) {
      array.shape.push_back(shape[axis]);
      array.stride.push_back(dense[axis] * static_cast<int64_t>(element_size(number.type)));
    }
    return mapped_values(std::make_shared<const MappedFile>(path_), offset, std::move(array), context_)
        ->read(out_stride, out, stop);
  }

  // HDF5 hands out the chunks as they are stored, one thread at a time; unpacking them takes much longer and
  // is done by all threads. Beside the result there are up to three chunks for each of them.
  bool read_chunks(hid_t file, hid_t data, hid_t properties, const std::vector<int64_t>& shape,
                   const std::vector<int64_t>& chunk, NumberType number, const Filters& filters,
                   const Target& target, const StopToken& stop) const {
    const Grid grid(shape, chunk);
    const size_t bytes = static_cast<size_t>(element_count(chunk, 1)) * element_size(number.type);
    const float missing = fill_value(properties);
    hsize_t file_bytes = 0;
    check(H5Fget_filesize(file, &file_bytes), context_);
    struct Worker {
      ByteBuffer stored;
      ChunkDecoder decoder;
    };
    const int64_t affordable = decoder_bytes / (3 * static_cast<int64_t>(bytes));
    const auto threads =
        static_cast<int>(std::clamp<int64_t>(std::min(affordable, grid.total()), 1, omp_get_max_threads()));
    std::vector<Worker> workers(static_cast<size_t>(threads));
    std::mutex library;
    FirstFailure failure;
    bool finite = true;
#pragma omp parallel num_threads(threads) reduction(&& : finite)
    {
      // Threads that each convert a chunk of their own need no helpers.
      if (threads > 1) omp_set_num_threads(1);
#pragma omp for schedule(dynamic)
      for (int64_t i = 0; i < grid.total(); ++i) {
        failure.guard([&] {
          stop.stop_if_requested();
          Worker& worker = workers[static_cast<size_t>(omp_get_thread_num())];
          const Box box = grid[i];
          std::span<const std::byte> stored;
          uint32_t skipped = 0;  // filters that were not applied to this chunk, a bit for each
          {
            const std::lock_guard lock(library);
            const Silence silence;  // HDF5 keeps this for each thread
            stored = load(data, box, file_bytes, skipped, worker.stored);
          }
          if (stored.empty()) {
            target.fill(box, missing);
            finite = finite && missing * 0 == 0;
            return;
          }
          const auto applied = [&](int filter) { return filter >= 0 && !(skipped >> filter & 1); };
          const std::byte* numbers = worker.decoder.decode(
              stored, applied(filters.deflate), applied(filters.shuffle), element_size(number.type), bytes);
          if (!numbers) throw UserError(where(box) + " is damaged");
          finite = target.place(box, chunk, number, numbers) && finite;
        });
      }
    }
    failure.rethrow();
    return finite;
  }

  // Reads a chunk as it is stored. Empty if it never was, and stands for fill values.
  std::span<const std::byte> load(hid_t data, const Box& box, hsize_t file_bytes, uint32_t& skipped,
                                  ByteBuffer& buffer) const {
    hsize_t size = 0;
    if (H5Dget_chunk_storage_size(data, box.start.data(), &size) < 0) {
      // HDF5 1.10 fails for chunks that were never written, later versions say 0. This one looks through all.
      haddr_t place = HADDR_UNDEF;
      unsigned filters = 0;
      check(H5Dget_chunk_info_by_coord(data, box.start.data(), &filters, &place, &size), context_);
      if (place == HADDR_UNDEF) return {};
      fail(where(box));
    }
    if (size > file_bytes) throw UserError(where(box) + " is longer than the file");
    if (size == 0) return {};
    if (buffer.size() < size) buffer.resize(static_cast<size_t>(size));
    check(H5Dread_chunk(data, H5P_DEFAULT, box.start.data(), &skipped, buffer.data()), context_);
    return std::span<const std::byte>(buffer).first(static_cast<size_t>(size));
  }

  std::string where(const Box& box) const {
    return context_ + ": the chunk of the data that begins at " +
           shape_text({box.start.begin(), box.start.end()});
  }

  // By way of HDF5, in blocks of whole chunks.
  bool read_blocks(hid_t data, hid_t type, const std::vector<int64_t>& shape, std::vector<int64_t> block,
                   std::optional<NumberType> number, const Target& target, const StopToken& stop) const {
    const NumberType memory =
        number.value_or(NumberType{ElementType::float32, std::endian::native == std::endian::big});
    const auto element = static_cast<int64_t>(element_size(memory.type));
    for (size_t d = 0; d < block.size(); ++d) block[d] = std::min(block[d], shape[d]);
    for (size_t d = block.size(); d-- > 0;) {
      const int64_t bytes = element_count(block, 1) * element;
      block[d] = std::min(shape[d], block[d] * std::max<int64_t>(block_bytes / bytes, 1));
    }
    const Grid grid(shape, block);
    ByteBuffer numbers(static_cast<size_t>(element_count(block, 1) * element));
    const Handle file_space(check(H5Dget_space(data), context_), H5Sclose);
    bool finite = true;
    for (int64_t i = 0; i < grid.total(); ++i) {
      stop.stop_if_requested();
      const Box box = grid[i];
      const Handle memory_space(
          check(H5Screate_simple(static_cast<int>(shape.size()), box.size.data(), nullptr), context_),
          H5Sclose);
      check(H5Sselect_hyperslab(file_space, H5S_SELECT_SET, box.start.data(), nullptr, box.size.data(),
                                nullptr),
            context_);
      check(H5Dread(data, number ? type : H5T_NATIVE_FLOAT, memory_space, file_space, H5P_DEFAULT,
                    numbers.data()),
            context_);
      finite &= target.place(box, {box.size.begin(), box.size.end()}, memory, numbers.data());
    }
    return finite;
  }

  std::string path_, dataset_;
  std::vector<size_t> order_;
  std::string context_;
};

}  // namespace

std::shared_ptr<const ImageValues> dataset_values(hid_t file, const std::string& path,
                                                  const std::string& dataset, std::vector<size_t> order,
                                                  const std::string& context) {
  const Handle data = open_dataset(file, dataset, context);
  const Handle type(check(H5Dget_type(data), context), H5Tclose);
  const H5T_class_t type_class = H5Tget_class(type);
  if (type_class != H5T_INTEGER && type_class != H5T_FLOAT) return nullptr;
  return std::make_shared<DatasetValues>(path, dataset, std::move(order), context);
}

}  // namespace eelsvae::hdf5
