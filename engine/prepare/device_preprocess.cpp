#include "engine/prepare/device_preprocess.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>

#include "engine/image/excluded.h"
#include "engine/prepare/filters.h"
#include "kernels/backend_memory.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// Images go to the device and back through page-locked slots of this size: the bus is crossed while the
// processor fills the next slot, at several times the rate of a copy from ordinary memory.
constexpr size_t largest_slot = size_t{4} << 20;

size_t slot_bytes(const SpectrumImage& image) {
  return std::min(image.counts.size() * sizeof(float), largest_slot);
}
// Slots are copied whole, so that an image on the device fills a whole number of them.
size_t padded_bytes(const SpectrumImage& image) {
  const size_t slot = slot_bytes(image), bytes = image.counts.size() * sizeof(float);
  return (bytes + slot - 1) / slot * slot;
}

void parallel_copy(void* to, const void* from, size_t bytes) {
  const auto pieces = static_cast<int64_t>((bytes >> 16) + 1);
#pragma omp parallel for schedule(static)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const size_t begin = bytes * static_cast<size_t>(piece) / static_cast<size_t>(pieces),
                 end = bytes * static_cast<size_t>(piece + 1) / static_cast<size_t>(pieces);
    std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin, end - begin);
  }
}

// A spectrum image in a device's memory, with as much again to filter into.
class DeviceImage {
 public:
  DeviceImage(Backend& backend, const SpectrumImage& image)
      : backend_(backend),
        operations_(*backend.image_operations()),
        shape_{image.y.size, image.x.size, image.energy.size},
        any_excluded_(excluded_pixels(image.excluded) > 0),
        first_(backend, padded_bytes(image)),
        second_(backend, padded_bytes(image)),
        mask_(backend, any_excluded_ ? image.excluded.size() : 0),
        factors_(backend, any_excluded_ ? image.excluded.size() * sizeof(float) : 0),
        current_(array(first_)),
        other_(array(second_)) {
    if (any_excluded_) backend.upload(image.excluded.data(), mask_.data(), image.excluded.size());
    const size_t slot = slot_bytes(image), bytes = current_.bytes();
    const BackendMemory staging(backend, backend.staging_bytes(slot));
    const std::unique_ptr<Feed> feed = backend.make_feed(slot, staging.data());
    for (size_t at = 0; at < bytes; at += slot) {
      parallel_copy(feed->slot(), reinterpret_cast<const char*>(image.counts.data()) + at,
                    std::min(slot, bytes - at));
      feed->submit(static_cast<char*>(current_.data) + at);
    }
    backend.synchronize();
  }

  void download(SpectrumImage& image) const {
    const size_t slot = slot_bytes(image), bytes = current_.bytes();
    const BackendMemory staging(backend_, backend_.staging_bytes(slot));
    const std::unique_ptr<Drain> drain = backend_.make_drain(slot, staging.data());
    size_t submitted = 0;
    for (size_t at = 0; at < bytes; at += slot) {
      for (; submitted < bytes && submitted < at + 2 * slot; submitted += slot)
        drain->submit(static_cast<const char*>(current_.data) + submitted);
      parallel_copy(reinterpret_cast<char*>(image.counts.data()) + at, drain->wait(),
                    std::min(slot, bytes - at));
    }
  }

  void filter(ImageAxis axis, const std::vector<float>& weights, const std::optional<LinearMap>& map) {
    if (weights.size() == 1 && !map) return;
    operations_.filter_axis(shape_, axis, weights, map, current_, other_);
    std::swap(current_, other_);
  }
  void fill_excluded(float counts) {
    if (any_excluded_) operations_.fill_pixels(shape_, mask(), counts, current_);
  }
  // As filters.h has it. `image`: for its mask.
  void normalize(const SpectrumImage& image, const std::vector<float>& weights) {
    if (!any_excluded_) return;
    const std::vector<float> factors = normalizing_factors(image, weights);
    backend_.upload(factors.data(), factors_.data(), factors.size() * sizeof(float));
    operations_.scale_pixels(shape_, {factors_.data(), DType::f32, shape_.pixels()}, current_);
  }
  void map_to_shares(const std::vector<double>& quantiles) {
    const size_t bytes = quantiles.size() * sizeof(double);
    const BackendMemory copy(backend_, bytes);
    backend_.upload(quantiles.data(), copy.data(), bytes);
    operations_.map_to_shares({copy.data(), DType::f64, std::ssize(quantiles)}, current_);
  }

  const ImageShape& shape() const { return shape_; }
  std::vector<float> order_statistics(std::span<const int64_t> ranks) {
    return operations_.order_statistics(current_, ranks, other_);
  }
  double sum() const { return operations_.sum(shape_, current_, mask()); }
  double squared_deviations(double mean) const {
    return operations_.squared_deviations(shape_, current_, mask(), mean);
  }

 private:
  Array array(const BackendMemory& memory) const { return {memory.data(), DType::f32, shape_.count()}; }
  const uint8_t* mask() const { return any_excluded_ ? static_cast<const uint8_t*>(mask_.data()) : nullptr; }

  Backend& backend_;
  ImageOperations& operations_;
  ImageShape shape_;
  bool any_excluded_;
  BackendMemory first_, second_, mask_, factors_;
  Array current_, other_;
};

// Of the pixels that are not excluded.
class DeviceStatistics final : public CountStatistics {
 public:
  DeviceStatistics(DeviceImage& image, int64_t pixels) : image_(image), pixels_(pixels) {}
  int64_t count() const override { return pixels_ * image_.shape().channels; }
  // Larger than any count, those of excluded pixels take the ranks behind the others.
  std::vector<float> at_ranks(std::span<const int64_t> ranks) const override {
    image_.fill_excluded(std::numeric_limits<float>::infinity());
    return image_.order_statistics(ranks);
  }
  double sum() const override { return image_.sum(); }
  double squared_deviations(double mean) const override { return image_.squared_deviations(mean); }

 private:
  DeviceImage& image_;
  int64_t pixels_;
};

}  // namespace

ScalingParameters smooth_and_scale_on_device(Backend& backend, SpectrumImage& image,
                                             const PreprocessConfig& config,
                                             const ScalingParameters* fitted) {
  const std::vector<float> gaussian = gaussian_weights(config.sigma), mean = mean_weights(config.xy_window);
  DeviceImage device(backend, image);
  device.fill_excluded(0);
  if (gaussian.size() > 1) {
    for (const ImageAxis axis : {ImageAxis::y, ImageAxis::x, ImageAxis::channels})
      device.filter(axis, gaussian, std::nullopt);
    device.normalize(image, gaussian);
  }
  const int64_t pixels = image.pixels() - excluded_pixels(image.excluded);
  const ScalingParameters scaling =
      fitted ? *fitted : ScalingParameters::fit(DeviceStatistics(device, pixels), config);
  const std::optional<LinearMap> linear = scaling.linear();
  if (!linear) device.map_to_shares(scaling.quantiles);
  device.fill_excluded(linear ? linear->zero : 0);
  device.filter(ImageAxis::y, mean, linear);
  device.filter(ImageAxis::x, mean, std::nullopt);
  device.normalize(image, mean);
  device.fill_excluded(0);
  device.download(image);
  return scaling;
}

size_t smooth_and_scale_bytes(const SpectrumImage& image) {
  // Sorting takes an image's size beside the two; the rest is for the ways to the device and for small
  // arrays.
  return 3 * padded_bytes(image) + static_cast<size_t>(image.pixels()) * 8 + (size_t{64} << 20);
}

}  // namespace eelsvae
