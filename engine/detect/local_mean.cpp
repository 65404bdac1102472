#include "engine/detect/local_mean.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "engine/per_thread.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// Channels of which the lines that a window reaches fit into a core's second-level cache.
constexpr int64_t together = 32;
constexpr int64_t most_rows = 16;  // that a thread takes one after the other

// Some channels of the columns of an image, of as many columns more to both sides as a window reaches.
class Columns {
 public:
  Columns(int64_t width, int64_t distance)
      : distance_(distance), columns_(static_cast<size_t>((width + 2 * distance) * together)) {}

  // Their sums over the lines within the distance of line y, from the first line on.
  void add_lines(const SpectrumImageView& image, int64_t y, int64_t first_channel, int64_t channels) {
    std::ranges::fill(columns_, 0.0f);
    const int64_t width = image.x.size;
    for (int64_t v = std::max<int64_t>(0, y - distance_); v <= std::min(image.y.size - 1, y + distance_); ++v)
      for (int64_t x = 0; x < width; ++x) {
        if (!image.excluded.empty() && image.excluded[static_cast<size_t>(v * width + x)]) continue;
        const float* from = image.spectrum(v * width + x) + first_channel;
        float* out = columns_.data() + (distance_ + x) * together;
#pragma omp simd
        for (int64_t e = 0; e < channels; ++e) out[e] += from[e];
      }
  }
  double total(int64_t x) const {
    const float* of = columns_.data() + (distance_ + x) * together;
    return std::accumulate(of, of + together, 0.0);
  }
  // add(x, sum), of every column, for sums (channels) that together are that over the columns within the
  // distance: of 1, 2, 4, ... columns, each made of two of those before, as the distance's bits have it. The
  // columns are used up.
  template <typename Add>
  void windows(int64_t width, Add&& add) {
    const auto count = static_cast<uint64_t>(2 * distance_ + 1);
    for (uint64_t size = 1, done = 0;; size *= 2) {
      if (count & size) {
        for (int64_t x = 0; x < width; ++x)
          add(x, columns_.data() + (static_cast<uint64_t>(x) + done) * together);
        done += size;
      }
      if (2 * size > count) break;
      const size_t ahead = size * together;
      float* at = columns_.data();
#pragma omp simd
      for (size_t i = 0; i < columns_.size() - ahead; ++i) at[i] += at[i + ahead];
    }
  }

 private:
  int64_t distance_;
  std::vector<float> columns_;
};

}  // namespace

void local_means(const SpectrumImageView& image, int64_t reach, int64_t first, int64_t last,
                 std::span<const double> instead, CountArray& means) {
  const int64_t width = image.x.size, channels = image.energy.size, rows = last - first,
                parts = (channels + together - 1) / together;
  expect(0 <= first && first <= last && last <= image.y.size, "rows that are not there");
  expect(reach > local_guard, "surroundings within their guard");
  expect(std::ssize(instead) == channels, "a mean spectrum of another size");
  const double instead_total = std::accumulate(instead.begin(), instead.end(), 0.0);
  means.assign(static_cast<size_t>(rows * width * channels), 0.0f);
  std::vector<double> far_totals(static_cast<size_t>(parts * rows * width));
  PerThread<Columns> all_far(width, reach), all_near(width, local_guard);
#pragma omp parallel
  {
    Columns &far = all_far.own(), &near = all_near.own();
    // Rows that follow one another have most of their lines in common, which are then still at hand.
#pragma omp for collapse(2) schedule(dynamic, std::min(rows, most_rows))
    for (int64_t part = 0; part < parts; ++part)
      for (int64_t y = 0; y < rows; ++y) {
        const int64_t begin = part * together, count = std::min(together, channels - begin);
        const auto add = [&](float sign) {
          return [&, sign](int64_t x, const float* sum) {
            float* out = means.data() + (y * width + x) * channels + begin;
#pragma omp simd
            for (int64_t e = 0; e < count; ++e) out[e] += sign * sum[e];
          };
        };
        far.add_lines(image, first + y, begin, count);
        for (int64_t x = 0; x < width; ++x)
          far_totals[static_cast<size_t>((part * rows + y) * width + x)] = far.total(x);
        far.windows(width, add(1));
        near.add_lines(image, first + y, begin, count);
        near.windows(width, add(-1));
      }
#pragma omp for schedule(static)
    for (int64_t i = 0; i < rows * width; ++i) {
      float* out = means.data() + i * channels;
      const int64_t pixel = first * width + i;
      if (!image.excluded.empty() && image.excluded[static_cast<size_t>(pixel)]) {
        std::fill_n(out, channels, 0.0f);
        continue;
      }
      const float* spectrum = image.spectrum(pixel);
      const double own = std::accumulate(spectrum, spectrum + channels, 0.0),
                   around = std::accumulate(out, out + channels, 0.0);
      double column = 0;
      for (int64_t part = 0; part < parts; ++part)
        column += far_totals[static_cast<size_t>(part * rows * width + i)];
      // What rounding leaves of a difference of equal sums is no spectrum.
      if (around > 1e-4 * std::abs(column) && around > 0) {
        const auto factor = static_cast<float>(own / around);
#pragma omp simd
        for (int64_t e = 0; e < channels; ++e) out[e] *= factor;
      } else {
        for (int64_t e = 0; e < channels; ++e)
          out[e] = static_cast<float>(instead[static_cast<size_t>(e)] * (own / instead_total));
      }
    }
  }
}

}  // namespace eelsvae
