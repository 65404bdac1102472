#include "engine/score_head/head_training.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

#include "engine/first_failure.h"
#include "engine/score_head/head_rows.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace eelsvae {
namespace {

using Line = std::vector<float>;

// Numbers that depend on (seed, step, item) and on how many were drawn before.
class Draws {
 public:
  Draws(uint64_t seed, uint64_t step, uint64_t item) : seed_(seed), step_(step), item_(item) {}
  uint32_t word() {
    if (used_ == 4) {
      block_ = philox(seed_, RandomStream::score_head, step_, (item_ << 32) + count_++);
      used_ = 0;
    }
    return block_.v[used_++];
  }
  double between(double low, double high) { return low + (high - low) * uniform(word()); }
  double log_between(double low, double high) { return std::exp(between(std::log(low), std::log(high))); }
  double sign() { return word() & 1 ? 1 : -1; }
  int64_t below(int64_t count) {
    return std::min(count - 1, static_cast<int64_t>(uniform(word()) * static_cast<double>(count)));
  }
  void normal(std::span<float> to) {
    for (size_t i = 0; i < to.size(); i += 2) {
      const uint32_t first = word();
      const NormalPair pair = normal_pair(first, word());
      to[i] = static_cast<float>(pair.first);
      if (i + 1 < to.size()) to[i + 1] = static_cast<float>(pair.second);
    }
  }

 private:
  uint64_t seed_, step_, item_, count_ = 0;
  Philox4 block_ = {};
  int used_ = 4;
};

float at(const Line& line, double place) {
  const double inside = std::clamp(place, 0.0, static_cast<double>(line.size() - 1));
  const auto i = std::min(static_cast<size_t>(inside), line.size() - 2);
  return line[i] + static_cast<float>(inside - static_cast<double>(i)) * (line[i + 1] - line[i]);
}

// A part of an example's spectrum.
struct Part {
  Line z, noise;
  ExpectedShape shape;
};

Part part_of(const HeadExamples& all, int64_t spectrum, int64_t first, int64_t count) {
  const auto cut = [&](const std::vector<float>& from) {
    const auto begin = from.begin() + spectrum * all.positions + first;
    return Line(begin, begin + count);
  };
  const Line expected = cut(all.expected);
  return {cut(all.z), cut(all.noise), expected_shape(expected, all.background)};
}

// What the change does to a spectrum, in units of the noise and of any size.
Line change_of(HeadChange kind, const Part& part, Draws& draws) {
  const auto count = static_cast<double>(part.z.size());
  const double centre = draws.between(0, count), width = draws.log_between(4, 70), sign = draws.sign();
  const double shift = sign * draws.log_between(0.5, 11), scale = sign * draws.between(0.15, 0.9),
               peak = draws.log_between(1, 12), tail = draws.log_between(10, 100),
               white_line = draws.between(0, 2), distance = draws.between(1, 4) * width,
               share = draws.between(0.3, 3);
  const Line& smooth = part.shape.smooth;
  Line broad;
  if (kind == HeadChange::blur) broad = blurred(smooth, draws.log_between(0.8, 11));
  Line change(part.z.size());
  for (size_t i = 0; i < change.size(); ++i) {
    const double x = static_cast<double>(i), window = std::exp(-0.5 * std::pow((x - centre) / width, 2)),
                 unit = 1 / static_cast<double>(part.noise[i]);
    const double fine = static_cast<double>(smooth[i] - part.shape.background[i]),
                 moved = static_cast<double>(at(smooth, x - shift) - smooth[i]);
    const double lobe = std::exp(-0.5 * std::pow((x - centre) / peak, 2));
    double value = 0;
    switch (kind) {
      case HeadChange::shift:
        value = moved * window * unit;
        break;
      case HeadChange::blur:
        value = sign * static_cast<double>(broad[i] - smooth[i]) * window * unit;
        break;
      case HeadChange::scale:
        value = scale * fine * window * unit;
        break;
      case HeadChange::shift_and_scale:
        value = (moved + scale * fine) * window * unit;
        break;
      case HeadChange::balance: {
        const double beside = std::exp(-0.5 * std::pow((x - centre - distance) / width, 2));
        value = sign * fine * (window - share * beside) * unit;
        break;
      }
      case HeadChange::peak:
        value = sign * lobe;
        break;
      case HeadChange::edge:
        // Half of its rise lies before the onset, as a spectrometer's resolution has it.
        value = sign * unit *
                (0.5 * std::erfc((centre - x) / 2) * std::exp(-std::max(x - centre, 0.0) / tail) +
                 white_line * lobe);
        break;
      case HeadChange::tilt:
        value = sign * (x - centre) / count * static_cast<double>(part.shape.background[i]) * unit;
        break;
      case HeadChange::spike:
        value = static_cast<int64_t>(x) == static_cast<int64_t>(centre) ? 1 : 0;
        break;
      case HeadChange::noise:
        break;
    }
    change[i] = static_cast<float>(value);
  }
  return change;
}

// Changes of edges are what the head is for, and the hardest to tell.
size_t share_of(HeadChange kind) {
  return kind <= HeadChange::balance ? 3 : kind <= HeadChange::edge ? 2 : 1;
}

double norm_of(const Line& line) {
  double sum = 0;
  for (const float v : line) sum += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(sum);
}

// As z lacks amounts along the shapes that normal spectra vary in.
void take_away(const HeadExamples& all, int64_t spectrum, int64_t first, Line& change) {
  const int64_t count = std::ssize(all.components) / all.positions;
  for (int64_t k = 0; k < count; ++k) {
    const float* u = all.components.data() + k * all.positions + first;
    float amount = 0;
    for (size_t i = 0; i < change.size(); ++i) amount += u[i] * change[i];
    amount *= all.taken_away[static_cast<size_t>(spectrum * count + k)];
    for (size_t i = 0; i < change.size(); ++i) change[i] -= amount * u[i];
  }
}

// Adds a change of 2.5 to 10 standard deviations; false where normal spectra vary so.
bool add_change(const HeadExamples& all, int64_t spectrum, int64_t first, HeadChange kind, Part& part,
                Draws& draws) {
  constexpr double smallest = 2.5, largest = 10, least_left = 0.3;
  if (kind == HeadChange::noise) {
    const auto factor = static_cast<float>(std::sqrt(draws.between(1.2, 2.5)));
    for (float& z : part.z) z *= factor;
    return true;
  }
  Line change = change_of(kind, part, draws);
  const double before = norm_of(change);
  take_away(all, spectrum, first, change);
  const double left = norm_of(change);
  if (!(left > least_left * before)) return false;
  const auto factor = static_cast<float>(draws.between(smallest, largest) / left);
  for (size_t i = 0; i < change.size(); ++i) part.z[i] += factor * change[i];
  return true;
}

struct Example {
  Part part;
  bool changed = false;
};

Example draw(std::span<const HeadExamples> examples, const HeadTraining& training,
             std::span<const HeadChange> kinds, Draws& draws) {
  const HeadExamples& all = examples[static_cast<size_t>(draws.below(std::ssize(examples)))];
  const int64_t spectrum = draws.below(all.spectra);
  const int64_t first = draws.below(all.positions - training.positions + 1);
  Example example{part_of(all, spectrum, first, training.positions)};
  Line fresh(example.part.z.size());
  draws.normal(fresh);
  const double own = draws.word() & 1 ? 1 : draws.between(0, 1);
  const auto share = static_cast<float>(std::sqrt(own)), rest = static_cast<float>(std::sqrt(1 - own));
  for (size_t i = 0; i < fresh.size(); ++i) example.part.z[i] = share * example.part.z[i] + rest * fresh[i];
  if (draws.word() & 1) return example;
  constexpr int tries = 8;
  for (int i = 0; i < tries && !example.changed; ++i)
    example.changed =
        add_change(all, spectrum, first, kinds[static_cast<size_t>(draws.below(std::ssize(kinds)))],
                   example.part, draws);
  return example;
}

// Rises as a cosine from a 25th for three tenths of the steps and falls to next to nothing (Smith and Topin,
// "Super-convergence", 2018).
double learning_rate_at(const HeadTraining& training, int64_t step) {
  const double done = static_cast<double>(step) / static_cast<double>(training.steps), rise = 0.3;
  const auto between = [](double from, double to, double share) {
    return to + (from - to) * (1 + std::cos(std::numbers::pi * share)) / 2;
  };
  return training.learning_rate *
         (done < rise ? between(0.04, 1, done / rise) : between(1, 1e-4, (done - rise) / (1 - rise)));
}

}  // namespace

std::string name_of(HeadChange change) {
  switch (change) {
    case HeadChange::shift:
      return "shift";
    case HeadChange::blur:
      return "blur";
    case HeadChange::scale:
      return "scale";
    case HeadChange::shift_and_scale:
      return "shift-and-scale";
    case HeadChange::balance:
      return "balance";
    case HeadChange::peak:
      return "peak";
    case HeadChange::edge:
      return "edge";
    case HeadChange::tilt:
      return "tilt";
    case HeadChange::spike:
      return "spike";
    case HeadChange::noise:
      return "noise";
  }
  throw std::logic_error("internal error: unknown change");
}

ScoreHead train_score_head(Backend& backend, std::span<const HeadExamples> examples,
                           const HeadTraining& training, const std::function<void(int64_t, double)>& done,
                           const StopToken& stop) {
  constexpr int64_t told_every = 100, fewest = 50;
  std::vector<HeadChange> kinds;  // as often as they are drawn
  for (int i = 0; i < head_changes; ++i)
    if (const auto kind = static_cast<HeadChange>(i); !std::ranges::count(training.left_out, kind))
      kinds.insert(kinds.end(), share_of(kind), kind);
  if (kinds.empty()) throw UserError("a score head needs changes to learn, and all are left out");
  if (examples.empty()) throw UserError("a score head needs images to learn from");
  for (const HeadExamples& all : examples)
    if (all.positions < training.positions || all.spectra < fewest)
      throw UserError("a score head learns from images of at least " + std::to_string(fewest) +
                      " spectra of " + std::to_string(training.positions) + " positions, not of " +
                      std::to_string(all.spectra) + " of " + std::to_string(all.positions));

  Network network(backend,
                  {score_head_layers(training.positions),
                   {2},
                   {training.positions, head_features},
                   ReconstructionLoss::cross_entropy},
                  training.batch, Purpose::training);
  network.allocate();
  network.initialize(training.seed);
  double sum = 0;
  for (int64_t step = 0; step < training.steps; ++step) {
    stop.stop_if_requested();
    float *rows = network.next_inputs(), *labels = network.next_tiles();
    FirstFailure failure;
#pragma omp parallel for schedule(dynamic)
    for (int64_t b = 0; b < training.batch; ++b)
      failure.guard([&] {
        Draws draws(training.seed, static_cast<uint64_t>(step), static_cast<uint64_t>(b));
        const Example example = draw(examples, training, kinds, draws);
        head_rows(example.part.z, example.part.shape, example.part.noise,
                  rows + b * training.positions * head_features);
        labels[2 * b] = example.changed ? 0.0f : 1.0f;
        labels[2 * b + 1] = example.changed ? 1.0f : 0.0f;
      });
    failure.rethrow();
    network.load_inputs();
    network.load_tiles();
    network.start_step({}, training.seed, static_cast<uint64_t>(step), learning_rate_at(training, step), 0);
    sum += mean_of(network.finish_step().tiles).reconstruction;
    if ((step + 1) % told_every == 0) {
      if (done) done(step + 1, sum / told_every);
      sum = 0;
    }
  }
  return weights_of(network);
}

}  // namespace eelsvae
