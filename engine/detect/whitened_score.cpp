#include "engine/detect/whitened_score.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "engine/detect/spectral_features.h"
#include "engine/per_thread.h"
#include "kernels/error.h"
#include "kernels/image_operations.h"

namespace eelsvae {

struct MatchedFilters::Bank {
  // One shape of one width: the same taps at every `step`-th channel. At the ends of the window it is cut off
  // and its norm is that of what is left.
  struct Shape {
    int64_t reach = 0;        // taps lie within +-reach channels
    int64_t step = 1;         // between neighbouring places
    double width = 0;         // standard deviation of the Gaussian, channels
    bool pair = false;        // two opposite lobes
    std::vector<float> taps;  // 2 reach + 1
  };
  // A shape at a place, ready for use: taps of unit norm over channels [first, first + taps).
  struct Filter {
    int64_t first = 0, taps = 0, offset = 0;  // offset: of its taps in Bank::taps
    int64_t centre = 0;
    const Shape* shape = nullptr;  // of those that explain; null: of the spectrum's own shapes
  };

  std::vector<Shape> shapes;
  std::vector<Filter> filters;  // with a shape first
  std::vector<float> taps;
  std::vector<float> on_components;  // (filters, k): t^T u_k
  size_t explaining = 0;             // filters with a shape
};

namespace {

using Bank = MatchedFilters::Bank;
using Shape = Bank::Shape;
using Filter = Bank::Filter;

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

// Taps for channels [first, last) are scaled to norm 1; without any there is no filter.
void add_filter(Bank& bank, Filter filter, const float* taps) {
  double squares = 0;
  for (int64_t i = 0; i < filter.taps; ++i)
    squares += static_cast<double>(taps[i]) * static_cast<double>(taps[i]);
  if (!(squares > 0)) return;  // a window of one channel holds no pair
  const auto norm = static_cast<float>(1 / std::sqrt(squares));
  filter.offset = std::ssize(bank.taps);
  for (int64_t i = 0; i < filter.taps; ++i) bank.taps.push_back(norm * taps[i]);
  bank.filters.push_back(filter);
}

// Mean over the pixels, at most some thousands of them, which are enough for the shape of a spectrum.
std::vector<double> mean_of(const SpectrumImageView& observed, std::span<const float> expected) {
  constexpr int64_t most_pixels = 4096;
  const int64_t channels = observed.energy.size, step = observed.pixels() / most_pixels + 1;
  std::vector<double> mean(static_cast<size_t>(channels));
  double count = 0;
  for (int64_t pixel = 0; pixel < observed.pixels(); pixel += step) {
    if (!observed.excluded.empty() && observed.excluded[static_cast<size_t>(pixel)]) continue;
    const float* spectrum = expected.data() + pixel * channels;
    for (int64_t e = 0; e < channels; ++e) mean[static_cast<size_t>(e)] += static_cast<double>(spectrum[e]);
    ++count;
  }
  for (double& value : mean) value /= std::max(count, 1.0);
  return mean;
}

// What becomes of a spectrum when its edges grow, move or broaden: its fine structure, its first and its
// second derivative, in units of the noise.
std::array<std::vector<double>, 3> spectral_changes(const std::vector<double>& mean, const NoiseModel& noise,
                                                    const Axis& energy) {
  const int64_t channels = std::ssize(mean);
  const SmoothSpectrum smooth = smooth_spectrum(mean, energy);
  std::array<std::vector<double>, 3> changes;
  for (int64_t e = 0; e < channels; ++e) {
    auto at = [&](int64_t i) { return smooth.fine[static_cast<size_t>(reflected(i, channels))]; };
    const double level = mean[static_cast<size_t>(e)],
                 factor = static_cast<double>(noise.channel_factor[static_cast<size_t>(e)]),
                 unit = 1 / std::sqrt(factor * (noise.floor + noise.gain * std::max(level, 0.0)));
    changes[0].push_back(unit * (at(e) - smooth.background[static_cast<size_t>(e)]));
    changes[1].push_back(unit * (at(e + 1) - at(e - 1)) / 2);
    changes[2].push_back(unit * (at(e + 1) - 2 * at(e) + at(e - 1)));
  }
  return changes;
}

Bank make_bank(const Axis& energy, const std::vector<double>& mean_expected, const ResidualModel& model,
               ChannelWindow window) {
  Bank bank;
  bank.shapes = make_shapes(window.size());
  auto within = [&](int64_t centre, int64_t reach) {
    Filter filter;
    filter.centre = centre;
    filter.first = std::max(window.first, centre - reach);
    filter.taps = std::min(window.last, centre + reach + 1) - filter.first;
    return filter;
  };
  // What makes the noise white carries every shape a few channels further up.
  std::vector<float> whole(static_cast<size_t>(energy.size));
  auto add_whitened = [&](Filter filter, const float* taps) {
    const int64_t last = std::min(window.last, filter.first + filter.taps + model.whitening.reach());
    float* to = whole.data() + filter.first;
    std::copy_n(taps, filter.taps, to);
    model.whitening.apply(whole.data(), filter.first, last);
    filter.taps = last - filter.first;
    add_filter(bank, filter, to);
    std::fill_n(to, filter.taps, 0.0f);
  };
  for (const Shape& shape : bank.shapes)
    for (int64_t centre = window.first; centre < window.last; centre += shape.step) {
      Filter filter = within(centre, shape.reach);
      filter.shape = &shape;
      add_whitened(filter, shape.taps.data() + (filter.first - centre + shape.reach));
    }
  bank.explaining = bank.filters.size();

  const auto changes = spectral_changes(mean_expected, model.noise, energy);
  for (int64_t width = 8; width <= std::max<int64_t>(8, window.size() / 4); width *= 2)
    for (int64_t centre = window.first; centre < window.last; centre += width)
      for (const std::vector<double>& change : changes) {
        const Filter filter = within(centre, 5 * width / 2);
        std::vector<float> taps;
        for (int64_t e = filter.first; e < filter.first + filter.taps; ++e) {
          const double u = static_cast<double>(e - centre) / static_cast<double>(width);
          taps.push_back(static_cast<float>(change[static_cast<size_t>(e)] * std::exp(-u * u / 2)));
        }
        add_whitened(filter, taps.data());
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

// Pixels that are filtered together, one in each lane, so that the inner loops run over pixels however few
// taps a filter has.
constexpr int64_t lanes = 32;
// Compilers do not turn all of the loops over them into vectors: these are written as such.
using Eight = float __attribute__((vector_size(32), aligned(4)));
using EightInts = int32_t __attribute__((vector_size(32), aligned(4)));
constexpr int64_t eights = lanes / 8;
inline Eight at(const float* from) {
  return *reinterpret_cast<const Eight*>(from);
}
inline Eight absolute(Eight v) {
  return (Eight)((EightInts)v & 0x7fffffff);
}

// Applies the bank to pixels' residuals and weighs down the shapes that normal spectra vary in.
class Responses {
 public:
  Responses(int64_t channels, const NormalVariation& variation, const Bank& bank)
      : channels_(channels), variation_(variation), components_(variation.model().count()), bank_(bank) {}

  size_t filters() const { return bank_.filters.size(); }
  // So many of them, the first, have a shape that explains.
  size_t explaining() const { return bank_.explaining; }
  const Filter& filter(size_t f) const { return bank_.filters[f]; }
  const std::vector<int64_t>& pixels() const { return variation_.pixels(); }

  static constexpr int64_t block = 8 * lanes;

  // Calls use(block, first, count, y (filters, lanes)) for pixels[first], ... pixels[first + count - 1], at
  // most `lanes` at a time; y is 0 in the lanes beyond. A block of consecutive pixels is one thread's, in
  // order.
  template <typename Use>
  void for_pixels(const std::vector<int64_t>& pixels, Use&& use) const {
    const int64_t total = std::ssize(pixels);
    struct Room {
      std::vector<float> spectrum, z, y, amounts, weights;
    };
    const auto channels = static_cast<size_t>(channels_), components = static_cast<size_t>(components_);
    PerThread<Room> rooms(Room{std::vector<float>(channels), std::vector<float>(channels * lanes),
                               std::vector<float>(filters() * lanes), std::vector<float>(components * lanes),
                               std::vector<float>(components * lanes)});
#pragma omp parallel
    {
      auto& [spectrum, z, y, amounts, weights] = rooms.own();
#pragma omp for schedule(dynamic)
      for (int64_t begin = 0; begin < total; begin += block)
        for (int64_t first = begin; first < std::min(begin + block, total); first += lanes) {
          const int64_t count = std::min(lanes, total - first);
          load(pixels.data() + first, count, spectrum, z.data(), amounts.data(), weights.data());
          respond(z.data(), amounts.data(), weights.data(), y.data());
          use(static_cast<size_t>(begin / block), first, count, y.data());
        }
    }
  }

 private:
  // z (E, lanes) without the foretold part; amounts (k, lanes), already times their weights (k, lanes). 0 in
  // the lanes beyond count.
  void load(const int64_t* pixels, int64_t count, std::vector<float>& spectrum, float* z, float* amounts,
            float* weights) const {
    std::fill_n(z, channels_ * lanes, 0.0f);
    std::fill_n(amounts, components_ * lanes, 0.0f);
    std::fill_n(weights, components_ * lanes, 0.0f);
    for (int64_t lane = 0; lane < count; ++lane) {
      const int64_t pixel = pixels[lane];
      for (int64_t k = 0; k < components_; ++k) {
        weights[k * lanes + lane] = variation_.weight(k, pixel);
        amounts[k * lanes + lane] = variation_.weight(k, pixel) * variation_.amount(k, pixel);
      }
      variation_.residual(pixel, spectrum.data());
      for (int64_t e = 0; e < channels_; ++e) z[e * lanes + lane] = spectrum[static_cast<size_t>(e)];
    }
  }

  // Neighbours whose taps overlap go together: they share what is read of z, and one alone would wait for its
  // own sums.
  void respond(const float* z, const float* amounts, const float* weights, float* y) const {
    constexpr size_t together = 3;
    const std::vector<Filter>& filters = bank_.filters;
    const auto overlap = [&](size_t f) {
      return f + together <= filters.size() && filters[f + 1].taps == filters[f].taps &&
             filters[f + 2].taps == filters[f].taps && filters[f].first <= filters[f + 1].first &&
             filters[f + 1].first <= filters[f + 2].first &&
             filters[f + 2].first < filters[f].first + filters[f].taps;
    };
    for (size_t f = 0; f < filters.size();) {
      if (overlap(f)) {
        respond<together>(f, z, amounts, weights, y);
        f += together;
      } else {
        respond<1>(f++, z, amounts, weights, y);
      }
    }
  }

  // Of the filters [first, first + Count), which have as many taps as each other and overlap, in order. Each
  // adds up its taps in order, whichever go with it.
  template <int Count>
  void respond(size_t first, const float* z, const float* amounts, const float* weights, float* y) const {
    const int64_t count = bank_.filters[first].taps;
    Eight sum[Count][eights] = {}, variance[Count][eights];
    const float* taps[Count] = {};
    int64_t behind[Count] = {};  // the first one, in channels
    for (int c = 0; c < Count; ++c) {
      const Filter& filter = bank_.filters[first + static_cast<size_t>(c)];
      taps[c] = bank_.taps.data() + filter.offset;
      behind[c] = filter.first - bank_.filters[first].first;
      for (Eight& v : variance[c]) v = Eight{} + 1.0f;
    }
    const float* part = z + bank_.filters[first].first * lanes;
    const auto add_alone = [&](int c, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
#pragma GCC unroll 4
        for (int64_t v = 0; v < eights; ++v)
          sum[c][v] += taps[c][i] * at(part + (i + behind[c]) * lanes + v * 8);
    };
    for (int c = 0; c < Count; ++c) add_alone(c, 0, behind[Count - 1] - behind[c]);
    for (int64_t row = behind[Count - 1]; row < count; ++row)
#pragma GCC unroll 4
      for (int64_t v = 0; v < eights; ++v) {
        const Eight value = at(part + row * lanes + v * 8);
#pragma GCC unroll 3
        for (int c = 0; c < Count; ++c) sum[c][v] += taps[c][row - behind[c]] * value;
      }
    for (int c = 0; c < Count; ++c) add_alone(c, count - behind[c], count);
    for (int c = 0; c < Count; ++c) {
      const float* on =
          bank_.on_components.data() + static_cast<int64_t>(first + static_cast<size_t>(c)) * components_;
      for (int64_t k = 0; k < components_; ++k)
#pragma GCC unroll 4
        for (int64_t v = 0; v < eights; ++v) {
          sum[c][v] -= on[k] * at(amounts + k * lanes + v * 8);
          variance[c][v] -= on[k] * on[k] * at(weights + k * lanes + v * 8);
        }
      float* to = y + static_cast<int64_t>(first + static_cast<size_t>(c)) * lanes;
      for (int64_t v = 0; v < eights; ++v)
        for (int lane = 0; lane < 8; ++lane)
          to[v * 8 + lane] = sum[c][v][lane] / std::sqrt(std::max(variance[c][v][lane], 1e-3f));
    }
  }

  int64_t channels_;
  const NormalVariation& variation_;
  int64_t components_;
  const Bank& bank_;
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
std::vector<float> measured_inverse_spreads(const Responses& responses) {
  const size_t filters = responses.filters();
  const std::vector<int64_t>& pixels = responses.pixels();
  constexpr size_t sample_size = 1024;
  const size_t step = pixels.size() / sample_size + 1;
  std::vector<int64_t> sampled;
  for (size_t i = 0; i < pixels.size(); i += step) sampled.push_back(pixels[i]);
  std::vector<float> sample(filters * sampled.size());
  responses.for_pixels(sampled, [&](size_t, int64_t first, int64_t count, const float* y) {
    for (size_t f = 0; f < filters; ++f)
      for (int64_t lane = 0; lane < count; ++lane)
        sample[f * sampled.size() + static_cast<size_t>(first + lane)] =
            std::abs(y[f * lanes + static_cast<size_t>(lane)]);
  });
  std::vector<float> limit(filters);
#pragma omp parallel for schedule(static)
  for (size_t f = 0; f < filters; ++f) {
    const auto begin = sample.begin() + static_cast<std::ptrdiff_t>(f * sampled.size()),
               end = begin + std::ssize(sampled), middle = begin + std::ssize(sampled) / 2;
    if (begin == end) continue;
    std::nth_element(begin, middle, end);
    limit[f] = 3 * 1.4826f * *middle;
  }

  // Each block of pixels sums by itself and the blocks are added up in order, so that the result does not
  // depend on threads. A pixel that some filter finds beyond five standard deviations says nothing of normal
  // ones: 3 % of anomalies would widen the filters that find them by a tenth.
  constexpr float beyond_limit = 5.0f / 3;
  const size_t blocks = (pixels.size() + Responses::block - 1) / Responses::block;
  std::vector<float> squares(blocks * filters);
  std::vector<int64_t> counted(blocks);
  responses.for_pixels(pixels, [&](size_t block, int64_t, int64_t count, const float* y) {
    Eight farthest[eights] = {}, ordinary[eights];
    for (size_t f = 0; f < filters; ++f) {
      const float unit = limit[f] > 0 ? 1 / limit[f] : 0;
      for (int64_t v = 0; v < eights; ++v) {
        const Eight size = absolute(at(y + static_cast<int64_t>(f) * lanes + v * 8)) * unit;
        farthest[v] = farthest[v] < size ? size : farthest[v];
      }
    }
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const bool normal = lane < count && farthest[lane / 8][lane % 8] <= beyond_limit;
      ordinary[lane / 8][lane % 8] = normal ? 1.0f : 0.0f;
      counted[block] += normal;
    }
    float* sums = squares.data() + block * filters;
    for (size_t f = 0; f < filters; ++f) {
      const Eight most = Eight{} + limit[f];
      Eight total = {};
      for (int64_t v = 0; v < eights; ++v) {
        const Eight size = absolute(at(y + static_cast<int64_t>(f) * lanes + v * 8)),
                    cut = most < size ? most : size;
        total += ordinary[v] * cut * cut;
      }
      sums[f] +=
          ((total[0] + total[4]) + (total[1] + total[5])) + ((total[2] + total[6]) + (total[3] + total[7]));
    }
  });
  const auto ordinary_pixels =
      static_cast<double>(std::max<int64_t>(std::accumulate(counted.begin(), counted.end(), int64_t{0}), 1));
  // Of a normal variable cut off at three standard deviations.
  constexpr double cut_off_variance = 0.99501;
  std::vector<float> spreads(filters);
  for (size_t f = 0; f < filters; ++f) {
    double sum = 0;
    for (size_t block = 0; block < blocks; ++block) sum += static_cast<double>(squares[block * filters + f]);
    spreads[f] = static_cast<float>(std::sqrt(sum / ordinary_pixels / cut_off_variance));
  }
  // A filter whose responses spread less than most others' looks where counts are clipped: the few that are
  // not clipped stand out of their like without being unlikely.
  std::vector<float> sorted = spreads;
  const auto middle = sorted.begin() + std::ssize(sorted) / 2;
  std::nth_element(sorted.begin(), middle, sorted.end());
  std::vector<float> inverse;
  for (float spread : spreads) inverse.push_back(*middle > 0 ? 1 / std::max(spread, *middle) : 0);
  return inverse;
}

}  // namespace

MatchedFilters::MatchedFilters(const SpectrumImageView& observed, std::span<const float> expected,
                               const NormalVariation& variation, ChannelWindow window)
    : window_(window) {
  expect(expected.size() == observed.counts.size(), "expected spectra of another size");
  expect(0 <= window.first && window.first < window.last && window.last <= observed.energy.size,
         "score window outside the energy axis");
  mean_expected_ = mean_of(observed, expected);
  bank_ = std::make_unique<const Bank>(make_bank(observed.energy, mean_expected_, variation.model(), window));
  inverse_spreads_ = measured_inverse_spreads(Responses(observed.energy.size, variation, *bank_));
}

MatchedFilters::MatchedFilters(const Axis& energy, std::vector<double> mean_expected,
                               std::vector<float> inverse_spreads, const ResidualModel& model,
                               ChannelWindow window)
    : window_(window),
      mean_expected_(std::move(mean_expected)),
      bank_(std::make_unique<const Bank>(make_bank(energy, mean_expected_, model, window))),
      inverse_spreads_(std::move(inverse_spreads)) {
  if (inverse_spreads_.size() != bank_->filters.size())
    throw UserError("the state of a detection has spreads of " + std::to_string(inverse_spreads_.size()) +
                    " filters, and this version makes " + std::to_string(bank_->filters.size()) +
                    "; make the state anew");
}

MatchedFilters::~MatchedFilters() = default;
MatchedFilters::MatchedFilters(MatchedFilters&&) noexcept = default;

WhitenedScores whitened_scores(const SpectrumImageView& observed, std::span<const float> expected,
                               const NormalVariation& variation, const MatchedFilters& filters) {
  expect(expected.size() == observed.counts.size(), "expected spectra of another size");
  const Responses responses(observed.energy.size, variation, filters.bank());
  const std::vector<float>& inverse = filters.inverse_spreads();
  const ChannelWindow window = filters.window();
  const int64_t channels = observed.energy.size;
  WhitenedScores result;
  result.scores.assign(static_cast<size_t>(observed.pixels()), std::numeric_limits<float>::quiet_NaN());
  result.deviations.resize(static_cast<size_t>(observed.pixels()));
  responses.for_pixels(responses.pixels(), [&](size_t, int64_t first, int64_t count, const float* y) {
    Eight scores[eights] = {};
    EightInts strongest[eights] = {};
    const auto size_of = [&](size_t f, int64_t v) {
      return absolute(at(y + static_cast<int64_t>(f) * lanes + v * 8)) * inverse[f];
    };
    for (size_t f = 0; f < responses.explaining(); ++f)
      for (int64_t v = 0; v < eights; ++v) {
        const Eight size = size_of(f, v);
        const EightInts larger = size > scores[v];
        strongest[v] = larger ? EightInts{} + static_cast<int32_t>(f) : strongest[v];
        scores[v] = larger ? size : scores[v];
      }
    for (size_t f = responses.explaining(); f < responses.filters(); ++f)
      for (int64_t v = 0; v < eights; ++v) {
        const Eight size = size_of(f, v);
        scores[v] = size > scores[v] ? size : scores[v];
      }
    for (int64_t lane = 0; lane < count; ++lane) {
      const int64_t pixel = responses.pixels()[static_cast<size_t>(first + lane)];
      const auto f = static_cast<size_t>(strongest[lane / 8][lane % 8]);
      const float score = scores[lane / 8][lane % 8];
      result.scores[static_cast<size_t>(pixel)] = score;
      if (score > 0)
        result.deviations[static_cast<size_t>(pixel)] =
            explain(responses.filter(f), y[f * lanes + static_cast<size_t>(lane)] * inverse[f], window,
                    observed.spectrum(pixel), expected.data() + pixel * channels);
    }
  });
  return result;
}

}  // namespace eelsvae
