#include "engine/train/job.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/engine/network/test_model.h"

namespace eelsvae {
namespace {

class TrainingJobTest : public testing::Test {
 protected:
  TrainingJobTest() {
    config_.tiles = {.image_size = 4, .sliding_window_stride = 4, .anomaly_indices = {}};
    config_.model = {.channels = {4, 4, 8, 8}, .hidden = 8, .latent_dim = 3};
    config_.training.epochs = 4;
    config_.training.batch_size = 2;
    config_.training.seed = 5;
    config_.detection.batch_size = 3;
    image_.y.size = 12;
    image_.x.size = 8;
    image_.energy.size = 32;
    for (double value : random_normal(image_.pixels() * image_.energy.size, 0.2, 1))
      image_.counts.push_back(static_cast<float>(std::clamp(0.5 + value, 0.0, 1.0)));
  }
  // No choice to be measured.
  static BackendOffer one_way() {
    BackendOffer offer = find_backend("cpu", "fp32");
    offer.variants = {offer.variants.back()};
    return offer;
  }
  std::unique_ptr<TrainingJob> make_job() const {
    auto job = std::make_unique<TrainingJob>(one_way(), config_, image_);
    job->start();
    return job;
  }

  Config config_;
  SpectrumImage image_;
};

std::vector<Values> weights_of(const Model& model) {
  std::vector<Values> weights;
  for (const Model::State& state : model.states())
    if (state.weight) weights.push_back(values_of(model, state));
  return weights;
}

// Keeps what the weights are after every epoch, too. The second epoch counts as the best, and after
// `last_step` it stops.
class Watcher final : public BestWeights {
 public:
  explicit Watcher(const Model& model, uint64_t last_step = 0)
      : BestWeights(model), model_(model), last_step_(last_step) {}
  void on_step(const TrainingState& state, int64_t, double) override { step_ = state.step; }
  void on_epoch(const TrainingState& state, bool) override {
    weights.push_back(weights_of(model_));
    BestWeights::on_epoch(state, weights.size() == 2);
  }
  bool stop_requested() override { return step_ == last_step_; }

  std::vector<std::vector<Values>> weights;  // of each epoch

 private:
  const Model& model_;
  uint64_t last_step_, step_ = 0;
};

TEST_F(TrainingJobTest, EndsWithANetworkOfTheBestWeightsForAnotherBatch) {
  const auto job = make_job();
  Watcher watcher(job->model());
  ASSERT_TRUE(job->run(watcher));
  ASSERT_EQ(watcher.weights.size(), 4u);
  const TrainedModel trained = job->finish(watcher);
  EXPECT_EQ(weights_of(*trained.model), watcher.weights[1]);
  EXPECT_NE(weights_of(*trained.model), watcher.weights.back());
  EXPECT_EQ(trained.model->purpose(), Purpose::inference);
  EXPECT_EQ(trained.model->batch(), 3);
  EXPECT_EQ(trained.choice.variant, one_way().variants.front());

  // It computes: what is derived from weights was remade.
  const Values tiles = random_normal(3 * trained.model->shape().tile_count(), 0.1, 2);
  AllocatedModel like(*trained.backend, trained.model->shape(), config_.loss.reconstruction, 3,
                      Purpose::inference);
  copy_states(*trained.model, like);
  std::vector<float> input(tiles.begin(), tiles.end()), ours(input.size()), others(input.size());
  trained.model->load_tiles(input.data());
  trained.model->reconstruct(ours.data());
  like.load_tiles(input.data());
  like.reconstruct(others.data());
  EXPECT_EQ(ours, others);
}

TEST_F(TrainingJobTest, AStoppedOneGoesOnInAnotherToTheSameBits) {
  const auto whole = make_job();
  Watcher to_the_end(whole->model());
  ASSERT_TRUE(whole->run(to_the_end));
  const auto first = make_job();
  Watcher stopped(first->model(), 4);
  ASSERT_FALSE(first->run(stopped));
  ASSERT_EQ(first->state().step, 4u);

  TrainingJob second(find_backend("cpu", "fp32"), config_, image_, first->choice().variant);
  EXPECT_EQ(second.choice().variant, first->choice().variant);
  EXPECT_EQ(second.kernels_note(), "Computed in fp32 " + first->choice().variant.kernels + ", as before");
  second.resume(first->state(), [&](Model& model) { copy_states(first->model(), model); });
  Watcher rest(second.model());
  ASSERT_TRUE(second.run(rest));
  EXPECT_EQ(rest.weights.back(), to_the_end.weights.back());
  EXPECT_EQ(second.state().history.back().training.loss, whole->state().history.back().training.loss);
}

TEST_F(TrainingJobTest, SaysWhereARunCannotBeComputedAsBefore) {
  const TrainingJob job(find_backend("cpu", "fp32"), config_, image_, BackendVariant{"tf32", ""});
  EXPECT_EQ(job.choice().variant.precision, "fp32");
  EXPECT_NE(job.kernels_note().find("The run was computed in tf32 before"), std::string::npos)
      << job.kernels_note();
}

TEST_F(TrainingJobTest, RefusesWhatTheLossCannotTake) {
  image_.counts[7] = -1;
  EXPECT_THROW(make_job(), UserError);
}

}  // namespace
}  // namespace eelsvae
