#include "engine/detect/spectral_changes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>

#include "engine/detect/spectral_features.h"
#include "engine/prepare/filters.h"
#include "engine/prepare/resampling.h"

namespace eelsvae {
namespace {

constexpr double fwhm_of_sigma = 2.354820045;
constexpr double edge_decay = 3;       // of E^-r: hydrogenic cross-sections far above the onset
constexpr double before_edge_ev = 60;  // from which the background under an edge is foretold
constexpr double least_before_ev = 8;
constexpr double alone_behind_ev = 30;  // behind its peaks, in which it is measured
constexpr double least_alone_ev = 3;
constexpr double longest_gap_ev = 20;   // between peaks that change together
constexpr double most_smoothing = 1.5;  // channels, of what moves and broadens
constexpr double farthest_ev = 12;      // that peaks are moved
constexpr size_t longest_span = 4;      // peaks: white lines, each split in two by a crystal field

double& at(std::vector<double>& values, int64_t i) {
  return values[static_cast<size_t>(i)];
}
double at(const std::vector<double>& values, int64_t i) {
  return values[static_cast<size_t>(i)];
}

Piece times(Piece piece, double factor) {
  for (double& value : piece.values) value *= factor;
  return piece;
}

double sum_of(const Piece& piece) {
  return std::accumulate(piece.values.begin(), piece.values.end(), 0.0);
}

// With so many zeros at both ends.
Piece padded(const Piece& piece, int64_t zeros) {
  Piece result{piece.first - zeros, std::vector<double>(static_cast<size_t>(zeros))};
  result.values.insert(result.values.end(), piece.values.begin(), piece.values.end());
  result.values.resize(result.values.size() + static_cast<size_t>(zeros));
  return result;
}

// `channels` further up.
Piece moved(const Piece& piece, double channels) {
  const Piece room = padded(piece, static_cast<int64_t>(std::ceil(std::abs(channels))) + 1);
  const std::vector<float> from(room.values.begin(), room.values.end());
  std::vector<float> to(from.size()), scratch(from.size() + spline_taps);
  move_spectrum(from.data(), to.data(), std::ssize(from), channels, scratch.data());
  return {room.first, {to.begin(), to.end()}};
}

// Convolved with a Gaussian (sigma in channels).
Piece convolved(const Piece& piece, double sigma) {
  const std::vector<float> half = gaussian_weights(sigma);
  const int64_t reach = std::ssize(half) - 1, count = std::ssize(piece.values);
  Piece result = {piece.first - reach, std::vector<double>(static_cast<size_t>(count + 2 * reach))};
  for (int64_t k = -reach; k <= reach; ++k) {
    const auto weight = static_cast<double>(half[static_cast<size_t>(std::abs(k))]);
    double* to = result.values.data() + reach + k;
    for (int64_t e = 0; e < count; ++e) to[e] += weight * at(piece.values, e);
  }
  return result;
}

// Without the noise of single channels, which does not move or broaden with the peaks: twice the convolution
// with a Gaussian (sigma in channels) less that with two (Stuetzle and Mittal 1979), which leaves parabolas
// as they are.
Piece smoothed(const Piece& piece, double sigma) {
  const Piece once = convolved(piece, sigma);
  return difference(times(once, 2), convolved(once, sigma));
}

// Convolved with a kernel of this variance (channels^2): a Gaussian, or, where that is too narrow to be
// sampled by channels, a short one in several steps.
Piece broadened(const Piece& piece, double variance) {
  constexpr double widest_steps = 2;
  if (variance > widest_steps) return convolved(piece, std::sqrt(variance));
  const auto rounds = static_cast<int64_t>(std::ceil(4 * variance));
  const double share = rounds > 0 ? variance / static_cast<double>(rounds) / 2 : 0;
  const auto reach = std::min(rounds, static_cast<int64_t>(std::ceil(5 * std::sqrt(variance))) + 1);
  Piece result = padded(piece, reach);
  for (int64_t round = 0; round < rounds; ++round) {
    double before = 0;
    for (size_t i = 0; i < result.values.size(); ++i) {
      const double here = result.values[i], after = i + 1 < result.values.size() ? result.values[i + 1] : 0;
      result.values[i] = (1 - 2 * share) * here + share * (before + after);
      before = here;
    }
  }
  return result;
}

// The least-squares line c0 + c1 u(e) of a spectrum on [first, last).
template <typename U>
std::array<double, 2> line_through(const std::vector<double>& spectrum, int64_t first, int64_t last, U&& u) {
  double n = 0, su = 0, suu = 0, sy = 0, suy = 0;
  for (int64_t e = first; e < last; ++e) {
    const double x = u(e), y = at(spectrum, e);
    n += 1, su += x, suu += x * x, sy += y, suy += x * y;
  }
  const double determinant = n * suu - su * su;
  if (!(determinant > 1e-12 * n * suu)) return {n > 0 ? sy / n : 0, 0};
  const double slope = (n * suy - su * sy) / determinant;
  return {(sy - slope * su) / n, slope};
}

// The spectrum that changes, and its parts.
class Spectrum {
 public:
  Spectrum(const std::vector<double>& values, const Axis& energy)
      : values_(values), energy_(energy), features_(find_features(values, energy)) {
    find_background();
  }

  const std::vector<SpectralFeature>& features() const { return features_; }
  const Axis& energy() const { return energy_; }
  int64_t size() const { return std::ssize(values_); }
  double ev(int64_t e) const { return energy_.value(static_cast<double>(e)); }
  const std::vector<double>& values() const { return values_; }
  double highest() const {
    double most = 0;
    for (double value : values_) most = std::max(most, std::abs(value));
    return most;
  }
  int64_t channels_of(double ev) const { return static_cast<int64_t>(std::lround(ev / energy_.scale)); }

  // What lies above the straight line from foot to foot.
  Piece above_line(int64_t first, int64_t last) const {
    const double low = foot(first), high = foot(last);
    return above(first, last, [&](int64_t e) {
      return low + (high - low) * static_cast<double>(e - first) / static_cast<double>(last - first);
    });
  }

  // What lies above a background that falls as that of the whole spectrum does and rises under the peaks from
  // foot to foot as their own area does: the edges that belong to white lines (Shirley, Phys. Rev. B 5, 4709
  // (1972)).
  Piece above_steps(int64_t first, int64_t last) const {
    constexpr int rounds = 8;
    const auto falling = [&](int64_t e) { return at(background_, e) - at(background_, first); };
    const double low = foot(first), step = foot(last) - low - falling(last);
    Piece piece = above_line(first, last);
    for (int round = 0; round < rounds; ++round) {
      double sum = 0;
      std::vector<double> area;
      for (double value : piece.values) area.push_back(sum += std::max(value, 0.0));
      if (!(sum > 0)) break;
      piece =
          above(first, last, [&](int64_t e) { return low + falling(e) + step * at(area, e - first) / sum; });
    }
    return piece;
  }

  // What lies above the background before it, and goes on behind `last` to the end of the axis and as far
  // beyond as it may be moved. Absent where there is no room before and behind it that is free of other
  // peaks.
  std::optional<Piece> edge(size_t feature, int64_t last) const {
    const int64_t first = features_[feature].first;
    int64_t from = std::max<int64_t>(0, first - channels_of(before_edge_ev));
    if (feature > 0) from = std::max(from, features_[feature - 1].last);
    if (first - from < std::max<int64_t>(5, channels_of(least_before_ev))) return std::nullopt;
    const auto u = [&](int64_t e) { return std::pow(ev(e) / ev(first), -edge_decay); };
    const auto [level, slope] = line_through(values_, from, first + 1, u);
    // As far as it is alone there; then as what lies behind its peaks foretells.
    int64_t end = std::min(size(), last + channels_of(alone_behind_ev) + 1);
    for (const SpectralFeature& other : features_)
      if (other.first >= last) end = std::min(end, other.first);
    if (end - last < std::max<int64_t>(3, channels_of(least_alone_ev))) return std::nullopt;
    Piece piece{first, {}};
    for (int64_t e = first; e < end; ++e) piece.values.push_back(at(values_, e) - level - slope * u(e));
    const int64_t behind = (end - last + 1) / 2;
    double height = 0;  // at `first`, if it always went on as it does there
    for (int64_t e = end - behind; e < end; ++e)
      height += at(piece.values, e - first) / u(e) / static_cast<double>(behind);
    for (int64_t e = end; e < size() + channels_of(2 * farthest_ev) + 4; ++e)
      piece.values.push_back(std::max(height, 0.0) * u(e));
    return piece;
  }

  // What the background before the first peak makes everywhere; of all of the spectrum where there is no peak
  // or no room before it.
  const std::vector<double>& background() const { return background_; }

  // Where it rises most before the first peak.
  double rise_ev(const SpectralFeature& feature) const {
    int64_t steepest = feature.peak;
    double most = -1;
    for (int64_t e = std::max<int64_t>(feature.first, 2); e <= feature.peak && e + 2 < size(); ++e) {
      const double slope = at(values_, e + 1) + at(values_, e + 2) - at(values_, e - 1) - at(values_, e - 2);
      if (slope > most) most = slope, steepest = e;
    }
    return ev(steepest);
  }

 private:
  double foot(int64_t channel) const {
    double sum = 0, count = 0;
    for (int64_t e = std::max<int64_t>(0, channel - 2); e <= std::min(channel + 2, size() - 1); ++e)
      sum += at(values_, e), ++count;
    return sum / count;
  }

  template <typename Background>
  Piece above(int64_t first, int64_t last, Background&& background) const {
    Piece piece{first, {}};
    for (int64_t e = first; e <= last; ++e) piece.values.push_back(at(values_, e) - background(e));
    piece.values.front() = piece.values.back() = 0;  // what noise leaves of the feet
    return piece;
  }

  void find_background() {
    int64_t last = features_.empty() ? size() : features_.front().first;
    if (last < std::max<int64_t>(5, channels_of(least_before_ev))) last = size();
    const auto u = [&](int64_t e) { return std::pow(ev(e) / ev(0), -edge_decay); };
    const auto [level, slope] = line_through(values_, 0, last, u);
    for (int64_t e = 0; e < size(); ++e) background_.push_back(level + slope * u(e));
  }

  std::vector<double> values_;
  Axis energy_;
  std::vector<SpectralFeature> features_;
  std::vector<double> background_;  // (E)
};

// Full width at half maximum of the highest peak of a piece, channels.
double full_width(const Piece& piece) {
  const auto highest = std::ranges::max_element(piece.values);
  const double half = *highest / 2;
  const auto place = highest - piece.values.begin();
  double low = static_cast<double>(place), high = low;
  for (int64_t e = place; e > 0; --e)
    if (at(piece.values, e - 1) < half) {
      low = static_cast<double>(e) -
            (at(piece.values, e) - half) / (at(piece.values, e) - at(piece.values, e - 1));
      break;
    }
  for (int64_t e = place; e + 1 < std::ssize(piece.values); ++e)
    if (at(piece.values, e + 1) < half) {
      high = static_cast<double>(e) +
             (at(piece.values, e) - half) / (at(piece.values, e) - at(piece.values, e + 1));
      break;
    }
  return std::max(high - low, 1.0);
}

using Numbers = std::span<const double>;

Change with(Change change, double value, double uncertainty) {
  change.value = value;
  change.uncertainty = uncertainty;
  return change;
}

// By so many eV.
SpectralChange shift_of(const Change& place, Piece piece, double scale) {
  SpectralChange shift;
  shift.change = place;
  shift.change.kind = ChangeKind::shift;
  shift.of = [piece = std::move(piece), scale](Numbers p) {
    return difference(moved(piece, p[0] / scale), piece);
  };
  shift.steps = {0.1 * scale};
  const double farthest = std::max(farthest_ev, 4 * scale);
  shift.least = {-farthest};
  shift.most = {farthest};
  for (double ev : {0.4, 1.0, 2.0, 4.0, 7.0})
    for (double sign : {-1.0, 1.0}) shift.starts.push_back({sign * std::max(ev, 0.3 * scale)});
  shift.measured = [to = shift.change](Numbers p, Numbers errors) { return with(to, p[0], errors[0]); };
  return shift;
}

// By a Gaussian of so many channels^2 of variance. own: how broad the highest peak is, channels.
SpectralChange width_of(const Change& place, Piece piece, double own, double scale) {
  SpectralChange width;
  width.change = place;
  width.change.kind = ChangeKind::width;
  const double squared = fwhm_of_sigma * fwhm_of_sigma, unit = own * own / squared;
  width.of = [piece = std::move(piece)](Numbers p) {
    return times(difference(broadened(piece, std::abs(p[0])), piece), p[0] < 0 ? -1 : 1);
  };
  width.steps = {0.02 * unit};
  width.least = {-0.9 * unit};
  width.most = {15 * unit};
  width.starts = {{0.2 * unit}, {unit}, {3 * unit}};
  width.measured = [to = width.change, own, squared, scale](Numbers p, Numbers errors) {
    const double changed = std::sqrt(own * own + squared * p[0]);
    return with(to, scale * (changed - own), scale * squared / 2 / changed * errors[0]);
  };
  return width;
}

// By the parameter more.
SpectralChange amount_of(const Change& place, Piece piece) {
  SpectralChange amount;
  amount.change = place;
  amount.change.kind = ChangeKind::amount;
  amount.of = [piece = std::move(piece)](Numbers p) { return times(piece, p[0]); };
  amount.steps = {0.01};
  amount.least = {-1.5};
  amount.most = {20};
  amount.starts = {{0.1}};
  amount.measured = [to = amount.change](Numbers p, Numbers errors) { return with(to, 1 + p[0], errors[0]); };
  return amount;
}

// The lower ones become 1 + p times what they are, and the sum stays. Absent where one of them has no area.
std::optional<SpectralChange> ratio_of(const Change& place, const Piece& lower, const Piece& upper) {
  const double below = sum_of(lower), above = sum_of(upper);
  if (!(below > 0 && above > 0)) return std::nullopt;
  SpectralChange ratio;
  ratio.change = place;
  ratio.change.kind = ChangeKind::ratio;
  ratio.of = [change = difference(lower, times(upper, below / above))](Numbers p) {
    return times(change, p[0]);
  };
  ratio.steps = {0.01};
  ratio.least = {-1};
  ratio.most = {above / below};
  ratio.starts = {{0.1}};
  ratio.measured = [to = ratio.change, share = below / above](Numbers p, Numbers errors) {
    const double rest = 1 - p[0] * share;
    return with(to, (1 + p[0]) / rest, (1 + share) / (rest * rest) * errors[0]);
  };
  return ratio;
}

// Of the peaks [from, to].
void add_span(std::vector<SpectralChange>& changes, const Spectrum& s, size_t from, size_t to) {
  const std::vector<SpectralFeature>& features = s.features();
  const double scale = s.energy().scale;
  Change place;
  place.first_ev = s.rise_ev(features[from]);
  place.last_ev = s.ev(features[to].peak);
  place.peaks = static_cast<int>(to - from) + 1;
  const int64_t first = features[from].first, last = features[to].last;
  const Piece lines = s.above_steps(first, last);
  const std::optional<Piece> edge = s.edge(from, last);
  const double width = full_width(lines);
  for (const Piece& piece : {lines, edge ? *edge : s.above_line(first, last)}) {
    const Piece smooth = smoothed(piece, std::min(width / 8, most_smoothing));
    changes.push_back(shift_of(place, smooth, scale));
    changes.push_back(width_of(place, smooth, width, scale));
    changes.push_back(amount_of(place, piece));
  }
  const auto highest = [&](size_t begin, size_t end) {
    const auto found =
        std::max_element(features.begin() + static_cast<std::ptrdiff_t>(begin),
                         features.begin() + static_cast<std::ptrdiff_t>(end),
                         [&](const SpectralFeature& a, const SpectralFeature& b) {
                           return at(lines.values, a.peak - first) < at(lines.values, b.peak - first);
                         });
    return s.ev(found->peak);
  };
  for (size_t split = from + 1; split <= to; ++split) {
    const int64_t middle = (features[split - 1].last + features[split].first) / 2 - first;
    const auto border = lines.values.begin() + middle;
    place.first_ev = highest(from, split);
    place.last_ev = highest(split, to + 1);
    if (auto ratio = ratio_of(place, {first, {lines.values.begin(), border}},
                              {first + middle, {border, lines.values.end()}}))
      changes.push_back(std::move(*ratio));
  }
}

// What is new, by its height and energy: in units of the spectrum there.
Change measured_new(ChangeKind kind, const Spectrum& s, Numbers p, Numbers errors) {
  Change change;
  change.kind = kind;
  change.first_ev = change.last_ev = p[1];
  change.energy_uncertainty_ev = errors[1];
  const int64_t e = std::clamp<int64_t>(std::lround(s.energy().index(p[1])), 0, s.size() - 1);
  const double level = std::max(std::abs(at(s.values(), e)), 1e-300);
  return with(change, p[0] / level, errors[0] / level);
}

// Height, energy and log sigma (eV), begun from each of several widths; what a cosmic ray leaves in a channel
// or two has no width that could be fitted.
void add_peaks(std::vector<SpectralChange>& changes, const std::shared_ptr<const Spectrum>& s,
               ChannelWindow window) {
  const double scale = s->energy().scale, spike = 0.4 * scale, narrowest = 0.5 * scale,
               widest = std::max(8.0, 4 * scale);
  const auto of = [s, scale, spike](Numbers p) {
    const double sigma = (p.size() > 2 ? std::exp(p[2]) : spike) / scale, centre = s->energy().index(p[1]);
    const int64_t reach = static_cast<int64_t>(std::ceil(4 * sigma)) + 1,
                  middle = std::lround(std::clamp(centre, 0.0, static_cast<double>(s->size() - 1)));
    Piece piece{middle - reach, {}};
    for (int64_t e = middle - reach; e <= middle + reach; ++e) {
      const double u = (static_cast<double>(e) - centre) / sigma;
      piece.values.push_back(p[0] * std::exp(-u * u / 2));
    }
    return piece;
  };
  const auto measured = [s](Numbers p, Numbers errors) {
    return measured_new(p.size() > 2 ? ChangeKind::peak : ChangeKind::spike, *s, p, errors);
  };
  const double level = s->highest();
  if (!(level > 0)) return;
  for (double sigma = spike; sigma < widest; sigma *= 2) {
    SpectralChange peak;
    peak.change.kind = ChangeKind::peak;
    peak.of = of;
    peak.measured = measured;
    peak.steps = {0.01 * level, 0.1 * sigma, 0.05};
    peak.least = {-1e3 * level, s->ev(window.first) - scale, std::log(narrowest)};
    peak.most = {1e3 * level, s->ev(window.last) + scale, std::log(widest)};
    for (int64_t e = window.first; e < window.last; e += std::max<int64_t>(1, s->channels_of(sigma)))
      peak.starts.push_back({0.1 * level, s->ev(e), std::log(sigma)});
    if (sigma == spike) {
      peak.change.kind = ChangeKind::spike;
      peak.steps.pop_back(), peak.least.pop_back(), peak.most.pop_back();
      for (std::vector<double>& start : peak.starts) start.pop_back();
    }
    changes.push_back(std::move(peak));
  }
}

// Height and energy.
void add_edges(std::vector<SpectralChange>& changes, const std::shared_ptr<const Spectrum>& s,
               ChannelWindow window) {
  const double scale = s->energy().scale, rounding_ev = std::max(1.0, scale);
  const auto of = [s, rounding_ev](Numbers p) {
    Piece piece;
    piece.first = std::clamp<int64_t>(std::lround(s->energy().index(p[1] - 4 * rounding_ev)), 0, s->size());
    for (int64_t e = piece.first; e < s->size(); ++e)
      piece.values.push_back(p[0] / 2 * (1 + std::tanh((s->ev(e) - p[1]) / rounding_ev)) *
                             std::pow(s->ev(e) / p[1], -edge_decay));
    return piece;
  };
  const auto measured = [s](Numbers p, Numbers errors) {
    return measured_new(ChangeKind::edge, *s, p, errors);
  };
  const double level = s->highest();
  if (!(level > 0)) return;
  // Less than that of a step shows no edge.
  const int64_t margin = s->channels_of(5), step = std::max<int64_t>(1, s->channels_of(2));
  SpectralChange edge;
  edge.change.kind = ChangeKind::edge;
  edge.of = of;
  edge.measured = measured;
  edge.steps = {0.01 * level, 0.1 * rounding_ev};
  edge.least = {-1e3 * level, s->ev(window.first + margin)};
  edge.most = {1e3 * level, s->ev(window.last - margin)};
  for (int64_t e = window.first + margin + 1; e + margin < window.last; e += step)
    edge.starts.push_back({0.1 * level, s->ev(e)});
  if (!edge.starts.empty()) changes.push_back(std::move(edge));
}

// A sum of columns over all channels, the first of which counts.
SpectralChange everywhere(ChangeKind kind, std::vector<std::vector<double>> columns, double none) {
  SpectralChange change;
  change.change.kind = kind;
  const size_t count = columns.size();
  change.of = [columns = std::move(columns)](Numbers p) {
    Piece piece{0, std::vector<double>(columns.front().size())};
    for (size_t c = 0; c < columns.size(); ++c)
      for (size_t e = 0; e < piece.values.size(); ++e) piece.values[e] += p[c] * columns[c][e];
    return piece;
  };
  change.steps.assign(count, 0.01);
  change.least.assign(count, -1e12);
  change.most.assign(count, 1e12);
  change.counted = 1;
  change.starts.emplace_back(count, 0.0);
  change.starts[0][0] = 0.1;
  change.measured = [to = change.change, none](Numbers p, Numbers errors) {
    return with(to, none + p[0], errors[0]);
  };
  return change;
}

}  // namespace

SpectralChange scale_of(const std::vector<double>& spectrum) {
  return everywhere(ChangeKind::intensity, {spectrum}, 1);
}

Piece difference(const Piece& a, const Piece& b) {
  Piece result;
  result.first = std::min(a.first, b.first);
  const int64_t last = std::max(a.first + std::ssize(a.values), b.first + std::ssize(b.values));
  result.values.resize(static_cast<size_t>(last - result.first));
  for (int64_t i = 0; i < std::ssize(a.values); ++i)
    at(result.values, a.first - result.first + i) += at(a.values, i);
  for (int64_t i = 0; i < std::ssize(b.values); ++i)
    at(result.values, b.first - result.first + i) -= at(b.values, i);
  return result;
}

std::vector<SpectralChange> spectral_changes(const std::vector<double>& spectrum, const Axis& energy,
                                             ChannelWindow window) {
  const auto s = std::make_shared<const Spectrum>(spectrum, energy);
  std::vector<SpectralChange> changes;
  const std::vector<SpectralFeature>& features = s->features();
  for (size_t from = 0; from < features.size(); ++from)
    for (size_t to = from; to < std::min(features.size(), from + longest_span); ++to) {
      if (to > from && s->ev(features[to].first) - s->ev(features[to - 1].last) > longest_gap_ev) break;
      if (features[to].last <= window.first || features[from].first >= window.last) continue;
      add_span(changes, *s, from, to);
    }
  add_peaks(changes, s, window);
  add_edges(changes, s, window);

  const std::vector<double> constant(spectrum.size(), 1.0), background = s->background();
  std::vector<double> steeper;  // dE^-r / dr
  const double middle = std::sqrt(s->ev(0) * s->ev(s->size() - 1));
  for (int64_t e = 0; e < s->size(); ++e) steeper.push_back(-at(background, e) * std::log(s->ev(e) / middle));
  changes.push_back(everywhere(ChangeKind::intensity, {spectrum, constant}, 1));
  changes.push_back(everywhere(ChangeKind::background, {steeper, background, constant}, 0));
  return changes;
}

}  // namespace eelsvae
