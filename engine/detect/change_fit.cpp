#include "engine/detect/change_fit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include <Eigen/Dense>

#include "engine/detect/spectral_changes.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr size_t most_changes = 3;

// A change as it shows in z: on channels [first, first + z), and how much of it lies along each component.
struct Column {
  int64_t first = 0;
  std::vector<double> z;
  Eigen::VectorXd on_components;

  int64_t last() const { return first + std::ssize(z); }
};

// Products of columns by C^-1, with Woodbury's identity.
class Metric {
 public:
  // unit (E): what a count of each channel is in z, before whitening. noise: its variance in z.
  Metric(const ResidualModel& model, std::vector<double> unit, double noise, ChannelWindow window)
      : model_(model), unit_(std::move(unit)), window_(window), noise_(noise) {
    const int64_t count = model.count();
    const Eigen::Map<const Eigen::MatrixXf> all(model.components.data(), std::ssize(model.mean), count);
    components_ = all.middleRows(window.first, window.size()).cast<double>();
    const Eigen::VectorXd root =
        (model.level * Eigen::Map<const Eigen::VectorXd>(model.strengths.data(), count)).cwiseSqrt();
    Eigen::MatrixXd inner = root.asDiagonal() * (components_.transpose() * components_) * root.asDiagonal();
    inner.diagonal().array() += noise;
    weights_ =
        root.asDiagonal() * inner.llt().solve(Eigen::MatrixXd::Identity(count, count)) * root.asDiagonal();
  }

  Column column(const Piece& piece) const {
    const int64_t first = std::max(piece.first, window_.first),
                  end = std::min(piece.first + std::ssize(piece.values), window_.last);
    if (first >= end) return {window_.first, {}, Eigen::VectorXd::Zero(model_.count())};
    const int64_t last = std::min(window_.last, end + model_.whitening.reach());
    // Whitened where it stands, for the first channels of the axis have filters of their own.
    std::vector<float> whole(static_cast<size_t>(last));
    for (int64_t e = first; e < end; ++e)
      whole[static_cast<size_t>(e)] = static_cast<float>(unit_[static_cast<size_t>(e)] *
                                                         piece.values[static_cast<size_t>(e - piece.first)]);
    model_.whitening.apply(whole.data(), first, last);
    return projected(first, {whole.begin() + first, whole.end()});
  }

  // z (E) of a spectrum, in the window.
  Column spectrum(const std::vector<double>& z) const {
    return projected(window_.first, {z.begin() + window_.first, z.begin() + window_.last});
  }

  double product(const Column& a, const Column& b) const {
    const int64_t first = std::max(a.first, b.first), last = std::min(a.last(), b.last());
    double sum = 0;
    for (int64_t e = first; e < last; ++e)
      sum += a.z[static_cast<size_t>(e - a.first)] * b.z[static_cast<size_t>(e - b.first)];
    return (sum - a.on_components.dot(weights_ * b.on_components)) / noise_;
  }

 private:
  Column projected(int64_t first, std::vector<double> z) const {
    const Eigen::Map<const Eigen::VectorXd> values(z.data(), std::ssize(z));
    Eigen::VectorXd on = components_.middleRows(first - window_.first, std::ssize(z)).transpose() * values;
    return {first, std::move(z), std::move(on)};
  }

  const ResidualModel& model_;
  std::vector<double> unit_;
  ChannelWindow window_;
  double noise_;
  Eigen::MatrixXd components_, weights_;  // (window, k), (k, k)
};

void subtract(Column& from, const Column& column) {
  for (int64_t e = column.first; e < column.last(); ++e)
    from.z[static_cast<size_t>(e - from.first)] -= column.z[static_cast<size_t>(e - column.first)];
  from.on_components -= column.on_components;
}

struct Fit {
  std::vector<const SpectralChange*> changes;
  std::vector<std::vector<double>> parameters;  // of each
  double chi_squared = 0;
  Eigen::MatrixXd covariance;  // of all parameters

  int64_t count() const {
    int64_t sum = 0;
    for (const std::vector<double>& own : parameters) sum += std::ssize(own);
    return sum;
  }
  int64_t counted() const {
    int64_t sum = 0;
    for (size_t i = 0; i < changes.size(); ++i)
      sum += changes[i]->counted.value_or(std::ssize(parameters[i]));
    return sum;
  }
};

// What is left of z.
Column residual(const Metric& metric, const Column& z, const Fit& fit) {
  Column left = z;
  for (size_t i = 0; i < fit.changes.size(); ++i)
    subtract(left, metric.column(fit.changes[i]->of(fit.parameters[i])));
  return left;
}

// From the parameters that `fit` has. Without a value where they cannot be told apart, or run into a limit.
std::optional<Fit> refined(const Metric& metric, const Column& z, Fit fit) {
  constexpr int most_rounds = 20;
  const int64_t count = fit.count();
  Column left = residual(metric, z, fit);
  fit.chi_squared = metric.product(left, left);
  double damping = 1e-3;
  Eigen::MatrixXd normal(count, count);
  for (int round = 0; round < most_rounds; ++round) {
    std::vector<Column> slopes;
    for (size_t i = 0; i < fit.changes.size(); ++i)
      for (size_t p = 0; p < fit.parameters[i].size(); ++p) {
        std::vector<double> above = fit.parameters[i], below = above;
        const double step = fit.changes[i]->steps[p];
        above[p] += step;
        below[p] -= step;
        Piece slope = difference(fit.changes[i]->of(above), fit.changes[i]->of(below));
        for (double& value : slope.values) value /= 2 * step;
        slopes.push_back(metric.column(slope));
      }
    Eigen::VectorXd towards(count);
    for (int64_t a = 0; a < count; ++a) {
      towards[a] = metric.product(slopes[static_cast<size_t>(a)], left);
      for (int64_t b = a; b < count; ++b)
        normal(a, b) = normal(b, a) =
            metric.product(slopes[static_cast<size_t>(a)], slopes[static_cast<size_t>(b)]);
    }
    bool better = false, settled = false;
    for (; damping < 1e6; damping *= 10) {
      Eigen::MatrixXd damped = normal;
      damped.diagonal() *= 1 + damping;
      const Eigen::VectorXd step = damped.ldlt().solve(towards);
      if (!step.allFinite()) return std::nullopt;
      Fit next = fit;
      int64_t a = 0;
      for (size_t i = 0; i < next.changes.size(); ++i)
        for (size_t p = 0; p < next.parameters[i].size(); ++p, ++a)
          next.parameters[i][p] = std::clamp(next.parameters[i][p] + step[a], next.changes[i]->least[p],
                                             next.changes[i]->most[p]);
      Column rest = residual(metric, z, next);
      next.chi_squared = metric.product(rest, rest);
      if (next.chi_squared > fit.chi_squared) continue;
      better = true;
      settled = fit.chi_squared - next.chi_squared < 1e-3;
      fit = std::move(next);
      left = std::move(rest);
      damping = std::max(damping / 10, 1e-9);
      break;
    }
    if (!better || settled) break;
  }
  for (size_t i = 0; i < fit.changes.size(); ++i)
    for (size_t p = 0; p < fit.parameters[i].size(); ++p)
      if (fit.parameters[i][p] <= fit.changes[i]->least[p] || fit.parameters[i][p] >= fit.changes[i]->most[p])
        return std::nullopt;
  const Eigen::VectorXd scale = normal.diagonal().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
  const Eigen::LDLT<Eigen::MatrixXd> solver(scale.asDiagonal() * normal * scale.asDiagonal());
  if (solver.info() != Eigen::Success || !(solver.vectorD().minCoeff() > 1e-8)) return std::nullopt;
  fit.covariance =
      scale.asDiagonal() * solver.solve(Eigen::MatrixXd::Identity(count, count)) * scale.asDiagonal();
  return fit;
}

// A beginning for a fit: by how much a change of these parameters, of any size, would lower chi^2.
struct Start {
  const SpectralChange* change;
  std::vector<double> parameters;
  double drop;
};

// Whether peaks that changed in this way already would do so again. What is new stands nowhere yet, and the
// whole spectrum stands everywhere.
bool is_made(const SpectralChange& change, const Fit& fit) {
  return std::ranges::any_of(fit.changes, [&](const SpectralChange* made) {
    const Change &a = change.change, &b = made->change;
    return a.kind == b.kind && a.last_ev > 0 && a.first_ev <= b.last_ev && b.first_ev <= a.last_ev;
  });
}

// The most promising, some of every kind: what one kind leaves unexplained another may not.
std::vector<Start> best_starts(const Metric& metric, const Column& left, const Fit& fit,
                               const std::vector<SpectralChange>& changes, double price) {
  constexpr int64_t of_each_kind = 3;
  std::vector<Start> starts;
  for (const SpectralChange& change : changes) {
    if (is_made(change, fit)) continue;
    std::optional<Start> best;
    for (const std::vector<double>& parameters : change.starts) {
      const Column column = metric.column(change.of(parameters));
      const double size = metric.product(column, column), along = metric.product(column, left);
      if (!(size > 0)) continue;
      const double drop = along * along / size;
      if (best && drop <= best->drop) continue;
      best = {&change, parameters, drop};
      // The first parameter is proportional to the change, or nearly so.
      best->parameters[0] =
          std::clamp(best->parameters[0] * along / size, 0.99 * change.least[0], 0.99 * change.most[0]);
    }
    if (best) starts.push_back(*best);
  }
  std::ranges::stable_sort(starts, std::ranges::greater(), [&](const Start& start) {
    return start.drop - price * static_cast<double>(start.parameters.size());
  });
  std::vector<Start> chosen;
  for (const Start& start : starts)
    if (std::ranges::count(chosen, start.change->change.kind,
                           [](const Start& s) { return s.change->change.kind; }) < of_each_kind)
      chosen.push_back(start);
  return chosen;
}

std::optional<Fit> without(const Metric& metric, const Column& z, Fit fit, size_t i) {
  fit.changes.erase(fit.changes.begin() + static_cast<std::ptrdiff_t>(i));
  fit.parameters.erase(fit.parameters.begin() + static_cast<std::ptrdiff_t>(i));
  return refined(metric, z, std::move(fit));
}

// Beyond what it begins with, which stays.
Fit smallest_fit(const Metric& metric, const Column& z, const std::vector<SpectralChange>& changes,
                 double price, Fit begun) {
  const double choice = 2 * std::log(static_cast<double>(changes.size()));
  const auto criterion = [&](const Fit& fit) {
    return fit.chi_squared + price * static_cast<double>(fit.counted()) +
           choice * static_cast<double>(fit.changes.size());
  };
  const size_t given = begun.changes.size();
  Fit fit = std::move(begun);
  while (fit.changes.size() < given + most_changes) {
    std::optional<Fit> best;
    for (const Start& start : best_starts(metric, residual(metric, z, fit), fit, changes, price)) {
      Fit more = fit;
      more.changes.push_back(start.change);
      more.parameters.push_back(start.parameters);
      std::optional<Fit> found = refined(metric, z, std::move(more));
      if (found && criterion(*found) < criterion(best ? *best : fit)) best = std::move(found);
    }
    if (!best) break;
    fit = std::move(*best);
    for (size_t i = given; i + 1 < fit.changes.size();) {
      std::optional<Fit> less = without(metric, z, fit, i);
      if (less && criterion(*less) <= criterion(fit))
        fit = std::move(*less);
      else
        ++i;
    }
  }
  return fit;
}

}  // namespace

Explanation explain(const SpectrumImageView& observed, std::span<const float> expected,
                    std::span<const int64_t> pixels, const ResidualModel& model, double noise,
                    ChannelWindow window) {
  expect(!pixels.empty() && expected.size() == observed.counts.size(), "expected spectra of another size");
  const Axis& energy = observed.energy;
  Explanation result;
  constexpr double lowest_ev = 10;  // below are the zero-loss peak and negative energies, which have no E^-3
  constexpr int64_t fewest_channels = 16;
  constexpr double least_excess = 1e-5;  // of the expected counts: rounding, and far less than noise
  if (energy.units != "eV" || !(energy.scale > 0) || energy.value(0) < lowest_ev ||
      window.size() < fewest_channels)
    return result;
  const auto channels = static_cast<size_t>(energy.size);
  std::vector<double> z(channels), unit(channels), mean(channels);
  std::vector<float> of_pixel(channels);
  const auto each = 1 / static_cast<double>(pixels.size());
  double excess = 0, total = 0;  // counts, observed beyond expected, and expected
  for (const int64_t pixel : pixels) {
    const float* x = expected.data() + pixel * energy.size;
    model.whiten(pixel, observed.spectrum(pixel), x, of_pixel.data());
    for (size_t e = 0; e < channels; ++e) {
      const double level = x[e];
      z[e] += each * static_cast<double>(of_pixel[e]);
      unit[e] += each / std::sqrt(model.noise.variance(pixel, static_cast<int64_t>(e), level));
      mean[e] += each * level;
      excess += static_cast<double>(observed.spectrum(pixel)[e]) - level;
      total += std::abs(level);
    }
  }
  // So much of a change as is not clipped arrives.
  for (size_t e = 0; e < model.noise.clipped.size(); ++e)
    unit[e] *= 1 - static_cast<double>(model.noise.clipped[e]);
  const Metric metric(model, std::move(unit), noise, window);
  const Column whole = metric.spectrum(z);
  // What was scaled to the very counts that it is compared with is lower where these lack something. Its own
  // scale is then as good as unknown; elsewhere a change of it is one like others.
  const SpectralChange scale = scale_of(mean);
  Fit nothing{{}, {}, metric.product(whole, whole), {}};
  std::optional<Fit> begun =
      std::abs(excess) < least_excess * total ? refined(metric, whole, {{&scale}, {{0.0}}, 0, {}}) : nothing;
  if (!begun || !std::isfinite(begun->chi_squared)) return result;
  const size_t given = begun->changes.size();
  result.channels = window.size();
  result.chi_squared_before = begun->chi_squared;
  const std::vector<SpectralChange> changes = spectral_changes(mean, energy, window);
  const Fit fit =
      smallest_fit(metric, whole, changes, std::log(static_cast<double>(window.size())), std::move(*begun));
  result.chi_squared_after = fit.chi_squared;
  int64_t place = 0;
  for (size_t i = 0; i < fit.changes.size(); ++i) {
    const int64_t own = std::ssize(fit.parameters[i]);
    std::vector<double> uncertainties;
    for (int64_t p = place; p < place + own; ++p) uncertainties.push_back(std::sqrt(fit.covariance(p, p)));
    if (i >= given) result.changes.push_back(fit.changes[i]->measured(fit.parameters[i], uncertainties));
    place += own;
  }
  return result;
}

double noise_of_pixel(const SpectrumImageView& observed, std::span<const float> expected,
                      const ResidualModel& model, std::span<const uint8_t> mask) {
  constexpr int64_t most_pixels = 1024;
  const int64_t channels = observed.energy.size, step = observed.pixels() / most_pixels + 1;
  std::vector<double> squares;
  std::vector<float> z(static_cast<size_t>(channels));
  for (int64_t pixel = 0; pixel < observed.pixels(); pixel += step) {
    const auto i = static_cast<size_t>(pixel);
    if (mask[i] != 0 || (!observed.excluded.empty() && observed.excluded[i] != 0)) continue;
    model.whiten(pixel, observed.spectrum(pixel), expected.data() + pixel * channels, z.data());
    const Eigen::Map<const Eigen::VectorXf> own(z.data(), channels);
    const Eigen::Map<const Eigen::MatrixXf> components(model.components.data(), channels, model.count());
    squares.push_back(static_cast<double>(own.squaredNorm() - (components.transpose() * own).squaredNorm()) /
                      static_cast<double>(channels - model.count()));
  }
  if (squares.empty()) return model.level;
  const auto middle = squares.begin() + std::ssize(squares) / 2;
  std::nth_element(squares.begin(), middle, squares.end());
  return *middle;
}

}  // namespace eelsvae
