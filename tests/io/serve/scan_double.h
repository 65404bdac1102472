#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>
#include <vector>

#include "io/serve/live_scan.h"
#include "kernels/error.h"

namespace eelsvae {

// Scores spectra by how far their mean is from 400, in a running scan of which nothing is learned: the rest
// of the service alone. Rows are taken in their order, one that is not complete is given up by the second one
// after it.
class ScanDouble : public LiveScan {
 public:
  ScanDouble(const ScanPlan& plan, int64_t reach, double seconds_per_row)
      : plan_(plan),
        reach_(reach),
        seconds_(seconds_per_row),
        seen_(static_cast<size_t>(plan.height * plan.width)),
        scores_(seen_.size(), NAN) {
    for (size_t i = 0; i < plan.excluded.size(); ++i) seen_[i] = plan.excluded[i] != 0;
  }

  Rows push(int64_t first, int64_t count, std::span<const float> spectra) override {
    for (const float value : spectra)
      if (!std::isfinite(value)) throw UserError("counts that are not finite");
    for (int64_t pixel = first; pixel < first + count; ++pixel) {
      const auto place = static_cast<size_t>(pixel);
      if (!plan_.excluded.empty() && plan_.excluded[place] != 0) continue;
      if (pixel < complete_ * plan_.width) {
        ++counts_.late;
        continue;
      }
      ++(seen_[place] ? counts_.repeated : counts_.received);
      seen_[place] = true;
      double sum = 0;
      for (int64_t e = 0; e < plan_.energy.size; ++e)
        sum += spectra[static_cast<size_t>((pixel - first) * plan_.energy.size + e)];
      taken_.resize(scores_.size(), NAN);
      taken_[place] = std::abs(static_cast<float>(sum / static_cast<double>(plan_.energy.size)) - 400);
    }
    const auto row_is_complete = [&](int64_t y) {
      const auto begin = seen_.begin() + y * plan_.width;
      return std::all_of(begin, begin + plan_.width, [](bool seen) { return seen; });
    };
    while (complete_ < plan_.height) {
      int64_t later = 0;
      for (int64_t y = complete_ + 1; y < plan_.height && later < 2; ++y) later += row_is_complete(y);
      if (!row_is_complete(complete_) && later < 2) break;
      complete_row();
    }
    return make_final(complete_ - reach_);
  }
  Rows score_provisionally() override {
    const Rows rows = {scored_, complete_};
    for (int64_t i = scored_ * plan_.width; i < complete_ * plan_.width; ++i) show(i);
    scored_ = complete_;
    return rows;
  }
  Rows finish() override {
    while (complete_ < plan_.height) complete_row();
    return make_final(complete_);
  }
  int64_t final_rows() const override { return final_; }
  int64_t scored_rows() const override { return std::max(final_, scored_); }
  int64_t complete_rows() const override { return complete_; }
  int64_t reach() const override { return reach_; }
  const ScanCounts& counts() const override { return counts_; }
  std::span<const float> scores() const override { return scores_; }
  double threshold() const override { return 50; }
  std::vector<AnomalousSpectrum> worst(int64_t most) const override {
    std::vector<AnomalousSpectrum> worst;
    for (size_t i = 0; i < scores_.size(); ++i) {
      if (!(scores_[i] > 50)) continue;
      const auto pixel = static_cast<int64_t>(i);
      AnomalousSpectrum spectrum{pixel, scores_[i], pixel / plan_.width < final_, {}, {}, {}};
      spectrum.deviation = {0, static_cast<int32_t>(plan_.energy.size / 2), scores_[i], 0.5f};
      spectrum.observed.assign(static_cast<size_t>(plan_.energy.size), 400 + scores_[i]);
      spectrum.expected.assign(static_cast<size_t>(plan_.energy.size), 400);
      worst.push_back(std::move(spectrum));
    }
    std::stable_sort(worst.begin(), worst.end(),
                     [](const auto& a, const auto& b) { return a.score > b.score; });
    worst.resize(std::min(worst.size(), static_cast<size_t>(most)));
    return worst;
  }
  Detection result() const override {
    Detection found;
    found.scores = scores_;
    found.threshold = 50;
    for (const float score : scores_) found.mask.push_back(score > 50);
    return found;
  }
  Axis prepared_energy() const override { return plan_.energy; }
  std::string scored_by() const override { return "a double"; }

 private:
  void show(int64_t pixel) {
    if (!taken_.empty()) scores_[static_cast<size_t>(pixel)] = taken_[static_cast<size_t>(pixel)];
  }
  void complete_row() {
    for (int64_t x = 0; x < plan_.width; ++x)
      counts_.missing += !seen_[static_cast<size_t>(complete_ * plan_.width + x)];
    ++complete_;
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds_));
  }
  Rows make_final(int64_t last) {
    const Rows rows = {final_, std::max(final_, last)};
    for (int64_t i = rows.first * plan_.width; i < rows.last * plan_.width; ++i) show(i);
    final_ = rows.last;
    return rows;
  }

  ScanPlan plan_;
  int64_t reach_;
  double seconds_;
  std::vector<bool> seen_;
  std::vector<float> scores_, taken_;
  ScanCounts counts_;
  int64_t complete_ = 0, final_ = 0, scored_ = 0;
};

class ScanDoubles : public LiveScanSource {
 public:
  explicit ScanDoubles(int64_t reach = 2, double seconds_per_row = 0)
      : reach_(reach), seconds_(seconds_per_row) {}
  std::unique_ptr<LiveScan> open(const ScanPlan& plan) override {
    if (plan.energy.size < 4) throw UserError("a spectrum has at least 4 channels");
    return std::make_unique<ScanDouble>(plan, reach_, seconds_);
  }
  std::string description() const override { return "a double"; }

 private:
  int64_t reach_;
  double seconds_;
};

}  // namespace eelsvae
