#include "engine/whitened_score.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/context.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// One shape of one width: the same taps at every `step`-th channel. At the ends of the window it is cut off
// and its norm is that of what is left.
struct Shape {
  int64_t reach = 0;        // taps lie within +-reach channels
  int64_t step = 1;         // between neighbouring places
  double width = 0;         // standard deviation of the Gaussian, channels
  bool pair = false;        // two opposite lobes
  std::vector<float> taps;  // 2 reach + 1
};

std::vector<Shape> make_shapes(int64_t channels) {
  std::vector<Shape> shapes;
  for (double width = 0.5; width <= std::max(1.0, static_cast<double>(channels) / 16); width *= 2)
    for (bool pair : {false, true}) {
      Shape shape;
      shape.width = width;
      shape.pair = pair;
      shape.reach = static_cast<int64_t>(std::ceil((pair ? 3.5 : 3) * width));
      shape.step = std::max<int64_t>(1, static_cast<int64_t>(width / 2));
      for (int64_t i = -shape.reach; i <= shape.reach; ++i) {
        const double u = static_cast<double>(i) / width;
        shape.taps.push_back(static_cast<float>((pair ? u : 1) * std::exp(-u * u / 2)));
      }
      shapes.push_back(shape);
    }
  return shapes;
}

// A shape at a place, ready for use: taps of unit norm over channels [first, first + taps).
struct Filter {
  int64_t first = 0, taps = 0, offset = 0;  // offset: of its taps in Bank::taps
  int64_t centre = 0;
  const Shape* shape = nullptr;
};

struct Bank {
  std::vector<Shape> shapes;
  std::vector<Filter> filters;
  std::vector<float> taps;
  std::vector<float> on_components;  // (filters, k): t^T u_k
};

Bank make_bank(const ResidualModel& model, ChannelWindow window) {
  Bank bank;
  bank.shapes = make_shapes(window.size());
  for (const Shape& shape : bank.shapes)
    for (int64_t centre = window.first; centre < window.last; centre += shape.step) {
      Filter filter;
      filter.shape = &shape;
      filter.centre = centre;
      filter.first = std::max(window.first, centre - shape.reach);
      filter.taps = std::min(window.last, centre + shape.reach + 1) - filter.first;
      filter.offset = std::ssize(bank.taps);
      const float* taps = shape.taps.data() + (filter.first - centre + shape.reach);
      double squares = 0;
      for (int64_t i = 0; i < filter.taps; ++i)
        squares += static_cast<double>(taps[i]) * static_cast<double>(taps[i]);
      if (!(squares > 0)) continue;  // a window of one channel holds no pair
      const auto norm = static_cast<float>(1 / std::sqrt(squares));
      for (int64_t i = 0; i < filter.taps; ++i) bank.taps.push_back(norm * taps[i]);
      bank.filters.push_back(filter);
    }
  for (const Filter& filter : bank.filters)
    for (int64_t k = 0; k < model.count(); ++k) {
      double sum = 0;
      for (int64_t i = 0; i < filter.taps; ++i)
        sum += static_cast<double>(bank.taps[static_cast<size_t>(filter.offset + i)]) *
               static_cast<double>(model.component(k)[filter.first + i]);
      bank.on_components.push_back(static_cast<float>(sum));
    }
  return bank;
}

// Applies the bank to pixels: takes out of their residuals what the surroundings foretell and weighs down the
// shapes that normal spectra vary in.
class Responses {
 public:
  Responses(const SpectrumImage& observed, std::span<const float> expected, const ResidualModel& model,
            ChannelWindow window, int64_t context)
      : observed_(observed), expected_(expected), model_(model), bank_(make_bank(model, window)) {
    const int64_t count = model.count();
    amounts_.assign(static_cast<size_t>(count), std::vector<float>(static_cast<size_t>(observed.pixels())));
    weights_ = amounts_;
    foretold_.resize(static_cast<size_t>(count));
    measure_amounts();
    for (size_t k = 0; k < static_cast<size_t>(count); ++k) {
      if (context <= 1) {
        const double strength = model.strengths[k];
        std::fill(weights_[k].begin(), weights_[k].end(), static_cast<float>(strength / (1 + strength)));
        continue;
      }
      Foretold foretold = foretell(amounts_[k], observed.y.size, observed.x.size, context, observed.excluded);
      for (size_t pixel = 0; pixel < amounts_[k].size(); ++pixel) {
        const double spread = static_cast<double>(foretold.spread[pixel]);
        const double strength = std::max(spread * spread / model.level - 1, 0.0);
        weights_[k][pixel] = static_cast<float>(strength / (1 + strength));
        amounts_[k][pixel] -= foretold.value[pixel];
      }
      foretold_[k] = std::move(foretold.value);
    }
  }

  size_t filters() const { return bank_.filters.size(); }
  const Filter& filter(size_t f) const { return bank_.filters[f]; }

  static constexpr int64_t block = 256;

  // Calls use(block, pixel, y (filters)) for every step-th pixel that is not excluded. A block of consecutive
  // pixels is one thread's, in order.
  template <typename Use>
  void for_pixels(int64_t step, Use&& use) const {
    const auto count = static_cast<size_t>(model_.count());
    const int64_t pixels = observed_.pixels();
#pragma omp parallel
    {
      std::vector<float> z(static_cast<size_t>(observed_.energy.size)), y(filters()), amounts(count),
          weights(count);
#pragma omp for schedule(dynamic)
      for (int64_t first = 0; first < pixels; first += block)
        for (int64_t pixel = first; pixel < std::min(first + block, pixels); ++pixel) {
          if (pixel % step != 0 || excluded(pixel)) continue;
          residual(pixel, z.data(), amounts.data(), weights.data());
          respond(z.data(), amounts.data(), weights.data(), y.data());
          use(static_cast<size_t>(first / block), pixel, y.data());
        }
    }
  }

 private:
  bool excluded(int64_t pixel) const {
    return !observed_.excluded.empty() && observed_.excluded[static_cast<size_t>(pixel)];
  }

  void measure_amounts() {
    const int64_t channels = observed_.energy.size;
#pragma omp parallel
    {
      std::vector<float> z(static_cast<size_t>(channels));
#pragma omp for schedule(static)
      for (int64_t pixel = 0; pixel < observed_.pixels(); ++pixel) {
        if (excluded(pixel)) continue;
        model_.whiten(observed_.spectrum(pixel), expected_.data() + pixel * channels, z.data());
        for (int64_t k = 0; k < model_.count(); ++k) {
          const float* u = model_.component(k);
          float sum = 0;
#pragma omp simd reduction(+ : sum)
          for (int64_t e = 0; e < channels; ++e) sum += z[static_cast<size_t>(e)] * u[e];
          amounts_[static_cast<size_t>(k)][static_cast<size_t>(pixel)] = sum;
        }
      }
    }
  }

  // z (E) without the foretold part; amounts (k), already times their weights (k).
  void residual(int64_t pixel, float* z, float* amounts, float* weights) const {
    const auto at = static_cast<size_t>(pixel);
    const int64_t channels = observed_.energy.size;
    model_.whiten(observed_.spectrum(pixel), expected_.data() + pixel * channels, z);
    for (size_t k = 0; k < amounts_.size(); ++k) {
      weights[k] = weights_[k][at];
      amounts[k] = weights[k] * amounts_[k][at];
      if (foretold_[k].empty()) continue;
      const float known = foretold_[k][at], *u = model_.component(static_cast<int64_t>(k));
#pragma omp simd
      for (int64_t e = 0; e < channels; ++e) z[e] -= known * u[e];
    }
  }

  void respond(const float* z, const float* amounts, const float* weights, float* y) const {
    const size_t count = amounts_.size();
    const float* on = bank_.on_components.data();
    for (size_t f = 0; f < bank_.filters.size(); ++f, on += count) {
      const Filter& filter = bank_.filters[f];
      const float *taps = bank_.taps.data() + filter.offset, *part = z + filter.first;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < filter.taps; ++i) sum += taps[i] * part[i];
      float variance = 1;
      for (size_t k = 0; k < count; ++k) {
        sum -= on[k] * amounts[k];
        variance -= on[k] * on[k] * weights[k];
      }
      y[f] = sum / std::sqrt(std::max(variance, 1e-3f));
    }
  }

  const SpectrumImage& observed_;
  std::span<const float> expected_;
  const ResidualModel& model_;
  Bank bank_;
  std::vector<std::vector<float>> amounts_, weights_, foretold_;  // (k)(pixels)
};

// What a filter that fired says: the range of its lobe, or of the stronger of its two, and what is there.
Deviation explain(const Filter& filter, float y, ChannelWindow window, const float* observed,
                  const float* expected) {
  const double width = filter.shape->width;
  const auto centre = static_cast<double>(filter.centre);
  struct Lobe {
    int64_t first, last;
    double excess = 0, level = 0;
  };
  auto lobe = [&](double low, double high) {
    Lobe part{std::clamp(static_cast<int64_t>(std::lround(low)), window.first, window.last - 1), 0};
    part.last = std::clamp(static_cast<int64_t>(std::lround(high)) + 1, part.first + 1, window.last);
    for (int64_t e = part.first; e < part.last; ++e) {
      part.excess += static_cast<double>(observed[e]) - static_cast<double>(expected[e]);
      part.level += static_cast<double>(expected[e]);
    }
    return part;
  };
  Lobe part = lobe(centre - 1.5 * width, centre + 1.5 * width);
  if (filter.shape->pair) {
    const Lobe below = lobe(centre - 2.2 * width, centre - 0.3 * width),
               above = lobe(centre + 0.3 * width, centre + 2.2 * width);
    const bool upper = std::abs(above.excess) >= std::abs(below.excess);
    part = upper ? above : below;
    if (!upper) y = -y;  // the pair is negative below its centre
  }
  return {static_cast<int32_t>(part.first), static_cast<int32_t>(part.last), y,
          part.level > 0 ? static_cast<float>(part.excess / part.level) : 0};
}

// 1 over the spread of every filter's responses: first from the median of a sample, then from the mean square
// of all responses, each cut off at three of those, which knows it four times as well.
std::vector<float> inverse_spreads(const Responses& responses, int64_t pixels) {
  const size_t filters = responses.filters();
  constexpr int64_t sample_size = 1024;
  const int64_t step = pixels / sample_size + 1;
  const auto sampled = static_cast<size_t>((pixels + step - 1) / step);
  std::vector<float> sample(sampled * filters, std::numeric_limits<float>::quiet_NaN());
  responses.for_pixels(step, [&](size_t, int64_t pixel, const float* y) {
    std::copy_n(y, filters, sample.data() + static_cast<size_t>(pixel / step) * filters);
  });
  std::vector<float> limit(filters);
#pragma omp parallel
  {
    std::vector<float> values;
#pragma omp for schedule(static)
    for (size_t f = 0; f < filters; ++f) {
      values.clear();
      for (size_t i = 0; i < sampled; ++i)
        if (const float y = sample[i * filters + f]; !std::isnan(y)) values.push_back(std::abs(y));
      if (values.empty()) continue;
      const auto middle = values.begin() + std::ssize(values) / 2;
      std::nth_element(values.begin(), middle, values.end());
      limit[f] = 3 * 1.4826f * *middle;
    }
  }

  // Each block of pixels sums by itself and the blocks are added up in order, so that the result does not
  // depend on threads.
  const size_t blocks = static_cast<size_t>((pixels + Responses::block - 1) / Responses::block);
  std::vector<float> squares(blocks * filters);
  std::vector<int64_t> counted(blocks);
  responses.for_pixels(1, [&](size_t block, int64_t, const float* y) {
    float* sums = squares.data() + block * filters;
    for (size_t f = 0; f < filters; ++f) {
      const float cut = std::min(std::abs(y[f]), limit[f]);
      sums[f] += cut * cut;
    }
    ++counted[block];
  });
  // Of a normal variable cut off at three standard deviations.
  constexpr double cut_off_variance = 0.99501;
  const auto count = static_cast<double>(std::accumulate(counted.begin(), counted.end(), int64_t{0}));
  std::vector<float> inverse(filters);
  for (size_t f = 0; f < filters; ++f) {
    double sum = 0;
    for (size_t block = 0; block < blocks; ++block) sum += static_cast<double>(squares[block * filters + f]);
    const double variance = sum / std::max(count, 1.0) / cut_off_variance;
    inverse[f] = variance > 0 ? static_cast<float>(1 / std::sqrt(variance)) : 0;
  }
  return inverse;
}

}  // namespace

WhitenedScores whitened_scores(const SpectrumImage& observed, std::span<const float> expected,
                               const ResidualModel& model, ChannelWindow window, int64_t context) {
  expect(expected.size() == observed.counts.size(), "expected spectra of another size");
  expect(0 <= window.first && window.first < window.last && window.last <= observed.energy.size,
         "score window outside the energy axis");
  const Responses responses(observed, expected, model, window, context);
  const std::vector<float> inverse = inverse_spreads(responses, observed.pixels());
  const int64_t channels = observed.energy.size;
  WhitenedScores result;
  result.scores.assign(static_cast<size_t>(observed.pixels()), std::numeric_limits<float>::quiet_NaN());
  result.deviations.resize(static_cast<size_t>(observed.pixels()));
  responses.for_pixels(1, [&](size_t, int64_t pixel, const float* y) {
    size_t strongest = 0;
    float score = 0;
    for (size_t f = 0; f < responses.filters(); ++f)
      if (const float size = std::abs(y[f]) * inverse[f]; size > score) {
        score = size;
        strongest = f;
      }
    const auto at = static_cast<size_t>(pixel);
    result.scores[at] = score;
    if (score > 0)
      result.deviations[at] = explain(responses.filter(strongest), y[strongest] * inverse[strongest], window,
                                      observed.spectrum(pixel), expected.data() + pixel * channels);
  });
  return result;
}

}  // namespace eelsvae
