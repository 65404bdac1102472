#include "kernels/latent.h"

#include "tests/kernels/backend_test.h"

namespace eelsvae {
namespace {

struct Size {
  int64_t batch, latent;
};
const std::vector<Size> sizes = {{1, 1}, {1, 48}, {3, 5}, {8, 40}, {2, 257}};

StepScalars some_scalars() {
  StepScalars scalars;
  scalars.seed = 0x123456789abcdef0;
  scalars.step = 11;
  scalars.kl_weight = 0.75;
  return scalars;
}

// Log-variances with the spread that training shows: most below zero, some above.
Values random_head(Size size, uint64_t draw) {
  Values head = random_normal(size.batch * 2 * size.latent, 1.5, draw);
  for (size_t i = 0; i < head.size(); ++i)
    if (static_cast<int64_t>(i) % (2 * size.latent) >= size.latent) head[i] -= 1;
  return head;
}

struct Sampled {
  Values z, kl;
};
Sampled forward(Backend& backend, Size size, const Values& head, bool sample, const StepScalars& scalars) {
  DType activation = backend.storage_type();
  DeviceArray head_array(backend, activation, head), z(backend, activation, size.batch * size.latent),
      kl(backend, DType::f64, size.batch);
  DeviceScalars device_scalars(backend, scalars);
  backend.reparameterize(size.batch, size.latent, head_array, sample, device_scalars, z, kl);
  return {z.download(), kl.download()};
}

Values backward(Backend& backend, Size size, const Values& head, const Values& dz,
                const StepScalars& scalars) {
  DType activation = backend.storage_type();
  DeviceArray head_array(backend, activation, head), dz_array(backend, activation, dz),
      gradient(backend, activation, size.batch * 2 * size.latent);
  DeviceScalars device_scalars(backend, scalars);
  backend.reparameterize_backward(size.batch, size.latent, head_array, dz_array, device_scalars, gradient);
  return gradient.download();
}

class LatentTest : public BackendTest {};
EELSVAE_FOR_EACH_BACKEND(LatentTest);

TEST_P(LatentTest, SampleAndDivergenceFollowTheFormula) {
  StepScalars scalars = some_scalars();
  for (Size size : sizes) {
    SCOPED_TRACE(testing::Message() << "batch " << size.batch << ", latent " << size.latent);
    Values head = rounded(random_head(size, 1), activation());
    Values z, kl(static_cast<size_t>(size.batch), 0.0);
    for (int64_t b = 0; b < size.batch; ++b)
      for (int64_t l = 0; l < size.latent; ++l) {
        double mu = head[static_cast<size_t>(b * 2 * size.latent + l)];
        double lv = head[static_cast<size_t>(b * 2 * size.latent + size.latent + l)];
        z.push_back(mu + std::exp(lv / 2) * posterior_noise(scalars.seed, scalars.step, b * size.latent + l));
        kl[static_cast<size_t>(b)] -= (1 + lv - mu * mu - std::exp(lv)) / 2;
      }
    Sampled actual = forward(backend(), size, head, true, scalars);
    EXPECT_TRUE(close(actual.z, z, tolerance()));
    EXPECT_TRUE(close(actual.kl, kl, master_tolerance()));
  }
}

TEST_P(LatentTest, WithoutSamplingTheMeanIsReturned) {
  Size size = {3, 5};
  Values head = rounded(random_head(size, 1), activation());
  Sampled mean = forward(backend(), size, head, false, some_scalars());
  for (int64_t b = 0; b < size.batch; ++b)
    for (int64_t l = 0; l < size.latent; ++l)
      EXPECT_EQ(mean.z[static_cast<size_t>(b * size.latent + l)],
                head[static_cast<size_t>(b * 2 * size.latent + l)]);
  EXPECT_TRUE(close(mean.kl, forward(backend(), size, head, true, some_scalars()).kl, master_tolerance()));
}

TEST_P(LatentTest, TheStandardNormalPosteriorHasNoDivergence) {
  Size size = {2, 48};
  Values head(static_cast<size_t>(size.batch * 2 * size.latent), 0.0);
  EXPECT_TRUE(equal(forward(backend(), size, head, true, some_scalars()).kl, {0, 0}));
}

TEST_P(LatentTest, NoiseDependsOnSeedAndStepOnly) {
  Size size = {2, 48};
  Values head(static_cast<size_t>(size.batch * 2 * size.latent), 0.0);
  StepScalars scalars = some_scalars(), other_step = scalars, other_seed = scalars;
  ++other_step.step;
  other_seed.seed ^= uint64_t{1} << 40;
  Values z = forward(backend(), size, head, true, scalars).z;
  EXPECT_TRUE(equal(forward(backend(), size, head, true, scalars).z, z));
  EXPECT_FALSE(equal(forward(backend(), size, head, true, other_step).z, z));
  EXPECT_FALSE(equal(forward(backend(), size, head, true, other_seed).z, z));
}

TEST_P(LatentTest, BackwardMatchesTheReference) {
  for (Size size : sizes)
    for (double kl_weight : {0.0, 0.75}) {
      SCOPED_TRACE(testing::Message()
                   << "batch " << size.batch << ", latent " << size.latent << ", KL weight " << kl_weight);
      StepScalars scalars = some_scalars();
      scalars.kl_weight = kl_weight;
      Values head = rounded(random_head(size, 1), activation());
      Values dz = rounded(random_normal(size.batch * size.latent, 1, 2), activation());
      EXPECT_TRUE(close(backward(backend(), size, head, dz, scalars),
                        backward(reference(), size, head, dz, scalars), tolerance()));
    }
}

TEST(LatentReference, BackwardMatchesFiniteDifferences) {
  std::unique_ptr<Backend> reference = make_backend("reference", "auto");
  for (Size size : sizes) {
    SCOPED_TRACE(testing::Message() << "batch " << size.batch << ", latent " << size.latent);
    StepScalars scalars = some_scalars();
    Values head = random_head(size, 1), dz = random_normal(size.batch * size.latent, 1, 2);
    auto loss = [&](const Values& at) {
      Sampled sampled = forward(*reference, size, at, true, scalars);
      return dot(sampled.z, dz) + scalars.kl_weight * dot(sampled.kl, Values(sampled.kl.size(), 1.0));
    };
    // Central differences of step h are off by h^2 and by the loss's roundoff over h.
    EXPECT_TRUE(
        close(backward(*reference, size, head, dz, scalars), finite_differences(loss, head, 1e-5), 1e-7));
  }
}

}  // namespace
}  // namespace eelsvae
