#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "io/containers/box_reading.h"
#include "io/containers/chunk_codec.h"
#include "io/containers/hdf5.h"
#include "io/containers/hdf5_process.h"
#include "kernels/error.h"

namespace eelsvae::hdf5 {
namespace {

class DatasetValues : public ImageValues {
 public:
  DatasetValues(Object dataset, std::vector<size_t> order, std::string context)
      : dataset_(std::move(dataset)), order_(std::move(order)), context_(std::move(context)) {}

  bool read(const ArrayPart& part, std::span<const int64_t> out_stride, float* out,
            const StopToken& stop) const override {
    const StoredDataset stored = stored_dataset(dataset_, context_);
    const std::vector<int64_t>& shape = stored.shape;
    expect(order_.size() == shape.size() && !shape.empty(), "order names every axis of the dataset");
    if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return true;
    const BoxTarget target(order_, part, out_stride, out);
    bool finite = true;
    if (stored.way == StoredDataset::never_written) {
      finite = target.fill(Grid(shape, shape)[0], stored.missing);
    } else if (stored.way == StoredDataset::contiguous) {
      finite = read_contiguous(stored, part, out_stride, out, stop);
    } else {
      finite = read_boxes(stored, target, stop);
    }
    if (dataset_.process().changed()) throw UserError(context_ + ": the file was changed while it was read");
    return finite;
  }

  std::vector<int64_t> together() const override {
    const StoredDataset stored = stored_dataset(dataset_, context_);
    return in_order_of_image(stored.box, order_);
  }

 private:
  // The numbers lie in the file as in an array.
  bool read_contiguous(const StoredDataset& stored, const ArrayPart& part,
                       std::span<const int64_t> out_stride, float* out, const StopToken& stop) const {
    StoredArray array{stored.type, stored.big_endian, {}, {}};
    const std::vector<int64_t> dense = dense_strides(stored.shape);
    for (const size_t axis : order_) {
      array.shape.push_back(stored.shape[axis]);
      array.stride.push_back(dense[axis] * static_cast<int64_t>(element_size(stored.type)));
    }
    return mapped_values(dataset_.process().file(), stored.offset, std::move(array), context_)
        ->read(part, out_stride, out, stop);
  }

  // The reading process hands out the boxes one after the other; unpacking them takes much longer and is done
  // by all threads. Beside the result there are up to three boxes for each of them.
  bool read_boxes(const StoredDataset& stored, const BoxTarget& target, const StopToken& stop) const {
    const bool packed = stored.way == StoredDataset::chunks;
    const Grid grid(stored.shape, stored.box);
    const size_t element = element_size(stored.type);
    const size_t bytes = static_cast<size_t>(element_count(stored.box, 1)) * element;
    const size_t largest = packed ? dataset_.process().file()->size() : bytes;
    struct Worker {
      ByteBuffer stored;
      ChunkDecoder decoder;
    };
    std::vector<Worker> workers(
        static_cast<size_t>(threads_for_boxes(grid.total(), static_cast<int64_t>(bytes))));
    return for_each_box(grid, workers, stop, [&](Worker& worker, int64_t i, const Box& box) {
      if (!target.wants(box)) return true;
      uint32_t skipped = 0;  // filters that were not applied to this chunk, a bit for each
      std::span<const std::byte> numbers =
          dataset_.process().ask_box(nlohmann::json::array({"box", dataset_.path(), context_, i}), largest,
                                     stop, worker.stored, skipped);
      if (numbers.empty()) return target.fill(box, stored.missing);
      const auto applied = [&](int place) { return place >= 0 && !(skipped >> place & 1); };
      if (applied(stored.checksum_place) && !take_fletcher32(numbers))
        throw UserError(context_ + ": " + chunk_text(box) + " is damaged");
      const std::vector<int64_t>& shape = packed ? stored.box : box.size;
      const std::byte* unpacked = worker.decoder.decode(
          numbers, applied(stored.compression_place) ? stored.compression : Compression::none,
          applied(stored.shuffle_place), element, static_cast<size_t>(element_count(shape, 1)) * element);
      if (!unpacked) throw UserError(context_ + ": " + chunk_text(box) + " is damaged");
      StoredArray array{stored.type, stored.big_endian, shape, dense_strides(shape)};
      for (int64_t& stride : array.stride) stride *= static_cast<int64_t>(element);
      return target.place(box, array, unpacked);
    });
  }

  Object dataset_;
  std::vector<size_t> order_;
  std::string context_;
};

}  // namespace

std::shared_ptr<const ImageValues> dataset_values(const Object& parent, const std::string& dataset,
                                                  std::vector<size_t> order, const std::string& context) {
  const std::string dtype = dataset_dtype(parent.member(dataset), context);
  if (!dtype.starts_with("int") && !dtype.starts_with("uint") && !dtype.starts_with("float") &&
      dtype != "bool")
    return nullptr;
  return std::make_shared<DatasetValues>(parent.member(dataset), std::move(order), context);
}

}  // namespace eelsvae::hdf5
