#include "engine/live/scan_rows.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "engine/image/excluded.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t most_pixels = int64_t{1} << 24;
// Of one row, 64 MiB: a spectrum in each of the rows from which spectra are taken opens all of these.
constexpr int64_t most_counts = int64_t{1} << 24;
constexpr int64_t most_open = 32;  // rows beyond the first open one from which spectra are taken

}  // namespace

void check_plan(const ScanPlan& plan) {
  if (plan.height < 1 || plan.width < 1 || plan.energy.size < 1)
    throw UserError("a scan of " + std::to_string(plan.height) + " x " + std::to_string(plan.width) +
                    " pixels and " + std::to_string(plan.energy.size) +
                    " channels has no spectra; each must be 1 or more");
  if (plan.height > most_pixels / plan.width)
    throw UserError("a scan of " + std::to_string(plan.height) + " x " + std::to_string(plan.width) +
                    " pixels; one that is scored while it is running has no more than " +
                    std::to_string(most_pixels) + ", of which maps are kept");
  if (plan.energy.size > most_counts / plan.width)
    throw UserError(
        "rows of " + std::to_string(plan.width) + " pixels and " + std::to_string(plan.energy.size) +
        " channels; a scan that is scored while it is running has no more than " +
        std::to_string(most_counts) + " counts in a row, of which up to " + std::to_string(most_open + 1) +
        " are held at once; send fewer channels, or scan shorter rows");
  if (!plan.excluded.empty() && std::ssize(plan.excluded) != plan.height * plan.width)
    throw UserError("the mask of excluded pixels has " + std::to_string(plan.excluded.size()) +
                    " values, the scan " + std::to_string(plan.height) + " x " + std::to_string(plan.width) +
                    " pixels; give one for each, in the order y * width + x");
}

void exclude_rectangles(ScanPlan& plan, const std::vector<std::array<int64_t, 4>>& rectangles) {
  if (rectangles.empty()) return;
  SpectrumImage axes;
  axes.y.size = plan.height;
  axes.x.size = plan.width;
  axes.excluded = std::move(plan.excluded);
  axes.excluded.resize(static_cast<size_t>(plan.height * plan.width));
  for (const std::array<int64_t, 4>& rectangle : rectangles) exclude_rectangle(axes, rectangle);
  plan.excluded = std::move(axes.excluded);
}

ScanRows::ScanRows(const ScanPlan& plan, ChannelWindow used, int64_t patience)
    : plan_(plan), used_(used), patience_(patience) {
  expect(patience >= 1, "rows without patience");
}

bool ScanRows::left_out(int64_t pixel) const {
  return !plan_.excluded.empty() && plan_.excluded[static_cast<size_t>(pixel)];
}

void ScanRows::check(int64_t first, int64_t count) const {
  const int64_t pixels = plan_.height * plan_.width;
  if (count < 0) throw UserError("count is " + std::to_string(count) + "; give 0 or more spectra");
  if (first < 0 || first > pixels || count > pixels - first)
    throw UserError(std::to_string(count) + " pixels from " + std::to_string(first) +
                    " on are not in a scan of " + std::to_string(plan_.height) + " x " +
                    std::to_string(plan_.width) + " pixels; give some of 0 to " + std::to_string(pixels - 1));
}

void ScanRows::check(int64_t first, int64_t count, std::span<const float> spectra) const {
  check(first, count);
  const int64_t channels = plan_.energy.size;
  expect(std::ssize(spectra) == count * channels, "spectra of another size");
  for (int64_t i = 0; i < count; ++i) {
    if (left_out(first + i)) continue;
    const float* from = spectra.data() + i * channels;
    if (std::all_of(from + used_.first, from + used_.last, [](float c) { return std::isfinite(c); }))
      continue;
    throw UserError("the spectrum of pixel " + std::to_string(first + i) + " (y " +
                    std::to_string((first + i) / plan_.width) + ", x " +
                    std::to_string((first + i) % plan_.width) +
                    ") holds counts that are not finite; exclude the pixel, or send zeros");
  }
}

void ScanRows::add(int64_t first, int64_t count, std::span<const float> spectra, const TakeRow& take) {
  for (int64_t i = 0; i < count; ++i) {
    if (!left_out(first + i)) add_spectrum(first + i, spectra.data() + i * plan_.energy.size, take);
    if ((first + i) % plan_.width < plan_.width - 1 && i < count - 1) continue;
    while (complete_ < plan_.height && !open_.empty() &&
           (open_row(complete_).waiting == 0 || complete_ahead_ >= patience_))
      hand_on(take);
  }
}

void ScanRows::add_spectrum(int64_t pixel, const float* spectrum, const TakeRow& take) {
  const int64_t y = pixel / plan_.width, x = pixel % plan_.width;
  while (y - complete_ > most_open) hand_on(take);
  if (y < complete_) {
    ++counts_.late;
    return;
  }
  OpenRow& row = open_row(y);
  if (row.arrived[static_cast<size_t>(x)]) {
    ++counts_.repeated;
  } else {
    row.arrived[static_cast<size_t>(x)] = 1;
    ++counts_.received;
    if (--row.waiting == 0) ++complete_ahead_;
  }
  std::copy_n(spectrum + used_.first, used_.size(), row.counts.begin() + x * used_.size());
}

ScanRows::OpenRow& ScanRows::open_row(int64_t y) {
  const auto [place, made] = open_.try_emplace(y);
  OpenRow& row = place->second;
  if (!made) return row;
  row.counts.resize(static_cast<size_t>(plan_.width * used_.size()), 0.0f);
  for (int64_t x = 0; x < plan_.width; ++x) row.arrived.push_back(left_out(y * plan_.width + x) ? 1 : 0);
  row.waiting = std::count(row.arrived.begin(), row.arrived.end(), 0);
  if (row.waiting == 0) ++complete_ahead_;
  return row;
}

void ScanRows::hand_on(const TakeRow& take) {
  OpenRow row = std::move(open_row(complete_));
  open_.erase(complete_);
  if (row.waiting == 0) --complete_ahead_;
  SpectrumImage image;
  image.y = {"y", "", 0, 1, 1};
  image.x = {"x", "", 0, 1, plan_.width};
  image.energy = plan_.energy;
  image.energy.offset = plan_.energy.value(static_cast<double>(used_.first));
  image.energy.size = used_.size();
  image.counts = std::move(row.counts);
  for (int64_t x = 0; x < plan_.width; ++x) {
    const bool here = row.arrived[static_cast<size_t>(x)];
    if (!here) ++counts_.missing;
    image.excluded.push_back(!here || left_out(complete_ * plan_.width + x) ? by_request : 0);
  }
  ++complete_;
  take(std::move(image));
}

void ScanRows::give_up(const TakeRow& take) {
  while (complete_ < plan_.height) hand_on(take);
}

}  // namespace eelsvae
