#include "io/serve/live_view.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/reports/embedded_arrays.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr size_t recent_rows = 1024;
constexpr double rate_seconds = 2;
constexpr double sample_seconds = 0.05;
constexpr int64_t most_scores_told = 1 << 20;  // in one answer
constexpr int64_t most_shown_channels = 700;   // of a spectrum; more are not told apart on a screen

// A spectrum of the page, averaged over `bin` channels.
std::string binned(const std::vector<float>& spectrum, int64_t bin) {
  std::vector<float> values;
  for (size_t first = 0; first < spectrum.size(); first += static_cast<size_t>(bin)) {
    const size_t last = std::min(spectrum.size(), first + static_cast<size_t>(bin));
    double sum = 0;
    for (size_t e = first; e < last; ++e) sum += spectrum[e];
    values.push_back(static_cast<float>(sum / static_cast<double>(last - first)));
  }
  return base64(values);
}

json worst_json(const std::vector<AnomalousSpectrum>& worst, const Axis& energy, int64_t bin) {
  json entries = json::array();
  for (const AnomalousSpectrum& spectrum : worst) {
    const Deviation& deviation = spectrum.deviation;
    json entry = {{"pixel", spectrum.pixel},
                  {"score", finite_json(spectrum.score)},
                  {"final", spectrum.final},
                  {"observed", binned(spectrum.observed, bin)},
                  {"expected", binned(spectrum.expected, bin)}};
    if (deviation.last > deviation.first)
      entry["deviation"] = {
          {"range", {energy.value(deviation.first - 0.5), energy.value(deviation.last - 0.5)}},
          {"significance", finite_json(deviation.significance)},
          {"share", finite_json(deviation.share)}};
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

std::string to_string(ScanStage stage) {
  switch (stage) {
    case ScanStage::running:
      return "running";
    case ScanStage::ended:
      return "ended";
    case ScanStage::failed:
      return "failed";
  }
  return "";
}

void Delays::add(double seconds) {
  const auto value = static_cast<float>(seconds);
  if (recent_.size() < recent_rows)
    recent_.push_back(value);
  else
    recent_[next_] = value;
  next_ = (next_ + 1) % recent_rows;
  ++rows_;
  largest_ = std::max(largest_, value);
}

json Delays::in_ms() const {
  if (recent_.empty()) return nullptr;
  std::vector<float> sorted = recent_;
  std::sort(sorted.begin(), sorted.end());
  const auto share = [&](double of) {
    return 1e3 * sorted[static_cast<size_t>(of * static_cast<double>(sorted.size() - 1) + 0.5)];
  };
  return {{"last", 1e3 * recent_[(next_ + recent_rows - 1) % recent_rows % recent_.size()]},
          {"p50", share(0.5)},
          {"p99", share(0.99)},
          {"max", 1e3 * largest_},
          {"rows", rows_}};
}

void RecentRate::add(double time, int64_t spectra) {
  if (!samples_.empty() && time - samples_.back().time < sample_seconds) {
    samples_.back().spectra += spectra;
    return;
  }
  std::erase_if(samples_, [&](const Sample& s) { return s.time < time - rate_seconds; });
  samples_.push_back({time, spectra});
}

double RecentRate::per_second(double now) const {
  const Sample* first = nullptr;
  int64_t since = 0;  // the first, for what came with it took no time that is known
  for (const Sample& sample : samples_) {
    if (sample.time < now - rate_seconds) continue;
    if (first)
      since += sample.spectra;
    else
      first = &sample;
  }
  return since > 0 ? static_cast<double>(since) / (now - first->time) : 0;
}

json to_json(const ScanState& state) {
  json result = {
      {"state", to_string(state.stage)},
      {"series", state.series},
      {"title", state.title},
      {"scored_by", state.scored_by},
      {"shape", {state.height, state.width}},
      {"channels", state.channels},
      {"reach", state.reach},
      {"final_rows", state.final_rows},
      {"scored_rows", state.scored_rows},
      {"complete_rows", state.complete_rows},
      {"counts", counts_message(state.counts)},
      {"threshold", finite_json(state.threshold)},
      {"threshold_final", state.stage == ScanStage::ended},
      {"anomalous", state.anomalous},
      {"doubts", state.doubts},
      {"rate", state.rate},
      {"capacity", state.capacity ? json(*state.capacity) : json(nullptr)},
      {"delay_ms", {{"provisional", state.provisional_delay.in_ms()}, {"final", state.final_delay.in_ms()}}}};
  if (!state.failure.empty()) result["failure"] = state.failure;
  return result;
}

LiveView::LiveView(std::string service)
    : service_(std::move(service)),
      version_(std::chrono::duration_cast<std::chrono::microseconds>(
                   std::chrono::system_clock::now().time_since_epoch())
                   .count()) {}

void LiveView::begin(const ScanState& state, const std::vector<uint8_t>& excluded) {
  // What may not fit into memory first: the scan before stays as it is then.
  std::vector<float> scores(static_cast<size_t>(state.height * state.width), NAN);
  std::vector<uint8_t> mask((excluded.size() + 7) / 8);
  for (size_t i = 0; i < excluded.size(); ++i)
    if (excluded[i] != 0) mask[i / 8] = static_cast<uint8_t>(mask[i / 8] | 1 << i % 8);
  std::vector<int64_t> row_versions(static_cast<size_t>(state.height));
  const std::lock_guard lock(mutex_);
  scan_ = state;
  producer_lost_ = false;
  scores_ = std::move(scores);
  excluded_ = std::move(mask);
  row_versions_ = std::move(row_versions);
  begun_ = ++version_;
  std::fill(row_versions_.begin(), row_versions_.end(), begun_);
  worst_.clear();
  worst_version_ = begun_;
}

void LiveView::set_state(const ScanState& state) {
  const std::lock_guard lock(mutex_);
  scan_ = state;
}

void LiveView::set_producer_lost(bool lost) {
  const std::lock_guard lock(mutex_);
  producer_lost_ = lost;
}

void LiveView::set_rows(Rows rows, std::span<const float> scores) {
  if (rows.count() <= 0) return;
  const std::lock_guard lock(mutex_);
  const int64_t first = rows.first * scan_->width, last = rows.last * scan_->width;
  std::copy(scores.begin() + first, scores.begin() + last, scores_.begin() + first);
  for (int64_t y = rows.first; y < rows.last; ++y) row_versions_[static_cast<size_t>(y)] = ++version_;
}

void LiveView::set_worst(std::vector<AnomalousSpectrum> worst, const Axis& energy) {
  const std::lock_guard lock(mutex_);
  worst_ = std::move(worst);
  energy_ = energy;
  worst_version_ = ++version_;
}

json LiveView::state_unlocked() const {
  json result = {{"service", service_}, {"scan", nullptr}};
  if (!scan_) return result;
  result["scan"] = to_json(*scan_);
  if (producer_lost_ && scan_->stage == ScanStage::running) result["scan"]["state"] = "producer lost";
  return result;
}

json LiveView::state() const {
  const std::lock_guard lock(mutex_);
  return state_unlocked();
}

json LiveView::changes_since(int64_t version) const {
  json result;
  std::vector<float> scores;
  std::vector<uint8_t> excluded;
  std::optional<std::vector<AnomalousSpectrum>> worst;
  Axis energy;
  // The thread that scores waits for what is done here: copies only.
  {
    const std::lock_guard lock(mutex_);
    result = state_unlocked();
    result["version"] = version_;
    if (!scan_) return result;
    // A version of another scan, or of a service before this one, knows nothing of this scan.
    const bool all = version < begun_ || version > version_;
    result["all"] = all;
    if (all) excluded = excluded_;
    const int64_t since = all ? begun_ : version;
    const auto version_of = [&](int64_t y) { return row_versions_[static_cast<size_t>(y)]; };
    std::vector<int64_t> changed;
    for (int64_t y = 0; y < scan_->height; ++y)
      if (version_of(y) > since) changed.push_back(y);
    const auto most = static_cast<size_t>(std::max<int64_t>(1, most_scores_told / scan_->width));
    if (changed.size() > most) {
      // Those that changed first, so that a version says which were told.
      const auto last = changed.begin() + static_cast<ptrdiff_t>(most) - 1;
      std::nth_element(changed.begin(), last, changed.end(),
                       [&](int64_t a, int64_t b) { return version_of(a) < version_of(b); });
      result["version"] = version_of(*last);
      result["more"] = true;
      changed.resize(most);
      std::sort(changed.begin(), changed.end());
    }
    json runs = json::array();
    for (size_t i = 0; i < changed.size();) {
      const int64_t first = changed[i];
      int64_t last = first;
      while (i < changed.size() && changed[i] == last) ++i, ++last;
      runs.push_back({first, last});
      scores.insert(scores.end(), scores_.begin() + first * scan_->width,
                    scores_.begin() + last * scan_->width);
    }
    if (!runs.empty()) result["rows"] = std::move(runs);
    if (all || worst_version_ > version) {
      worst = worst_;
      energy = energy_;
    }
  }
  if (!excluded.empty()) result["excluded"] = base64(excluded);
  if (!scores.empty()) result["scores"] = base64(scores);
  if (worst) {
    const int64_t bin = (energy.size + most_shown_channels - 1) / most_shown_channels;
    result["worst"] = worst_json(*worst, energy, bin);
    result["energy"] = {{"offset", energy.value((static_cast<double>(bin) - 1) / 2)},
                        {"scale", energy.scale * static_cast<double>(bin)},
                        {"units", energy.units}};
  }
  return result;
}

}  // namespace eelsvae
