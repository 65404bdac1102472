#include <cuda_runtime.h>

#include "tests/engine/network/test_model.h"
#include "tests/kernels/emulated_seeds.h"

// The order in which the emulated device runs what it may run in any order makes no difference, and neither
// do other devices.
namespace eelsvae {
namespace {

constexpr int64_t batch = 2;
constexpr uint64_t steps = 4;

struct Training {
  Training(const std::string& device, const std::string& precision)
      : backend(make_backend(device, precision)),
        model(*backend, small_shape(), ReconstructionLoss::cross_entropy, batch, Purpose::training) {
    model.initialize(1);
    load(0);
  }
  void load(uint64_t step) {
    const std::vector<float> tiles = random_tiles(small_shape(), batch, 10 + step);
    std::copy(tiles.begin(), tiles.end(), model.next_tiles());
    model.load_tiles();
  }
  // As the trainer takes them: the next tiles are loaded while the device computes.
  void step(uint64_t number) {
    model.start_step({1, 1}, 3, number, 1e-3, 5);
    load(number + 1);
    const StepResult result = model.finish_step();
    for (const TileLoss& tile : result.tiles) losses.push_back(tile.reconstruction);
    losses.push_back(result.gradient_norm);
    losses.insert(losses.end(), result.posterior.begin(), result.posterior.end());
  }
  // What the host has seen of every step, and the weights at the end.
  Values results() const {
    Values values = losses;
    for (const Model::State& state : model.states())
      for (double value : values_of(model, state)) values.push_back(value);
    return values;
  }

  std::unique_ptr<Backend> backend;
  AllocatedModel model;
  Values losses;
};

Values train(const std::string& device, const std::string& precision) {
  Training training(device, precision);
  for (uint64_t step = 0; step < steps; ++step) training.step(step);
  return training.results();
}

class EmulatedTraining : public testing::TestWithParam<const char*> {};

TEST_P(EmulatedTraining, IsTheSameInEveryOrder) {
  const Values expected = train("emulated", GetParam());
  EXPECT_TRUE(
      std::all_of(expected.begin(), expected.end(), [](double value) { return std::isfinite(value); }));
  for (unsigned seed = 1; seed <= 8; ++seed) {
    emulated_device::set_seed(seed);
    EXPECT_TRUE(equal(train("emulated", GetParam()), expected)) << "EELSVAE_EMULATED_SEED=" << seed;
  }
}

TEST_P(EmulatedTraining, IsTheSameOnAnotherDeviceInTurns) {
  const Values expected = train("emulated", GetParam());
  Training first("emulated:0", GetParam()), second("emulated:1", GetParam());
  for (uint64_t step = 0; step < steps; ++step) {
    first.step(step);
    second.step(step);
  }
  EXPECT_TRUE(equal(first.results(), expected));
  EXPECT_TRUE(equal(second.results(), expected));
}

INSTANTIATE_TEST_SUITE_P(Precisions, EmulatedTraining, testing::Values("fp32", "tf32", "bf16"),
                         [](const auto& precision) { return std::string("emulated_") + precision.param; });

}  // namespace
}  // namespace eelsvae
