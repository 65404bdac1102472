#include "kernels/reconstruction_loss.h"

#include <algorithm>

#include "tests/kernels/backend_test.h"

namespace eelsvae {
namespace {

struct Size {
  int64_t tiles, pixels, energy;
  int64_t count() const { return tiles * pixels * energy; }
};
std::ostream& operator<<(std::ostream& stream, const Size& size) {
  return stream << size.tiles << " tiles of " << size.pixels << " pixels, " << size.energy << " energies";
}
const std::vector<Size> sizes = {{1, 1, 1},  {1, 1, 16}, {2, 3, 5},    {3, 1, 17},
                                 {1, 7, 31}, {2, 9, 48}, {1, 4, 1312}, {5, 36, 16}};

constexpr ReconstructionLoss kinds[] = {ReconstructionLoss::cross_entropy, ReconstructionLoss::mse,
                                        ReconstructionLoss::poisson};
const char* name(ReconstructionLoss kind) {
  return kind == ReconstructionLoss::mse       ? "mse"
         : kind == ReconstructionLoss::poisson ? "poisson"
                                               : "cross-entropy";
}

// Preprocessed intensities lie between 0 and 1.
Values random_targets(int64_t count, uint64_t draw) {
  Values targets = random_normal(count, 0.25, draw);
  for (double& t : targets) t = std::clamp(t + 0.5, 0.0, 1.0);
  return targets;
}

struct Result {
  Values loss, gradient;
};
Result run(Backend& backend, ReconstructionLoss kind, Size size, const Values& logits, const Values& targets,
           double weight = 1) {
  DType activation = backend.storage_type();
  DeviceArray x(backend, activation, logits), t(backend, backend.master_type(), targets),
      loss(backend, DType::f64, size.tiles), gradient(backend, activation, size.count());
  StepScalars scalars;
  scalars.reconstruction_weight = weight;
  DeviceScalars device_scalars(backend, scalars);
  backend.reconstruction_loss(kind, size.tiles, size.pixels, size.energy, x, t, device_scalars, loss,
                              gradient);
  return {loss.download(), gradient.download()};
}

Values reconstruct(Backend& backend, ReconstructionLoss kind, Size size, const Values& logits,
                   const Values& targets) {
  DeviceArray x(backend, backend.storage_type(), logits), t(backend, backend.master_type(), targets),
      reconstruction(backend, backend.master_type(), size.count());
  backend.reconstruct(kind, size.tiles * size.pixels, size.energy, x, t, reconstruction);
  return reconstruction.download();
}

class ReconstructionLossTest : public BackendTest {};
EELSVAE_FOR_EACH_BACKEND(ReconstructionLossTest);

TEST_P(ReconstructionLossTest, RandomNumbersAreClose) {
  for (ReconstructionLoss kind : kinds)
    for (Size size : sizes) {
      SCOPED_TRACE(testing::Message() << name(kind) << ", " << size);
      Values logits = rounded(random_normal(size.count(), 2, 1), activation());
      Values targets = rounded(random_targets(size.count(), 2), master());
      double weight = 30.0 / 8;
      Result expected = run(reference(), kind, size, logits, targets, weight);
      Result actual = run(backend(), kind, size, logits, targets, weight);
      EXPECT_TRUE(close(actual.loss, expected.loss, master_tolerance())) << "loss";
      EXPECT_TRUE(close(actual.gradient, expected.gradient, tolerance())) << "gradient";
      EXPECT_TRUE(close(reconstruct(backend(), kind, size, logits, targets),
                        reconstruct(reference(), kind, size, logits, targets), master_tolerance()))
          << "reconstruction";
      Result again = run(backend(), kind, size, logits, targets, weight);
      EXPECT_TRUE(equal(again.loss, actual.loss) && equal(again.gradient, actual.gradient))
          << "the same call twice";
    }
}

TEST_P(ReconstructionLossTest, ExamplesByHand) {
  // Logits 0, ln 3: probabilities 1/4, 3/4.
  Values logits = rounded({0, std::log(3.0)}, activation());
  Result entropy = run(backend(), ReconstructionLoss::cross_entropy, {1, 1, 2}, logits, {1, 0.5}, 2);
  double p1 = std::exp(logits[1]) / (1 + std::exp(logits[1]));
  EXPECT_TRUE(close(entropy.loss, {-std::log(1 - p1) - 0.5 * std::log(p1)}, master_tolerance()));
  EXPECT_TRUE(close(entropy.gradient, {2 * (1.5 * (1 - p1) - 1), 2 * (1.5 * p1 - 0.5)}, tolerance()));
  EXPECT_TRUE(close(reconstruct(backend(), ReconstructionLoss::cross_entropy, {1, 1, 2}, logits, {1, 0.5}),
                    {1.5 * (1 - p1), 1.5 * p1}, master_tolerance()));

  Result mse = run(backend(), ReconstructionLoss::mse, {2, 1, 2}, {1, 2, 3, 4}, {0, 4, 3, 3}, 0.5);
  EXPECT_TRUE(equal(mse.loss, {5, 1}));
  EXPECT_TRUE(equal(mse.gradient, {1, -2, 0, 1}));
  EXPECT_TRUE(equal(reconstruct(backend(), ReconstructionLoss::mse, {2, 1, 2}, {1, 2, 3, 4}, {0, 4, 3, 3}),
                    {1, 2, 3, 4}));

  Result poisson = run(backend(), ReconstructionLoss::poisson, {1, 1, 2}, logits, {1, 0.5}, 2);
  const double three = std::exp(logits[1]);
  EXPECT_TRUE(close(poisson.loss, {1 + three - 0.5 * logits[1]}, master_tolerance()));
  EXPECT_TRUE(close(poisson.gradient, {0, 2 * (three - 0.5)}, tolerance()));
  EXPECT_TRUE(close(reconstruct(backend(), ReconstructionLoss::poisson, {1, 1, 2}, logits, {1, 0.5}),
                    {1, three}, master_tolerance()));
}

// Poisson's likelihood of a spectrum is that of its shape and that of its total.
TEST_P(ReconstructionLossTest, PoissonIsCrossEntropyAndTheTotal) {
  const Size size = {1, 1, 48};
  const Values logits = rounded(random_normal(size.count(), 1, 1), activation()),
               targets = rounded(random_targets(size.count(), 2), master());
  double expected = 0, total = 0;
  for (double x : logits) expected += std::exp(x);
  for (double t : targets) total += t;
  const double shape = run(backend(), ReconstructionLoss::cross_entropy, size, logits, targets).loss[0];
  EXPECT_TRUE(close(run(backend(), ReconstructionLoss::poisson, size, logits, targets).loss,
                    {shape + expected - total * std::log(expected)}, 4 * master_tolerance()));
}

TEST_P(ReconstructionLossTest, GradientMayReplaceTheLogitsOrBeLeftOut) {
  for (ReconstructionLoss kind : kinds)
    for (Size size : sizes) {
      SCOPED_TRACE(testing::Message() << name(kind) << ", " << size);
      Values logits = random_normal(size.count(), 2, 1), targets = random_targets(size.count(), 2);
      Result apart = run(backend(), kind, size, logits, targets);

      DeviceArray x(backend(), activation(), logits), t(backend(), master(), targets),
          loss(backend(), DType::f64, size.tiles), loss_alone(backend(), DType::f64, size.tiles);
      DeviceScalars scalars(backend(), StepScalars{});
      backend().reconstruction_loss(kind, size.tiles, size.pixels, size.energy, x, t, scalars, loss_alone,
                                    Array{});
      // Not to the bit: a compiler may fuse multiply-adds differently where arrays overlap or are absent.
      EXPECT_TRUE(close(loss_alone.download(), apart.loss, master_tolerance()));
      EXPECT_TRUE(equal(x.download(), rounded(logits, activation()))) << "logits are changed";

      backend().reconstruction_loss(kind, size.tiles, size.pixels, size.energy, x, t, scalars, loss, x);
      EXPECT_TRUE(close(loss.download(), apart.loss, master_tolerance()));
      EXPECT_TRUE(close(x.download(), apart.gradient, tolerance()));
    }
}

TEST_P(ReconstructionLossTest, LargeLogitsDoNotOverflow) {
  for (double offset : {0.0, 1e4, -1e4}) {
    for (double spread : {1e4, 100.0, 0.0}) {
      SCOPED_TRACE(testing::Message() << "logits " << offset << " +- " << spread);
      Size size = {2, 3, 33};
      Values logits = random_integers(size.count(), 1, 1);
      for (double& x : logits) x = offset + spread * x;
      logits = rounded(logits, activation());
      Values targets = rounded(random_targets(size.count(), 2), master());
      Result expected = run(reference(), ReconstructionLoss::cross_entropy, size, logits, targets);
      Result actual = run(backend(), ReconstructionLoss::cross_entropy, size, logits, targets);
      // lse - x is a difference of large numbers: the loss is right to the roundoff of these.
      for (size_t tile = 0; tile < 2; ++tile)
        EXPECT_NEAR(actual.loss[tile], expected.loss[tile],
                    master_tolerance() * (expected.loss[tile] + std::abs(offset)));
      EXPECT_TRUE(close(actual.gradient, expected.gradient, std::max(tolerance(), 100 * master_tolerance())));
      EXPECT_TRUE(close(reconstruct(backend(), ReconstructionLoss::cross_entropy, size, logits, targets),
                        reconstruct(reference(), ReconstructionLoss::cross_entropy, size, logits, targets),
                        100 * master_tolerance()));
    }
  }
}

TEST_P(ReconstructionLossTest, ASpectrumOfZerosHasNoLossAndNoGradient) {
  Size size = {2, 3, 17};
  Values logits = random_normal(size.count(), 30, 1), zeros(static_cast<size_t>(size.count()), 0.0);
  for (ReconstructionLoss kind : kinds) {
    Result result = run(backend(), kind, size, logits, zeros, 1.5);
    EXPECT_TRUE(equal(result.loss, {0, 0})) << name(kind);
    EXPECT_TRUE(equal(result.gradient, zeros)) << name(kind);
  }
  EXPECT_TRUE(equal(reconstruct(backend(), ReconstructionLoss::cross_entropy, size, logits, zeros), zeros));
}

// One channel that is not zero, be it the last or negative, keeps the whole spectrum.
TEST_P(ReconstructionLossTest, ASpectrumWithZerosIsKept) {
  Size size = {1, 3, 17};
  Values logits(static_cast<size_t>(size.count()), 2.0), targets(logits.size(), 0.0);
  targets[16] = 3;
  targets[2 * 17] = -1;
  Result result = run(backend(), ReconstructionLoss::mse, size, logits, targets);
  EXPECT_TRUE(equal(result.loss, {16 * 4 + 1 + 9 + 16 * 4}));
  Values gradient(logits.size(), 4.0);
  gradient[16] = -2;
  gradient[2 * 17] = 6;
  std::fill_n(gradient.begin() + 17, 17, 0.0);
  EXPECT_TRUE(equal(result.gradient, gradient));
}

TEST_P(ReconstructionLossTest, ASpectrumOfZerosLeavesTheOthersAlone) {
  for (ReconstructionLoss kind : kinds)
    for (Size size : sizes) {
      SCOPED_TRACE(testing::Message() << name(kind) << ", " << size);
      Values logits = random_normal(size.count(), 2, 1), targets = random_targets(size.count(), 2);
      const int64_t zero_pixel = size.pixels / 2;
      std::fill_n(targets.begin() + zero_pixel * size.energy, size.energy, 0.0);
      Values other_logits = logits;
      for (int64_t e = 0; e < size.energy; ++e)
        other_logits[static_cast<size_t>(zero_pixel * size.energy + e)] = 1000 - static_cast<double>(e);
      Result one = run(backend(), kind, size, logits, targets),
             other = run(backend(), kind, size, other_logits, targets);
      EXPECT_TRUE(equal(other.loss, one.loss));
      EXPECT_TRUE(equal(other.gradient, one.gradient));
    }
}

TEST_P(ReconstructionLossTest, AReconstructionKeepsTheTotal) {
  Size size = {1, 4, 1312};
  Values logits = random_normal(size.count(), 3, 1),
         targets = rounded(random_targets(size.count(), 2), master());
  Values reconstruction = reconstruct(backend(), ReconstructionLoss::cross_entropy, size, logits, targets);
  for (std::ptrdiff_t pixel = 0; pixel < size.pixels; ++pixel) {
    auto total = [&](const Values& v) {
      Values spectrum(v.begin() + pixel * size.energy, v.begin() + (pixel + 1) * size.energy);
      return dot(spectrum, Values(spectrum.size(), 1.0));
    };
    EXPECT_NEAR(total(reconstruction), total(targets), master_tolerance() * total(targets));
  }
}

TEST(ReconstructionLossReference, GradientMatchesFiniteDifferences) {
  std::unique_ptr<Backend> reference = make_backend("reference", "auto");
  for (ReconstructionLoss kind : kinds)
    for (Size size : {Size{1, 1, 1}, Size{2, 3, 5}, Size{1, 2, 16}}) {
      SCOPED_TRACE(testing::Message() << name(kind) << ", " << size);
      double weight = 0.75;
      Values logits = random_normal(size.count(), 2, 1), targets = random_targets(size.count(), 2);
      auto loss = [&](const Values& at) {
        Values losses = run(*reference, kind, size, at, targets).loss;
        return weight * dot(losses, Values(losses.size(), 1.0));
      };
      Values gradient = run(*reference, kind, size, logits, targets, weight).gradient;
      EXPECT_TRUE(close(gradient, finite_differences(loss, logits, 1e-5), 1e-7));
    }
}

}  // namespace
}  // namespace eelsvae
