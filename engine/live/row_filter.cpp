#include "engine/live/row_filter.h"

#include <algorithm>

#include "engine/image/excluded.h"
#include "engine/noise/filtered_noise.h"
#include "engine/prepare/filters.h"
#include "kernels/image_operations.h"

namespace eelsvae {
namespace {

bool all_excluded(std::span<const uint8_t> mask) {
  return std::ranges::find(mask, uint8_t{0}) == mask.end();
}

}  // namespace

RowFilter::RowFilter(int64_t height, int64_t width, int64_t channels, const PreprocessConfig& config,
                     const ScalingParameters& scaling)
    : height_(height),
      width_(width),
      channels_(channels),
      sigma_(config.sigma),
      window_(config.xy_window),
      gaussian_(gaussian_weights(config.sigma)),
      mean_(mean_weights(config.xy_window)),
      linear_(scaling.linear()),
      quantiles_(linear_ ? std::vector<double>() : scaling.quantiles),
      recorded_(width * channels),
      smoothed_(width * channels) {}

int64_t RowFilter::unchanging(int64_t rows, int64_t reach) const {
  return rows == height_ ? height_ : std::max<int64_t>(0, rows - reach);
}

// Of rows [first, last), which may reach beyond those that are there.
std::vector<uint8_t> RowFilter::mask_of(int64_t first, int64_t last,
                                        std::span<const uint8_t> excluded) const {
  const int64_t known = std::min(last, there());
  std::vector<uint8_t> mask(excluded.begin() + first * width_, excluded.begin() + known * width_);
  mask.resize(static_cast<size_t>((last - first) * width_), by_request);
  return mask;
}

// A filter needs the rows that it reaches. They end where the scan does, so that it is mirrored there; those
// that are not there yet are zeros.
std::span<float> RowFilter::with_surroundings(const RowBand& band, int64_t from, int64_t to) {
  const std::span<const float> known = band.rows(from, std::min(to, band.last()));
  scratch_.assign(known.begin(), known.end());
  scratch_.resize(static_cast<size_t>((to - from) * band.row_size()), 0.0f);
  return scratch_;
}

std::span<float> RowFilter::smoothed(int64_t first, int64_t last, std::span<const uint8_t> excluded) {
  const int64_t row = recorded_.row_size(), from = std::max<int64_t>(0, first - reach_of_gaussian()),
                to = std::min(height_, last + reach_of_gaussian());
  const std::span<float> part = with_surroundings(recorded_, from, to);
  const std::vector<uint8_t> mask = mask_of(from, to, excluded);
  if (sigma_ > 0 && !all_excluded(mask))
    filter_lines({to - from, width_, channels_}, part.data(), mask.data(), first - from, last - from,
                 gaussian_, gaussian_, std::nullopt);
  const std::span<float> rows =
      part.subspan(static_cast<size_t>((first - from) * row), static_cast<size_t>((last - first) * row));
  if (!linear_)
    for (float& count : rows)
      count = share_below(quantiles_.data(), std::ssize(quantiles_), static_cast<double>(count));
  return rows;
}

std::span<const float> RowFilter::averaged(int64_t first, int64_t last, std::span<const uint8_t> excluded) {
  const int64_t row = smoothed_.row_size(), from = std::max<int64_t>(0, first - reach_of_mean()),
                to = std::min(height_, last + reach_of_mean());
  const std::span<float> part = with_surroundings(smoothed_, from, to);
  const std::vector<uint8_t> mask = mask_of(from, to, excluded);
  if (!all_excluded(mask))
    filter_lines({to - from, width_, channels_}, part.data(), mask.data(), first - from, last - from, mean_,
                 {}, linear_);
  const std::span<float> rows =
      part.subspan(static_cast<size_t>((first - from) * row), static_cast<size_t>((last - first) * row));
  fill_excluded(std::span(mask).subspan(static_cast<size_t>((first - from) * width_),
                                        static_cast<size_t>((last - first) * width_)),
                rows, 0);
  return rows;
}

std::vector<float> RowFilter::noise_of(int64_t first, int64_t last, std::span<const uint8_t> excluded) const {
  const int64_t from = std::max<int64_t>(0, first - reach()), to = std::min(height_, last + reach());
  const std::vector<uint8_t> mask = mask_of(from, to, excluded);
  return filtered_noise({to - from, width_, mask}, sigma_, window_, first - from, last - from);
}

PreparedRows RowFilter::settle(std::span<const uint8_t> excluded) {
  if (const int64_t first = smoothed_.last(), last = unchanging(there(), reach_of_gaussian()); last > first) {
    smoothed_.append(smoothed(first, last, excluded));
    recorded_.drop_before(last - reach_of_gaussian());
  }
  const int64_t first = settled_, last = unchanging(there(), reach());
  if (last <= first) return {};
  PreparedRows rows{averaged(first, last, excluded), noise_of(first, last, excluded)};
  smoothed_.drop_before(last - reach_of_mean());
  settled_ = last;
  return rows;
}

PreparedRows RowFilter::tail(std::span<const uint8_t> excluded) {
  if (settled_ == there()) return {};
  const int64_t known = smoothed_.last();
  smoothed_.append(smoothed(known, there(), excluded));
  PreparedRows rows{averaged(settled_, there(), excluded), noise_of(settled_, there(), excluded)};
  smoothed_.drop_from(known);
  return rows;
}

}  // namespace eelsvae
