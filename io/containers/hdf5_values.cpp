#include <omp.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "io/containers/chunk_codec.h"
#include "io/containers/hdf5.h"
#include "io/containers/hdf5_chunks.h"
#include "io/containers/hdf5_process.h"
#include "io/files/first_failure.h"
#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae::hdf5 {
namespace {

constexpr int64_t decoder_bytes = int64_t{256} << 20;  // of all threads' boxes, unless one needs more

// Where a dataset's elements go.
class Target {
 public:
  Target(std::span<const size_t> order, std::span<const int64_t> stride, float* out)
      : order_(order), stride_(stride), out_(out) {}

  // Places a box whose numbers lie in a dense C-ordered buffer of shape `buffer`, at its beginning.
  bool place(const Box& box, const std::vector<int64_t>& buffer, const StoredDataset& from,
             const std::byte* numbers) const {
    StoredArray array{from.type, from.big_endian, {}, {}};
    const std::vector<int64_t> dense = dense_strides(buffer);
    for (const size_t axis : order_) {
      array.shape.push_back(static_cast<int64_t>(box.size[axis]));
      array.stride.push_back(dense[axis] * static_cast<int64_t>(element_size(from.type)));
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

class DatasetValues : public ImageValues {
 public:
  DatasetValues(Object dataset, std::vector<size_t> order, std::string context)
      : dataset_(std::move(dataset)), order_(std::move(order)), context_(std::move(context)) {}

  bool read(std::span<const int64_t> out_stride, float* out, const StopToken& stop) const override {
    const StoredDataset stored = stored_dataset(dataset_, context_);
    const std::vector<int64_t>& shape = stored.shape;
    expect(order_.size() == shape.size() && !shape.empty(), "order names every axis of the dataset");
    if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return true;
    const Target target(order_, out_stride, out);
    bool finite = true;
    if (stored.way == StoredDataset::never_written) {
      target.fill(Grid(shape, shape)[0], stored.missing);
      finite = stored.missing * 0 == 0;
    } else if (stored.way == StoredDataset::contiguous) {
      finite = read_contiguous(stored, out_stride, out, stop);
    } else {
      finite = read_boxes(stored, target, stop);
    }
    if (dataset_.process().changed()) throw UserError(context_ + ": the file was changed while it was read");
    return finite;
  }

 private:
  // The numbers lie in the file as in an array.
  bool read_contiguous(const StoredDataset& stored, std::span<const int64_t> out_stride, float* out,
                       const StopToken& stop) const {
    StoredArray array{stored.type, stored.big_endian, {}, {}};
    const std::vector<int64_t> dense = dense_strides(stored.shape);
    for (const size_t axis : order_) {
      array.shape.push_back(stored.shape[axis]);
      array.stride.push_back(dense[axis] * static_cast<int64_t>(element_size(stored.type)));
    }
    return mapped_values(dataset_.process().file(), stored.offset, std::move(array), context_)
        ->read(out_stride, out, stop);
  }

  // The reading process hands out the boxes one after the other; unpacking them takes much longer and is done
  // by all threads. Beside the result there are up to three boxes for each of them.
  bool read_boxes(const StoredDataset& stored, const Target& target, const StopToken& stop) const {
    const bool packed = stored.way == StoredDataset::chunks;
    const Grid grid(stored.shape, stored.box);
    const size_t element = element_size(stored.type);
    const size_t bytes = static_cast<size_t>(element_count(stored.box, 1)) * element;
    const size_t largest = packed ? dataset_.process().file()->size() : bytes;
    struct Worker {
      ByteBuffer stored;
      ChunkDecoder decoder;
    };
    const int64_t affordable = decoder_bytes / (3 * static_cast<int64_t>(bytes));
    const auto threads =
        static_cast<int>(std::clamp<int64_t>(std::min(affordable, grid.total()), 1, omp_get_max_threads()));
    std::vector<Worker> workers(static_cast<size_t>(threads));
    FirstFailure failure;
    bool finite = true;
#pragma omp parallel num_threads(threads) reduction(&& : finite)
    {
      // Threads that each convert a box of their own need no helpers.
      if (threads > 1) omp_set_num_threads(1);
#pragma omp for schedule(dynamic)
      for (int64_t i = 0; i < grid.total(); ++i) {
        failure.guard([&] {
          stop.stop_if_requested();
          Worker& worker = workers[static_cast<size_t>(omp_get_thread_num())];
          const Box box = grid[i];
          uint32_t skipped = 0;  // filters that were not applied to this chunk, a bit for each
          const std::span<const std::byte> numbers = dataset_.process().ask_box(
              nlohmann::json::array({"box", dataset_.path(), i}), largest, stop, worker.stored, skipped);
          if (numbers.empty()) {
            target.fill(box, stored.missing);
            finite = finite && stored.missing * 0 == 0;
            return;
          }
          const auto applied = [&](int place) { return place >= 0 && !(skipped >> place & 1); };
          std::vector<int64_t> shape = stored.box;
          if (!packed) shape.assign(box.size.begin(), box.size.end());
          const std::byte* unpacked = worker.decoder.decode(
              numbers, applied(stored.compression_place) ? stored.compression : Compression::none,
              applied(stored.shuffle_place), element, static_cast<size_t>(element_count(shape, 1)) * element);
          if (!unpacked) throw UserError(context_ + ": " + chunk_text(box) + " is damaged");
          finite = target.place(box, shape, stored, unpacked) && finite;
        });
      }
    }
    failure.rethrow();
    return finite;
  }

  Object dataset_;
  std::vector<size_t> order_;
  std::string context_;
};

}  // namespace

std::shared_ptr<const ImageValues> dataset_values(const Object& parent, const std::string& dataset,
                                                  std::vector<size_t> order, const std::string& context) {
  const std::string dtype = dataset_dtype(parent.member(dataset), context);
  if (!dtype.starts_with("int") && !dtype.starts_with("uint") && !dtype.starts_with("float")) return nullptr;
  return std::make_shared<DatasetValues>(parent.member(dataset), std::move(order), context);
}

}  // namespace eelsvae::hdf5
