#include "engine/detect/empirical_null.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

#include "kernels/error.h"

namespace eelsvae {
namespace {

using Family = EmpiricalNull::Family;

constexpr size_t bin_count = 60;

double raised(double score) {
  return std::copysign(std::pow(std::abs(score), EmpiricalNull::exponent), score);
}

// Counts of scores below the lower of two limits and in equal bins between the two.
struct Bins {
  double low = 0, high = 0;
  std::array<double, bin_count> counts{};
  double below = 0, total = 0;  // total: below and between

  double edge(size_t i) const { return low + (high - low) * static_cast<double>(i) / bin_count; }
};

Bins bin(const std::vector<double>& sorted, double low, double high) {
  Bins bins{low, high, {}, 0, 0};
  const auto first = std::lower_bound(sorted.begin(), sorted.end(), low);
  bins.below = bins.total = static_cast<double>(first - sorted.begin());
  for (auto it = first; it != sorted.end() && *it <= high; ++it) {
    ++bins.counts[std::min(bin_count - 1, static_cast<size_t>((*it - low) / (high - low) * bin_count))];
    ++bins.total;
  }
  return bins;
}

// -log likelihood of the counts given that scores lie below the upper limit. How many lie below the lower one
// counts, where they lie does not; without them a decreasing density would fit best far out in the tail of a
// null that lies below all scores.
double unlikelihood(const Bins& bins, const EmpiricalNull& null) {
  const double all = null.below(bins.high);
  if (!(all > 1e-12)) return std::numeric_limits<double>::max();
  double before = null.below(bins.low), sum = -bins.below * std::log(std::max(before / all, 1e-300));
  for (size_t i = 0; i < bin_count; ++i) {
    const double until = null.below(bins.edge(i + 1));
    sum -= bins.counts[i] * std::log(std::max((until - before) / all, 1e-300));
    before = until;
  }
  return sum;
}

struct Misfit {
  double per_degree = std::numeric_limits<double>::max();  // chi^2
  double good = 0;  // what a fit to scores from the null itself hardly exceeds
};

Misfit misfit(const Bins& bins, const EmpiricalNull& null) {
  const double all = null.below(bins.high);
  double before = null.below(bins.low), sum = 0, counted = 0;
  double expected = bins.total * before / all, seen = bins.below;
  for (size_t i = 0; i < bin_count; ++i) {
    const double until = null.below(bins.edge(i + 1));
    expected += bins.total * (until - before) / all;
    seen += bins.counts[i];
    before = until;
    if (expected < 8 && i + 1 < bin_count) continue;  // too few to be told from chance; joined with the next
    if (expected > 0) sum += (seen - expected) * (seen - expected) / expected;
    ++counted;
    expected = seen = 0;
  }
  const double degrees = counted - 3;  // two parameters and the total
  if (degrees < 2) return {};          // nearly all scores in one bin: the cut lies far among the anomalies
  return {sum / degrees, 1 + 2.5 * std::sqrt(2 / degrees)};
}

// Newton's method on (location, log scale) with derivatives by differences; steps that do not help are
// halved.
void maximise(const Bins& bins, EmpiricalNull& null) {
  auto at = [&](double location, double log_scale) {
    EmpiricalNull trial = null;
    trial.location = location;
    trial.scale = std::exp(log_scale);
    return unlikelihood(bins, trial);
  };
  double a = null.location, b = std::log(null.scale), value = at(a, b);
  for (int iteration = 0; iteration < 60; ++iteration) {
    const double ha = 1e-3 * std::exp(b), hb = 1e-3;
    const double pa = at(a + ha, b), ma = at(a - ha, b), pb = at(a, b + hb), mb = at(a, b - hb);
    const double ga = (pa - ma) / (2 * ha), gb = (pb - mb) / (2 * hb);
    double haa = (pa - 2 * value + ma) / (ha * ha), hbb = (pb - 2 * value + mb) / (hb * hb);
    const double hab =
        (at(a + ha, b + hb) - at(a + ha, b - hb) - at(a - ha, b + hb) + at(a - ha, b - hb)) / (4 * ha * hb);
    double determinant = haa * hbb - hab * hab, da, db;
    if (haa > 0 && determinant > 1e-12 * std::abs(haa * hbb)) {
      da = -(hbb * ga - hab * gb) / determinant;
      db = -(haa * gb - hab * ga) / determinant;
    } else {  // not convex here: down the slope, in natural units
      const double unit = std::exp(b);
      da = -ga * unit * unit / std::max(bins.total, 1.0);
      db = -gb / std::max(bins.total, 1.0);
    }
    const double longest = std::max(std::abs(da) / std::exp(b), std::abs(db));
    double step = longest > 1 ? 1 / longest : 1;
    double next = value;
    for (; step > 1e-6; step /= 2)
      if (next = at(a + step * da, b + step * db); next < value) break;
    if (!(next < value)) break;
    const double gained = value - next;
    a += step * da;
    b += step * db;
    value = next;
    if (gained < 1e-9 * std::abs(value)) break;
  }
  null.location = a;
  null.scale = std::exp(b);
}

double quantile(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))];
}

// Location and scale at which two quantiles are right.
EmpiricalNull start(Family family, const std::vector<double>& sorted) {
  EmpiricalNull null;
  null.family = family;
  const double q1 = quantile(sorted, 0.2), q2 = quantile(sorted, 0.5);
  auto x = [&](double s) { return family == Family::largest_normal ? raised(s) : s; };
  auto unit = [&](double p) {
    return family == Family::normal ? (p == 0.5 ? 0 : -0.8416) : -std::log(-std::log(p));
  };
  null.scale = std::max((x(q2) - x(q1)) / (unit(0.5) - unit(0.2)), 1e-12);
  null.location = x(q2) - null.scale * unit(0.5);
  return null;
}

struct Candidate {
  EmpiricalNull null;
  double good_misfit = 0;
};

Candidate fit(const std::vector<double>& sorted, double low, double high, std::optional<Family> only) {
  const Bins bins = bin(sorted, low, high);
  std::optional<EmpiricalNull> best;
  double least = 0;
  for (Family family : {Family::largest_normal, Family::normal, Family::largest}) {
    if (only ? family != *only : family == Family::largest_normal && low < 0)
      continue;  // which is a law of absolute values
    EmpiricalNull null = start(family, sorted);
    maximise(bins, null);
    const double value = unlikelihood(bins, null);
    if (best && value >= least) continue;
    best = null;
    least = value;
  }
  best->low = low;
  best->high = high;
  const Misfit fitted = misfit(bins, *best);
  best->misfit = fitted.per_degree;
  return {*best, fitted.good};
}

}  // namespace

const char* name(Family family) {
  switch (family) {
    case Family::normal:
      return "normal";
    case Family::largest:
      return "largest of exponential tails";
    case Family::largest_normal:
      return "largest of normal variables";
  }
  return "";
}

double EmpiricalNull::below(double score) const {
  if (family == Family::normal) return 0.5 * std::erfc(-(score - location) / scale / std::sqrt(2.0));
  const double x = family == Family::largest_normal ? raised(score) : score;
  return std::exp(-std::exp(-(x - location) / scale));
}

double EmpiricalNull::p_value(double score) const {
  if (family == Family::normal) return 0.5 * std::erfc((score - location) / scale / std::sqrt(2.0));
  const double x = family == Family::largest_normal ? raised(score) : score;
  return -std::expm1(-std::exp(-(x - location) / scale));
}

double EmpiricalNull::density(double score) const {
  if (family == Family::normal) {
    const double u = (score - location) / scale;
    return std::exp(-u * u / 2) / (scale * std::sqrt(2 * std::numbers::pi));
  }
  const bool normal = family == Family::largest_normal;
  const double u = ((normal ? raised(score) : score) - location) / scale;
  return std::exp(-u - std::exp(-u)) / scale *
         (normal ? exponent * std::pow(std::abs(score), exponent - 1) : 1);
}

void check_enough_scores(int64_t scores) {
  if (scores < fewest_scores)
    throw UserError("a false-discovery rate needs at least " + std::to_string(fewest_scores) +
                    " scored spectra to learn from; there are " + std::to_string(scores) +
                    "; detection.threshold=5 takes what stands out by five standard deviations instead");
}

EmpiricalNull fit_null(std::span<const float> scores, std::span<const uint8_t> left_out,
                       std::optional<Family> family) {
  expect(left_out.empty() || left_out.size() == scores.size(), "mask of another size than the scores");
  std::vector<double> sorted;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!left_out.empty() && left_out[i]) continue;
    expect(std::isfinite(scores[i]), "a score that is not finite");
    sorted.push_back(static_cast<double>(scores[i]));
  }
  check_enough_scores(std::ssize(sorted));
  std::sort(sorted.begin(), sorted.end());
  const double low = quantile(sorted, 0.05);
  if (!(quantile(sorted, 0.6) > low))
    throw UserError("most scores are equal, so no false-discovery rate can be estimated");

  std::vector<Candidate> candidates;
  double least_misfit = std::numeric_limits<double>::max();
  for (double share : {0.995, 0.99, 0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6}) {
    const double high = quantile(sorted, share);
    if (!(high > low)) break;
    candidates.push_back(fit(sorted, low, high, family));
    least_misfit = std::min(least_misfit, candidates.back().null.misfit);
    if (least_misfit <= candidates.back().good_misfit) break;
  }
  if (least_misfit == std::numeric_limits<double>::max())
    throw UserError("the scores take too few values for a false-discovery rate to be estimated");
  // No family is exact and many scores show it. A lower cut always fits a little better, and has to be
  // extrapolated further.
  EmpiricalNull best = std::find_if(candidates.begin(), candidates.end(), [&](const Candidate& candidate) {
                         return candidate.null.misfit <= candidate.good_misfit * std::max(least_misfit, 1.0);
                       })->null;
  const auto until =
      static_cast<double>(std::upper_bound(sorted.begin(), sorted.end(), best.high) - sorted.begin());
  best.normal_share = std::min(1.0, until / static_cast<double>(sorted.size()) / best.below(best.high));
  return best;
}

}  // namespace eelsvae
