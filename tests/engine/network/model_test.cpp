#include "engine/network/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "engine/network/model_probe.h"
#include "tests/engine/network/plan_properties.h"
#include "tests/engine/network/test_model.h"

namespace eelsvae {
namespace {

constexpr double gib = 1 << 30;
constexpr LossWeights weights = {/*dose=*/2.5, /*kl_weight=*/0.7};

TEST(ModelShape, PublishedNetworkHasPyTorchsParameters) {
  struct Named {
    std::string name;
    std::vector<int64_t> shape;
    bool operator==(const Named&) const = default;
  };
  // As python3 tests/fixtures/cvae_pytorch.py lists them.
  const std::vector<Named> pytorch = {{"encoder.0.weight", {32, 1, 1, 1, 7}},    {"encoder.0.bias", {32}},
                                      {"encoder.2.weight", {64, 32, 3, 3, 5}},   {"encoder.2.bias", {64}},
                                      {"encoder.4.weight", {128, 64, 3, 3, 3}},  {"encoder.4.bias", {128}},
                                      {"encoder.6.weight", {256, 128, 3, 3, 3}}, {"encoder.6.bias", {256}},
                                      {"encoder.9.weight", {512, 755712}},       {"encoder.9.bias", {512}},
                                      {"encoder.11.weight", {96, 512}},          {"encoder.11.bias", {96}},
                                      {"decoder.0.weight", {512, 48}},           {"decoder.0.bias", {512}},
                                      {"decoder.2.weight", {755712, 512}},       {"decoder.2.bias", {755712}},
                                      {"decoder.5.weight", {256, 128, 3, 3, 3}}, {"decoder.5.bias", {128}},
                                      {"decoder.7.weight", {128, 64, 3, 3, 3}},  {"decoder.7.bias", {64}},
                                      {"decoder.9.weight", {64, 32, 3, 3, 5}},   {"decoder.9.bias", {32}},
                                      {"decoder.11.weight", {32, 1, 1, 1, 7}},   {"decoder.11.bias", {1}}};
  const ModelShape shape;
  const std::vector<Parameter> parameters = shape.parameters();
  ASSERT_EQ(parameters.size(), pytorch.size());
  int64_t elements = 0;
  for (size_t i = 0; i < pytorch.size(); ++i) {
    EXPECT_EQ(parameters[i].name, pytorch[i].name);
    EXPECT_EQ(parameters[i].shape, pytorch[i].shape) << pytorch[i].name;
    int64_t product = 1;
    for (int64_t extent : parameters[i].shape) product *= extent;
    EXPECT_EQ(parameters[i].count(), product) << pytorch[i].name;
    elements += product;
  }
  EXPECT_EQ(elements, 777'076'961);
  EXPECT_EQ(shape.parameter_count(), 777'076'961);
}

TEST(ModelShape, RefusesSizesThatTheConvolutionsCannotHalve) {
  TilesConfig tiles;
  EXPECT_EQ(model_shape(tiles, {}, 1312), ModelShape{});
  EXPECT_THROW(model_shape(tiles, {}, 1300), UserError);
  EXPECT_THROW(model_shape(tiles, {}, 0), UserError);
  EXPECT_THROW(model_shape(tiles, {}, -16), UserError);
  tiles.image_size = 22;
  EXPECT_THROW(model_shape(tiles, {}, 1312), UserError);
  tiles.image_size = 0;
  EXPECT_THROW(model_shape(tiles, {}, 1312), UserError);
}

class ModelTest : public BackendTest {
 protected:
  double output_tolerance() const { return tolerance_of(GetParam().precision).output; }
};

// Nothing of this size is allocated here.
TEST_P(ModelTest, PublishedNetworkFitsItsBudget) {
  const Model training(backend(), {}, ReconstructionLoss::cross_entropy, 1, Purpose::training);
  const Model inference(backend(), {}, ReconstructionLoss::cross_entropy, 1, Purpose::inference);
  EXPECT_TRUE(is_placed_soundly(training.plan()));
  EXPECT_TRUE(is_placed_soundly(inference.plan()));
  const double parameter_gib = 777'076'961 / gib;
  // Weights and Adam's two moments, no gradient of a Linear weight; bf16 adds a shadow of the weights.
  const auto master = static_cast<double>(size_of(this->master())),
             activation = static_cast<double>(size_of(this->activation()));
  const double state = parameter_gib * (3 * master + (master == activation ? 0 : activation));
  const double training_gib = static_cast<double>(training.plan().bytes()) / gib;
  const double inference_gib = static_cast<double>(inference.plan().bytes()) / gib;
  EXPECT_GT(training_gib, state);
  EXPECT_GT(inference_gib, parameter_gib * activation);
  if (GetParam().precision == "fp64") return;  // for small networks only
  // 9.0 and 3.0 GiB in fp32, 10.5 and 1.7 in bf16 on the CPU; a GPU's packed weights and workspace add some.
  EXPECT_LT(training_gib, 14);
  EXPECT_LT(inference_gib, 4.5);
}

TEST_P(ModelTest, PlansOfSmallNetworksAreSound) {
  for (int64_t batch : {1, 2, 5})
    for (Purpose purpose : {Purpose::training, Purpose::inference}) {
      const Model model(backend(), small_shape(), ReconstructionLoss::mse, batch, purpose);
      EXPECT_TRUE(is_placed_soundly(model.plan())) << "batch " << batch;
    }
}

// Whether a buffer that is given up too early is overwritten depends on sizes, so the plan itself is asked.
TEST_P(ModelTest, FactorsOfLinearGradientsLiveUntilTheUpdate) {
  const Model model(backend(), small_shape(), ReconstructionLoss::mse, 2, Purpose::training);
  const auto buffer = [&](const std::string& name) -> const MemoryPlan::Buffer& {
    const auto& buffers = model.plan().buffers();
    const auto found = std::find_if(buffers.begin(), buffers.end(), [&](auto& b) { return b.name == name; });
    if (found == buffers.end()) throw std::logic_error("no buffer " + name);
    return *found;
  };
  const int last_of_backward = buffer("encoder.0: gradient").last;
  for (const char* input : {"encoder.6", "encoder.9", "latent", "decoder.0"})
    EXPECT_GT(buffer(input).last, last_of_backward) << input;
  for (const char* output : {"encoder.9", "encoder.11", "decoder.0", "decoder.2"})
    EXPECT_GT(buffer(output + std::string(": gradient")).last, last_of_backward) << output;
}

TEST_P(ModelTest, InitializationKeepsSignalsAsStrongAsTheyCome) {
  const ModelShape shape = {8, 48, {8, 16, 24, 32}, 40, 10};
  AllocatedModel model(backend(), shape, ReconstructionLoss::mse, 1, Purpose::training);
  model.initialize(3);
  // He et al. 2015, by hand: 6 over the inputs of an output where a ReLU follows, 3 where none does. An
  // output of a transposed convolution sees one of `stride` taps.
  const std::map<std::string, double> squared_bounds = {{"encoder.0", 6.0 / 7},
                                                        {"encoder.2", 6.0 / (8 * 45)},
                                                        {"encoder.4", 6.0 / (16 * 27)},
                                                        {"encoder.6", 6.0 / (24 * 27)},
                                                        {"encoder.9", 6.0 / (32 * 2 * 2 * 3)},
                                                        {"encoder.11", 3.0 / 40},
                                                        {"decoder.0", 6.0 / 10},
                                                        {"decoder.2", 6.0 / 40},
                                                        {"decoder.5", 6.0 / (32 * 27 / 8)},
                                                        {"decoder.7", 6.0 / (24 * 27 / 8)},
                                                        {"decoder.9", 6.0 / (16 * 45 / 2)},
                                                        {"decoder.11", 3.0 / (8 * 7 / 2)}};
  for (const Model::State& state : model.states()) {
    const Values values = values_of(model, state);
    if (!state.weight || state.name.ends_with(".bias")) {
      EXPECT_EQ(norm_of(values), 0) << state.name;
      continue;
    }
    const double bound = std::sqrt(squared_bounds.at(state.name.substr(0, state.name.rfind('.'))));
    double sum = 0, squares = 0;
    for (double value : values) {
      ASSERT_LE(std::abs(value), bound * (1 + 1e-6)) << state.name;
      sum += value;
      squares += value * value;
    }
    const double n = static_cast<double>(values.size());
    // Uniform: standard deviation bound / sqrt(3) of a value, bound^2 sqrt(4 / 45) of its square.
    EXPECT_LT(std::abs(sum / n), 5 * bound / std::sqrt(3 * n)) << state.name;
    EXPECT_LT(std::abs(squares / n - bound * bound / 3), 5 * bound * bound * std::sqrt(4 / (45 * n)))
        << state.name;
  }
}

TEST_P(ModelTest, SameSeedInitializesTheSameBitsOnEveryDevice) {
  AllocatedModel one(backend(), small_shape(), ReconstructionLoss::mse, 1, Purpose::training);
  AllocatedModel two(backend(), small_shape(), ReconstructionLoss::cross_entropy, 3, Purpose::training);
  AllocatedModel other(backend(), small_shape(), ReconstructionLoss::mse, 1, Purpose::training);
  AllocatedModel in_double(reference(), small_shape(), ReconstructionLoss::mse, 1, Purpose::training);
  one.initialize(3);
  two.initialize(3);
  in_double.initialize(3);
  other.initialize(4);
  for (size_t i = 0; i < one.states().size(); ++i) {
    const Model::State& state = one.states()[i];
    if (!state.weight) continue;
    EXPECT_TRUE(equal(values_of(two, state), values_of(one, state))) << state.name;
    EXPECT_TRUE(equal(values_of(one, state), values_of(in_double, in_double.states()[i]))) << state.name;
    const bool random = state.name.ends_with(".weight");
    EXPECT_EQ(equal(values_of(other, state), values_of(one, state)), !random) << state.name;
  }
}

// PyTorch's fixtures have ReLUs near zero, which rounding turns on and off. Here biases keep all of them on.
// (Squared error, because the derivatives of cross-entropy cancel over a spectrum of nearly equal
// activations.)
TEST_P(ModelTest, GradientsAreThoseOfDoubleWhereNoReluChangesSides) {
  const ModelShape shape = {8, 48, {8, 16, 16, 24}, 20, 5};
  const std::vector<float> tiles = random_tiles(shape, 2, 1);
  AllocatedModel model(backend(), shape, ReconstructionLoss::mse, 2, Purpose::training);
  AllocatedModel in_double(reference(), shape, ReconstructionLoss::mse, 2, Purpose::training);
  for (Model* m : std::initializer_list<Model*>{&model, &in_double}) {
    uint64_t draw = 10;
    for (const Model::State& state : m->states()) {
      if (!state.weight) continue;
      const int64_t count = state.parameter.count();
      std::vector<float> values(static_cast<size_t>(count), 1.0f);
      if (state.name.ends_with("weight")) {
        const auto inputs = static_cast<double>(count / state.parameter.shape[0]);
        const Values random = random_normal(count, 0.15 / std::sqrt(inputs), draw++);
        values.assign(random.begin(), random.end());
      }
      set_values(*m, state, values);
    }
    m->refresh();
    m->load_tiles(tiles.data());
    ModelProbe(*m).forward_backward(weights, 1, 0);
  }
  for (const Parameter& parameter : shape.parameters())
    EXPECT_TRUE(close(gradient_of(model, parameter), gradient_of(in_double, parameter),
                      tolerance_of(GetParam().precision).gradient))
        << parameter.name;
}

struct Record {
  Values losses, norms;
  std::vector<Values> states;
};

TEST_P(ModelTest, SameSeedTrainsToTheSameBits) {
  const ModelShape shape = {8, 48, {8, 16, 16, 24}, 20, 5};
  const auto run = [&](uint64_t seed) {
    AllocatedModel model(backend(), shape, ReconstructionLoss::cross_entropy, 2, Purpose::training);
    model.initialize(1);
    Record result;
    for (uint64_t step = 0; step < 4; ++step) {
      model.load_tiles(random_tiles(shape, 2, step).data());
      result.losses.push_back(
          mean_of(ModelProbe(model).forward_backward(weights, seed, step)).total(weights));
      result.norms.push_back(ModelProbe(model).update(1e-3, 100));
    }
    for (const Model::State& state : model.states()) result.states.push_back(values_of(model, state));
    return result;
  };
  const Record first = run(1), second = run(1), other = run(2);
  EXPECT_TRUE(equal(second.losses, first.losses));
  EXPECT_TRUE(equal(second.norms, first.norms));
  for (size_t i = 0; i < first.states.size(); ++i) EXPECT_TRUE(equal(second.states[i], first.states[i])) << i;
  EXPECT_FALSE(equal(other.losses, first.losses)) << "the noise does not depend on the seed";
}

// As training does it: the next tiles are loaded while a step is under way, and from the second on steps are
// recorded, again when the limit changes.
TEST_P(ModelTest, AStepIsItsTwoHalves) {
  const ModelShape shape = small_shape();
  constexpr uint64_t steps = 5;
  const auto limit = [](uint64_t step) { return step < 3 ? 0.01 : 100.0; };
  AllocatedModel halves(backend(), shape, ReconstructionLoss::cross_entropy, 2, Purpose::training),
      whole(backend(), shape, ReconstructionLoss::cross_entropy, 2, Purpose::training);
  halves.initialize(1);
  whole.initialize(1);
  whole.load_tiles(random_tiles(shape, 2, 0).data());
  for (uint64_t step = 0; step < steps; ++step) {
    SCOPED_TRACE(step);
    halves.load_tiles(random_tiles(shape, 2, step).data());
    const TileLoss loss = mean_of(ModelProbe(halves).forward_backward(weights, 7, step));
    const Values posterior = ModelProbe(halves).posterior();
    const double norm = ModelProbe(halves).update(1e-3, limit(step));

    whole.start_step(weights, 7, step, 1e-3, limit(step));
    const std::vector<float> next = random_tiles(shape, 2, step + 1);
    std::copy(next.begin(), next.end(), whole.next_tiles());
    whole.load_tiles();
    const StepResult result = whole.finish_step();
    EXPECT_EQ(mean_of(result.tiles).total(weights), loss.total(weights));
    EXPECT_EQ(result.gradient_norm, norm);
    EXPECT_TRUE(equal(result.posterior, posterior));
  }
  for (size_t i = 0; i < whole.states().size(); ++i)
    EXPECT_TRUE(equal(values_of(whole, whole.states()[i]), values_of(halves, halves.states()[i])))
        << whole.states()[i].name;
}

TEST_P(ModelTest, ReconstructionsUnderWayAreThoseOneByOne) {
  const ModelShape shape = small_shape();
  AllocatedModel model(backend(), shape, ReconstructionLoss::cross_entropy, 1, Purpose::inference);
  model.initialize(1);
  constexpr uint64_t count = 4;
  std::vector<std::vector<float>> one_by_one;
  for (uint64_t draw = 0; draw < count; ++draw) {
    model.load_tiles(random_tiles(shape, 1, draw).data());
    model.reconstruct(one_by_one.emplace_back(static_cast<size_t>(shape.tile_count())).data());
  }
  auto start = [&](uint64_t draw) {
    model.load_tiles(random_tiles(shape, 1, draw).data());
    model.start_reconstruction();
  };
  start(0);
  for (uint64_t draw = 0; draw < count; ++draw) {
    if (draw + 1 < count) start(draw + 1);
    const float* reconstruction = model.finish_reconstruction().tiles;
    EXPECT_TRUE(std::equal(one_by_one[draw].begin(), one_by_one[draw].end(), reconstruction)) << draw;
  }
}

TEST_P(ModelTest, TwoEqualTilesHaveTheLossOfOne) {
  for (ReconstructionLoss kind :
       {ReconstructionLoss::cross_entropy, ReconstructionLoss::mse, ReconstructionLoss::poisson}) {
    AllocatedModel one(backend(), small_shape(), kind, 1, Purpose::training);
    AllocatedModel two(backend(), small_shape(), kind, 2, Purpose::training);
    one.initialize(1);
    two.initialize(1);
    std::vector<float> tile = random_tiles(small_shape(), 1, 1);
    one.load_tiles(tile.data());
    const TileLoss alone = one.evaluate()[0];
    tile.insert(tile.end(), tile.begin(), tile.end());
    two.load_tiles(tile.data());
    const std::vector<TileLoss> pair = two.evaluate();
    ASSERT_EQ(pair.size(), 2u);
    EXPECT_GT(alone.reconstruction, 0);
    EXPECT_GT(alone.kl, 0);
    EXPECT_TRUE(close({mean_of(pair).total(weights)}, {alone.total(weights)}, output_tolerance()));
    EXPECT_TRUE(close({pair[1].reconstruction, pair[1].kl}, {pair[0].reconstruction, pair[0].kl},
                      output_tolerance()));
  }
}

TEST_P(ModelTest, EvaluatingChangesNothingAndSamplesNothing) {
  AllocatedModel model(backend(), small_shape(), ReconstructionLoss::cross_entropy, 2, Purpose::training);
  model.initialize(1);
  const std::vector<float> tiles = random_tiles(small_shape(), 2, 1);
  model.load_tiles(tiles.data());
  ModelProbe(model).forward_backward(weights, 1, 0);
  ModelProbe(model).update(1e-3, 0);
  std::vector<Values> before;
  for (const Model::State& state : model.states()) before.push_back(values_of(model, state));
  const auto evaluate = [&] {
    model.load_tiles(tiles.data());
    return mean_of(model.evaluate()).total(weights);
  };
  const double loss = evaluate();
  EXPECT_EQ(evaluate(), loss);
  for (size_t i = 0; i < before.size(); ++i)
    EXPECT_TRUE(equal(values_of(model, model.states()[i]), before[i])) << model.states()[i].name;
}

TEST_P(ModelTest, InferenceComputesWhatTrainingEvaluates) {
  AllocatedModel training(backend(), small_shape(), ReconstructionLoss::cross_entropy, 2, Purpose::training);
  AllocatedModel inference(backend(), small_shape(), ReconstructionLoss::cross_entropy, 2,
                           Purpose::inference);
  const std::vector<float> tiles = random_tiles(small_shape(), 2, 1);
  training.initialize(1);
  training.load_tiles(tiles.data());
  ModelProbe(training).forward_backward(weights, 1, 0);
  ModelProbe(training).update(1e-2, 0);
  copy_states(training, inference);
  training.load_tiles(tiles.data());
  inference.load_tiles(tiles.data());
  // Weights travel as f32, in which those of a model in double are rounded.
  const double tolerance = std::max(output_tolerance(), 1e-6);
  const TileLoss expected = mean_of(training.evaluate()), actual = mean_of(inference.evaluate());
  EXPECT_TRUE(close(ModelProbe(inference).logits(), ModelProbe(training).logits(), tolerance));
  EXPECT_TRUE(close(ModelProbe(inference).posterior(), ModelProbe(training).posterior(), tolerance));
  EXPECT_TRUE(close({actual.reconstruction, actual.kl}, {expected.reconstruction, expected.kl}, tolerance));
}

TEST_P(ModelTest, CrossEntropyReconstructionKeepsEachSpectrumsTotal) {
  const ModelShape shape = small_shape();
  AllocatedModel model(backend(), shape, ReconstructionLoss::cross_entropy, 2, Purpose::inference);
  model.initialize(1);
  std::vector<float> tiles = random_tiles(shape, 2, 1);
  std::fill_n(tiles.begin(), shape.energy, 0.0f);  // a spectrum without counts
  model.load_tiles(tiles.data());
  std::vector<float> reconstruction(tiles.size(), NAN);
  model.reconstruct(reconstruction.data());
  for (size_t first = 0; first < tiles.size(); first += static_cast<size_t>(shape.energy)) {
    double target = 0, sum = 0;
    for (size_t i = first; i < first + static_cast<size_t>(shape.energy); ++i) {
      ASSERT_GE(reconstruction[i], 0);
      target += tiles[i];
      sum += reconstruction[i];
    }
    ASSERT_NEAR(sum, target, 1e-5 * target);
  }
  EXPECT_NE(reconstruction, tiles);
}

TEST_P(ModelTest, ATrainingModelTellsWhatItReconstructs) {
  for (ReconstructionLoss loss :
       {ReconstructionLoss::cross_entropy, ReconstructionLoss::mse, ReconstructionLoss::poisson}) {
    AllocatedModel training(backend(), small_shape(), loss, 2, Purpose::training);
    AllocatedModel inference(backend(), small_shape(), loss, 2, Purpose::inference);
    std::vector<float> tiles = random_tiles(small_shape(), 2, 1);
    std::fill_n(tiles.begin(), small_shape().energy, 0.0f);  // a spectrum without counts
    training.initialize(1);
    copy_states(training, inference);
    training.load_tiles(tiles.data());
    inference.load_tiles(tiles.data());
    std::vector<float> expected(tiles.size(), NAN);
    inference.reconstruct(expected.data());
    training.evaluate();
    for (int64_t tile : {0, 1}) {
      const std::vector<float> actual = training.evaluated_reconstruction(tile);
      const auto first = expected.begin() + tile * small_shape().tile_count();
      EXPECT_TRUE(close({actual.begin(), actual.end()}, {first, first + small_shape().tile_count()},
                        std::max(output_tolerance(), 1e-6)))
          << tile;
    }
  }
}

TEST_P(ModelTest, SquaredErrorReconstructionIsTheNetworksOutput) {
  AllocatedModel model(backend(), small_shape(), ReconstructionLoss::mse, 1, Purpose::inference);
  model.initialize(1);
  const std::vector<float> tiles = random_tiles(small_shape(), 1, 1);
  model.load_tiles(tiles.data());
  std::vector<float> reconstruction(tiles.size(), NAN);
  model.reconstruct(reconstruction.data());
  const Values logits = ModelProbe(model).logits();
  EXPECT_TRUE(equal({reconstruction.begin(), reconstruction.end()}, rounded(logits, DType::f32)));
  double squares = 0;
  for (size_t i = 0; i < tiles.size(); ++i) squares += std::pow(logits[i] - static_cast<double>(tiles[i]), 2);
  model.load_tiles(tiles.data());
  EXPECT_NEAR(model.evaluate()[0].reconstruction, squares, 1e-5 * squares);
}

EELSVAE_FOR_EACH_BACKEND(ModelTest);

}  // namespace
}  // namespace eelsvae
