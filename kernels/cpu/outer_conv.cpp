#include "kernels/cpu/outer_conv.h"

#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

#include <omp.h>

#include "kernels/cpu/loops.h"
#include "kernels/cpu/streams.h"
#include "kernels/cpu/vectors.h"

namespace eelsvae::cpu {
namespace {

//   y[r, o, c] = bias[c] + sum over k of x[r, o * stride + k - padding] w[c, k]
//
// with spectra r = (n, h, w). A spectrum of x is copied to scratch memory as floats with zeros around it,
// rows of y pass through scratch memory a few at a time wherever that spares the loops their ends.

// Rows of y at a time: with their neighbours in x they stay in the first-level cache.
constexpr int64_t rows_per_piece = 64;
// A weight gradient is summed in at most so many parts, each of whole spectra.
constexpr int64_t most_parts = 64;
constexpr int64_t cache_line = 64;  // bytes

int64_t rounded_up(int64_t count, int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}
int64_t floor_division(int64_t a, int64_t b) {
  return a >= 0 ? a / b : -((b - 1 - a) / b);
}

// to[i] = x[i - padding] with zeros outside.
template <typename T>
void pad(const T* x, int64_t count, int64_t padding, int64_t size, float* to) {
  const int64_t copied = std::clamp<int64_t>(size - padding, 0, count), front = std::min(padding, size);
  std::fill_n(to, front, 0.0f);
  convert(x, copied, to + front);
  std::fill(to + front + copied, to + size, 0.0f);
}

// The rows [first, last) of `count`, of `channels` numbers each, with zeros outside: block by block of
// `lanes` channels, to[block * size + (row - first) * lanes + channel], with zeros beyond the channels.
template <typename T>
void split_rows(const T* y, int64_t count, int64_t channels, int64_t first, int64_t last, int64_t size,
                float* to) {
  const int64_t inside = std::clamp<int64_t>(0, first, last), outside = std::clamp(count, inside, last);
  for (int64_t c = 0; c < channels; c += lanes) {
    float* block = to + c / lanes * size;
    std::fill_n(block, (inside - first) * lanes, 0.0f);
    std::fill_n(block + (outside - first) * lanes, (last - outside) * lanes, 0.0f);
  }
  for (int64_t r = inside; r < outside; ++r) {
    const T* from = y + r * channels;
    float* row = to + (r - first) * lanes;
    int64_t c = 0;
    for (; c + lanes <= channels; c += lanes, row += size) store(load(from + c), row);
    if (c < channels) {
      convert(from + c, channels - c, row);
      std::fill(row + channels - c, row + lanes, 0.0f);
    }
  }
}

// Rows of y, `channels` numbers each, from a padded spectrum.
template <int Rows, int Vectors, typename T>
void add_taps(const float* x, int64_t step, const float* w, int64_t taps, int64_t pitch, const float* bias,
              float floor, int64_t channels, T* y) {
  Vector sums[Rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) sums[r][v] = load(bias + v * lanes);
  for (int64_t k = 0; k < taps; ++k, w += pitch) {
    Vector wv[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) wv[v] = load(w + v * lanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sums[r][v] += wv[v] * x[r * step + k];
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      const Vector sum = sums[r][v];
      store(sum < floor ? floor : sum, y + r * channels + v * lanes);  // keeps NaN
    }
}

// Adds the products of `Taps` taps with the channels of `Vectors` vectors to sums[tap * pitch + channel].
template <int Taps, int Vectors, typename T>
void add_outer_products(int64_t taps, const float* x, int64_t step, const T* y, int64_t y_pitch,
                        int64_t count, float* sums, int64_t pitch) {
  if constexpr (Taps > 1)
    if (taps < Taps)
      return add_outer_products<Taps - 1, Vectors>(taps, x, step, y, y_pitch, count, sums, pitch);
  Vector products[Taps][Vectors] = {};
  for (int64_t o = 0; o < count; ++o, x += step, y += y_pitch) {
    // So far ahead that it comes in time, and not out of the first-level cache before.
    for (int64_t i = 0; i < Vectors * lanes; i += cache_line / static_cast<int64_t>(sizeof(T)))
      __builtin_prefetch(y + rows_per_piece * y_pitch + i);
    Vector yv[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) yv[v] = load(y + v * lanes);
#pragma GCC unroll 8
    for (int k = 0; k < Taps; ++k)
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) products[k][v] += yv[v] * x[k];
  }
#pragma GCC unroll 8
  for (int k = 0; k < Taps; ++k)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      float* sum = sums + k * pitch + v * lanes;
      store(load(sum) + products[k][v], sum);
    }
}

using Indices = int32_t __attribute__((vector_size(sizeof(float) * lanes)));

// Of two vectors side by side: where an index has the bit, the second one's lane of that index, else the
// first one's; crossed: with the bit turned over.
template <int64_t Bit>
Indices lanes_of_two(bool crossed) {
  static constexpr auto of = [](int64_t turned) {
    std::array<int32_t, lanes> indices{};
    for (int64_t i = 0; i < lanes; ++i)
      indices[static_cast<size_t>(i)] = static_cast<int32_t>((i & Bit ? lanes + i : i) ^ turned);
    return indices;
  };
  static constexpr std::array<int32_t, lanes> straight = of(0), other = of(Bit);
  return std::bit_cast<Indices>(crossed ? other : straight);
}

// v[0] = the sum over the lanes of each of `lanes` vectors, of which every Bit-th is left.
template <int64_t Bit>
[[gnu::always_inline]] inline void add_lanes(Vector* v) {
  if constexpr (Bit < lanes) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < lanes; i += 2 * Bit)
      v[i] = __builtin_shuffle(v[i], v[i + Bit], lanes_of_two<Bit>(false)) +
             __builtin_shuffle(v[i], v[i + Bit], lanes_of_two<Bit>(true));
    add_lanes<2 * Bit>(v);
  }
}

// to[i * stride + phase] = from[phase * rows_per_piece + i]; count is a multiple of `lanes`.
void interleave(const float* from, int64_t stride, int64_t count, float* to) {
  if (stride == 2) {
    static constexpr auto lanes_from = [](int64_t first) {
      std::array<int32_t, lanes> indices{};
      for (int64_t i = 0; i < lanes; ++i)
        indices[static_cast<size_t>(i)] = static_cast<int32_t>(first + i / 2 + i % 2 * lanes);
      return indices;
    };
    static constexpr std::array<int32_t, lanes> lower = lanes_from(0), upper = lanes_from(lanes / 2);
    for (int64_t i = 0; i < count; i += lanes, to += 2 * lanes) {
      const Vector even = load(from + i), odd = load(from + rows_per_piece + i);
      store(__builtin_shuffle(even, odd, std::bit_cast<Indices>(lower)), to);
      store(__builtin_shuffle(even, odd, std::bit_cast<Indices>(upper)), to + lanes);
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i)
    for (int64_t phase = 0; phase < stride; ++phase)
      to[i * stride + phase] = from[phase * rows_per_piece + i];
}

class OuterConv final : public Conv3d {
 public:
  OuterConv(const Conv3dProblem& problem, DType activation, bool transposed, bool relu, Passes passes)
      : p_(problem),
        activation_(activation),
        transposed_(transposed),
        relu_(relu),
        passes_(passes),
        threads_(omp_get_max_threads()),
        spectra_(p_.batch * p_.in.h * p_.in.w),
        outputs_(p_.out().e),
        channels_(p_.out_channels),
        taps_(p_.kernel.e),
        stride_(p_.stride.e),
        pitch_(rounded_up(channels_, 2 * lanes)),
        padded_(rounded_up((outputs_ - 1) * stride_ + rounded_up(taps_, lanes), lanes)),
        parts_(passes == Passes::training ? std::min(most_parts, spectra_) : 0) {
    // Piece by piece, the rows of y that the positions of x between first * stride and last * stride see.
    rows_before_ = -floor_division(p_.padding.e - taps_ + 1, stride_);
    rows_after_ = std::max<int64_t>(0, floor_division(stride_ - 1 + p_.padding.e, stride_));
    buffered_rows_ = rows_per_piece + std::max<int64_t>(0, rows_before_) + rows_after_ + lanes;
  }

  // One bias, the threads' scratch memory, the parts of a weight gradient.
  size_t workspace_bytes() const override {
    return static_cast<size_t>(pitch_ + threads_ * scratch_count() + parts_ * taps_ * pitch_) * sizeof(float);
  }
  // (taps, channels with zeros beyond them), in f32.
  size_t packed_bytes() const override { return static_cast<size_t>(taps_ * pitch_) * sizeof(float); }

  void pack(ConstArray weights, void* packed, void*) override {
    expect(weights.count == p_.weight_count(), "conv3d: wrong weight count");
    const float* w = weights.as<float>();
    float* floats = static_cast<float*>(packed);
    for (int64_t k = 0; k < taps_; ++k)
      for (int64_t c = 0; c < pitch_; ++c) floats[k * pitch_ + c] = c < channels_ ? w[c * taps_ + k] : 0.0f;
  }

  void forward(ConstArray source, const void* packed, ConstArray bias, Array destination,
               void* workspace) override {
    const float* b = bias ? bias.as<float>() : nullptr;
    if (transposed_)
      to_x(source, packed, b, relu_, destination, workspace);
    else
      to_y(source, packed, b, relu_, destination, workspace);
  }
  void backward_data(ConstArray destination_gradient, const void* packed, Array source_gradient,
                     void* workspace) override {
    expect_training(passes_);
    if (transposed_)
      to_y(destination_gradient, packed, nullptr, false, source_gradient, workspace);
    else
      to_x(destination_gradient, packed, nullptr, false, source_gradient, workspace);
  }
  void backward_weights(ConstArray source, ConstArray destination_gradient, Array weight_gradient,
                        void* workspace) override {
    expect_training(passes_);
    if (transposed_)
      to_weights(destination_gradient, source, weight_gradient, workspace);
    else
      to_weights(source, destination_gradient, weight_gradient, workspace);
  }

 private:
  // What a thread holds: a padded spectrum, a piece's rows of y, and the piece as it will be stored.
  struct Scratch {
    float *spectrum, *rows, *stored;
  };
  int64_t rows_count() const { return buffered_rows_ * std::max(pitch_, rounded_up(stride_, lanes)) + lanes; }
  int64_t scratch_count() const {
    return padded_ + rows_count() + rows_per_piece * rounded_up(stride_, lanes);
  }
  Scratch scratch(void* workspace) const {
    float* own = static_cast<float*>(workspace) + pitch_ + omp_get_thread_num() * scratch_count();
    return {own, own + padded_, own + padded_ + rows_count()};
  }
  static float least(bool relu) { return relu ? 0.0f : -std::numeric_limits<float>::infinity(); }
  void check(ConstArray x, ConstArray y) const {
    expect(x.count == p_.x_count() && y.count == p_.y_count(), "conv3d: wrong activation count");
  }

  void to_y(ConstArray x, const void* packed, const float* bias, bool relu, Array y, void* workspace) const {
    check(x, y);
    float* starts = static_cast<float*>(workspace);
    std::fill_n(starts, pitch_, 0.0f);
    if (bias) std::copy_n(bias, channels_, starts);
    with_storage_type(activation_, [&]<typename T>(T) {
      const T* from = x.as<T>();
      T* to = y.as<T>();
#pragma omp parallel for schedule(dynamic) num_threads(threads_)
      for (int64_t r = 0; r < spectra_; ++r) {
        const Scratch own = scratch(workspace);
        pad(from + r * p_.in.e, p_.in.e, p_.padding.e, padded_, own.spectrum);
        for (int64_t o = 0; o < outputs_; o += rows_per_piece) {
          const int64_t count = std::min(rows_per_piece, outputs_ - o);
          T* rows = static_cast<T*>(static_cast<void*>(own.rows));
          to_rows(own.spectrum + o * stride_, static_cast<const float*>(packed), starts, least(relu), count,
                  rows);
          T* target = to + (r * outputs_ + o) * channels_;
          if (y.bytes() < stream_bytes)
            std::copy_n(rows, count * channels_, target);
          else
            stream(rows, count * channels_, target);
        }
        end_stream();
      }
    });
  }

  // Vectors may run over a row's end into the next row: rows are written from the first to the last, and the
  // vectors of a row from its end to its beginning, so that what is written last is right.
  template <typename T>
  void to_rows(const float* x, const float* w, const float* bias, float floor, int64_t count, T* rows) const {
    for (int64_t c = pitch_ - 2 * lanes; c >= 0; c -= 2 * lanes) {
      const auto add = [&](int64_t o, auto together) {
        constexpr int Rows = decltype(together)::value;
        const float* at = x + o * stride_;
        T* to = rows + o * channels_ + c;
        if (channels_ - c > lanes)
          add_taps<Rows, 2>(at, stride_, w + c, taps_, pitch_, bias + c, floor, channels_, to);
        else
          add_taps<Rows, 1>(at, stride_, w + c, taps_, pitch_, bias + c, floor, channels_, to);
      };
      int64_t o = 0;
      for (; o + 8 <= count; o += 8) add(o, std::integral_constant<int, 8>{});
      for (; o < count; ++o) add(o, std::integral_constant<int, 1>{});
    }
  }

  void to_x(ConstArray y, const void* packed, const float* bias, bool relu, Array x, void* workspace) const {
    check(x, y);
    const float start = bias ? *bias : 0.0f, floor = least(relu);
    with_storage_type(activation_, [&]<typename T>(T) {
      const T* from = y.as<T>();
      T* to = x.as<T>();
      const int64_t positions = (p_.in.e + stride_ - 1) / stride_;  // in steps of the stride
#pragma omp parallel for schedule(dynamic) num_threads(threads_)
      for (int64_t r = 0; r < spectra_; ++r) {
        const Scratch own = scratch(workspace);
        for (int64_t q = 0; q < positions; q += rows_per_piece) {
          const int64_t count = std::min(rows_per_piece, positions - q);
          const int64_t blocks = rounded_up(count, lanes);
          split_rows(from + r * outputs_ * channels_, outputs_, channels_, q - rows_before_,
                     q + blocks + rows_after_, buffered_rows_ * lanes, own.rows);
          // What the next piece reads comes while this one is computed.
          const T* next = from + (r * outputs_ + q + blocks + rows_after_) * channels_;
          const int64_t ahead = std::clamp<int64_t>(from + y.count - next, 0, rows_per_piece * channels_);
          from_rows(own.rows, static_cast<const float*>(packed), start, floor, blocks, own.stored, next,
                    ahead * static_cast<int64_t>(sizeof(T)));
          const int64_t begin = q * stride_, end = std::min(p_.in.e, begin + count * stride_);
          // The rows have been read: their memory takes the positions in order.
          interleave(own.stored, stride_, blocks, own.rows);
          convert(own.rows, end - begin, to + r * p_.in.e + begin);
        }
      }
    });
  }

  // rows, split, start rows_before_ before the first position; x receives, for each remainder of a position
  // divided by the stride, `count` numbers.
  void from_rows(const float* rows, const float* w, float start, float floor, int64_t count, float* x,
                 const void* next, int64_t next_bytes) const {
    const char* fetched = static_cast<const char*>(next);
    const int64_t share = next_bytes / (stride_ * (count / lanes));
    for (int64_t phase = 0; phase < stride_; ++phase, x += rows_per_piece) {
      const int64_t first_tap = (phase + p_.padding.e) % stride_;
      const float* first_row = rows + (rows_before_ + (phase + p_.padding.e - first_tap) / stride_) * lanes;
      for (int64_t q = 0; q < count; q += lanes, first_row += lanes * lanes) {
        for (const char* end = fetched + share; fetched < end; fetched += cache_line)
          __builtin_prefetch(fetched);
        Vector sums[lanes] = {};
        const float* tap_row = first_row;
        for (int64_t k = first_tap; k < taps_; k += stride_, tap_row -= lanes) {
          const float* row = tap_row;
          for (int64_t c = 0; c < channels_; c += lanes, row += buffered_rows_ * lanes) {
            const Vector wv = load(w + k * pitch_ + c);
#pragma GCC unroll 16
            for (int64_t i = 0; i < lanes; ++i) sums[i] += wv * load(row + i * lanes);
          }
        }
        add_lanes<1>(sums);
        const Vector sum = sums[0] + start;
        store(sum < floor ? floor : sum, x + q);  // keeps NaN
      }
    }
  }

  void to_weights(ConstArray x, ConstArray y, Array gradient, void* workspace) const {
    check(x, y);
    expect(gradient.count == p_.weight_count(), "conv3d: wrong weight count");
    float* partial = static_cast<float*>(workspace) + pitch_ + threads_ * scratch_count();
    const int64_t part_count = taps_ * pitch_;
    with_storage_type(activation_, [&]<typename T>(T) {
      const T *px = x.as<T>(), *py = y.as<T>();
#pragma omp parallel for schedule(dynamic) num_threads(threads_)
      for (int64_t part = 0; part < parts_; ++part) {
        const Scratch own = scratch(workspace);
        float* sums = partial + part * part_count;
        std::fill_n(sums, part_count, 0.0f);
        for (int64_t r = part * spectra_ / parts_; r < (part + 1) * spectra_ / parts_; ++r) {
          pad(px + r * p_.in.e, p_.in.e, p_.padding.e, padded_, own.spectrum);
          const T* line = py + r * outputs_ * channels_;
          for (int64_t o = 0; o < outputs_; o += rows_per_piece) {
            const int64_t count = std::min(rows_per_piece, outputs_ - o);
            const float* spectrum = own.spectrum + o * stride_;
            if (channels_ % lanes == 0) {
              const T* rows = line + o * channels_;
              int64_t c = 0;
              for (; c + 2 * lanes <= channels_; c += 2 * lanes)
                add_rows<2>(spectrum, rows + c, channels_, count, sums + c);
              if (c < channels_) add_rows<1>(spectrum, rows + c, channels_, count, sums + c);
            } else {
              split_rows(line, outputs_, channels_, o, o + count, buffered_rows_ * lanes, own.rows);
              for (int64_t c = 0; c < channels_; c += lanes)
                add_rows<1>(spectrum, own.rows + c * buffered_rows_, lanes, count, sums + c);
            }
          }
        }
      }
    });
    float* g = gradient.as<float>();
    for (int64_t c = 0; c < channels_; ++c)
      for (int64_t k = 0; k < taps_; ++k) {
        float sum = 0;
        for (int64_t part = 0; part < parts_; ++part) sum += partial[part * part_count + k * pitch_ + c];
        g[c * taps_ + k] = sum;
      }
  }

  // Rows of y with `Vectors` vectors of their channels.
  template <int Vectors, typename T>
  void add_rows(const float* x, const T* y, int64_t y_pitch, int64_t count, float* sums) const {
    constexpr int most_taps = 8;
    for (int64_t k = 0; k < taps_; k += most_taps)
      add_outer_products<most_taps, Vectors>(taps_ - k, x + k, stride_, y, y_pitch, count, sums + k * pitch_,
                                             pitch_);
  }

  Conv3dProblem p_;
  DType activation_;
  bool transposed_, relu_;
  Passes passes_;
  int threads_;  // that the workspace has room for
  int64_t spectra_, outputs_, channels_, taps_, stride_;
  int64_t pitch_;   // of rows with zeros beyond their channels
  int64_t padded_;  // numbers of a padded spectrum
  int64_t parts_;
  int64_t rows_before_, rows_after_, buffered_rows_;  // of y, of a piece of a spectrum of x
};

}  // namespace

bool is_outer_conv(const Conv3dProblem& p) {
  return p.in_channels == 1 && p.kernel.h == 1 && p.kernel.w == 1 && p.stride.h == 1 && p.stride.w == 1 &&
         p.padding.h == 0 && p.padding.w == 0;
}

std::unique_ptr<Conv3d> make_outer_conv(const Conv3dProblem& problem, DType activation, bool transposed,
                                        bool relu, Passes passes) {
  return std::make_unique<OuterConv>(problem, activation, transposed, relu, passes);
}

}  // namespace eelsvae::cpu
