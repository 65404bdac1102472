#include <omp.h>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/vectors.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace eelsvae {
namespace {

using cpu::lanes;
using cpu::load;
using cpu::Vector;

// Where a loop leaves a number that depends on all it did, so that no compiler takes the loop away.
volatile float result;

// Every thread goes `rounds` times through work that stays in its registers.
template <typename Loop>
std::function<void()> on_every_thread(Loop loop, int64_t rounds) {
  return [loop, rounds] {
#pragma omp parallel
    result = loop(rounds);
  };
}

// Multiply-adds on `chains` registers, each waiting for its own last result only; ten of them hide a latency
// of four or five cycles on two ports. The numbers converge to ordinary ones.
constexpr int chains = 10;

float multiply_add(int64_t rounds) {
  Vector sums[chains], factor, term;
  for (int64_t i = 0; i < lanes; ++i) {
    factor[i] = 0.5f + 1e-3f * static_cast<float>(i);
    term[i] = 1.0f;
    for (int c = 0; c < chains; ++c) sums[c][i] = static_cast<float>(c);
  }
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 10
    for (int c = 0; c < chains; ++c) sums[c] = sums[c] * factor + term;
  }
  float sum = 0;
  for (int c = 0; c < chains; ++c)
    for (int64_t i = 0; i < lanes; ++i) sum += sums[c][i];
  return sum;
}

#ifdef __AVX512F__
[[gnu::target("avx512f,avx512bf16")]] float multiply_add_bf16(int64_t rounds) {
  const auto pairs = (__m512bh)_mm512_set1_epi32(0x3f003f00);  // all 0.5
  __m512 sums[chains];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 10
    for (int c = 0; c < chains; ++c) sums[c] = _mm512_dpbf16_ps(sums[c], pairs, pairs);
  }
  __m512 sum = sums[0];
  for (int c = 1; c < chains; ++c) sum += sums[c];
  return sum[0];
}
#endif

struct ArithmeticLoop {
  const char* name;
  double flops;  // of a round
  float (*loop)(int64_t);
};

// What the instruction set has to multiply with.
std::vector<ArithmeticLoop> arithmetic_loops(DType activation, [[maybe_unused]] cpu::InstructionSet set) {
  const auto each = [](double width) { return 2 * chains * width; };
  std::vector<ArithmeticLoop> loops = {{"FMA f32", each(lanes), multiply_add}};
  if (activation != DType::bf16) return loops;
#ifdef __AVX512F__
  if (set >= cpu::InstructionSet::avx512_bf16) loops.push_back({"FMA bf16", each(32), multiply_add_bf16});
  if (set >= cpu::InstructionSet::amx)
    loops.push_back({"tile products bf16", cpu::tile_flops, cpu::multiply_tiles});
#endif
  return loops;
}

// Loops over memory. A piece is read in rows side by side: several streams of reads reach more than one.
constexpr int64_t rows = 8, row = 8192, piece = rows * row;

float sum_of(const float* values) {
  Vector sums[rows] = {};
  for (int64_t i = 0; i < row; i += lanes)
    for (int64_t r = 0; r < rows; ++r) sums[r] += load(values + r * row + i);
  Vector sum = sums[0];
  for (int64_t r = 1; r < rows; ++r) sum += sums[r];
  return cpu::sum_of_lanes(sum);
}

void update(float* values) {
  for (int64_t i = 0; i < piece; i += lanes) cpu::store(load(values + i) + 1.0f, values + i);
}

void copy(const float* from, float* to) {
#ifdef __x86_64__
  // Past the caches: a plain store would first read what it overwrites.
  for (int64_t i = 0; i < piece; i += 4) _mm_stream_ps(to + i, _mm_load_ps(from + i));
  _mm_sfence();
#else
  std::copy_n(from, piece, to);
#endif
}

}  // namespace

std::vector<CeilingLoop> CpuBackend::ceiling_loops(void* memory, size_t bytes) {
  std::vector<CeilingLoop> loops;
  constexpr int64_t rounds = 1 << 18;
  for (const ArithmeticLoop& a : arithmetic_loops(arithmetic_.activation, arithmetic_.set))
    loops.push_back({a.name, a.flops * static_cast<double>(rounds) * omp_get_max_threads(), 0,
                     CeilingLoop::Traffic::none, on_every_thread(a.loop, rounds)});

  float* values = static_cast<float*>(memory);
  const int64_t pieces = static_cast<int64_t>(bytes / sizeof(float)) / (2 * piece) * 2;
  const double touched = static_cast<double>(pieces * piece) * sizeof(float);
  loops.push_back({"read", 0, touched, CeilingLoop::Traffic::read, [=] {
                     cpu::for_pieces(pieces, 1, [=](int64_t i, int64_t, int64_t) {
                       result = sum_of(values + i * piece);
                     });
                   }});
  loops.push_back({"update in place", 0, 2 * touched, CeilingLoop::Traffic::write, [=] {
                     cpu::for_pieces(pieces, 1,
                                     [=](int64_t i, int64_t, int64_t) { update(values + i * piece); });
                   }});
  loops.push_back({"copy", 0, touched, CeilingLoop::Traffic::write, [=] {
                     cpu::for_pieces(pieces / 2, 1, [=](int64_t i, int64_t, int64_t) {
                       copy(values + i * piece, values + (pieces / 2 + i) * piece);
                     });
                   }});
  return loops;
}

}  // namespace eelsvae
