#include "engine/thread_count.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <thread>

#include "kernels/error.h"
#include "tests/engine/network/test_model.h"

namespace eelsvae {
namespace {

int threads_of_another_thread() {
  int threads = 0;
  std::thread([&] { threads = omp_get_max_threads(); }).join();
  return threads;
}

TEST(ThreadCount, HoldsForItsThreadAndItsTimeAlone) {
  const int before = omp_get_max_threads(), elsewhere = threads_of_another_thread();
  {
    const ThreadCount three(3);
    EXPECT_EQ(omp_get_max_threads(), 3);
    EXPECT_EQ(threads_of_another_thread(), elsewhere);
    try {
      const ThreadCount one(1);
      EXPECT_EQ(omp_get_max_threads(), 1);
      throw std::runtime_error("as work may");
    } catch (const std::runtime_error&) {
    }
    EXPECT_EQ(omp_get_max_threads(), 3);
    EXPECT_THROW(ThreadCount(0), UserError);
    EXPECT_EQ(omp_get_max_threads(), 3);
  }
  EXPECT_EQ(omp_get_max_threads(), before);
}

class ThreadCountTest : public BackendTest {
 protected:
  // What two steps leave, and what the model then makes of tiles, with a backend made for so many threads.
  Values results(int made_for, int threads) {
    std::unique_ptr<Backend> own;
    {
      const ThreadCount count(made_for);
      own = make_backend(GetParam().device, GetParam().precision, GetParam().kernels);
    }
    // Whole registers of channels, for which the CPU has its fastest convolutions, and lines for all threads.
    const ModelShape shape = {/*image_size=*/4, /*energy=*/32, /*channels=*/{32, 32, 32, 32}, /*hidden=*/6,
                              /*latent=*/3};
    std::optional<ThreadCount> count(made_for);
    AllocatedModel model(*own, shape, ReconstructionLoss::cross_entropy, 2, Purpose::training);
    count.emplace(threads);
    model.initialize(3);
    Values values;
    for (uint64_t step = 0; step < 2; ++step) {
      model.load_tiles(random_tiles(shape, 2, 10 + step).data());
      model.start_step({1, 1}, 3, step, 1e-3, 5);
      const StepResult result = model.finish_step();
      values.insert(values.end(), result.posterior.begin(), result.posterior.end());
    }
    for (const Model::State& state : model.states())
      for (double value : values_of(model, state)) values.push_back(value);
    return values;
  }
};

TEST_P(ThreadCountTest, MakesNoDifferenceToAnyBit) {
  const int before = omp_get_max_threads();
  const Values one = results(1, 1);
  EXPECT_EQ(results(3, 3), one);
  EXPECT_EQ(results(3, 1), one);
  EXPECT_EQ(omp_get_max_threads(), before);
}

EELSVAE_FOR_EACH_BACKEND(ThreadCountTest);

}  // namespace
}  // namespace eelsvae
