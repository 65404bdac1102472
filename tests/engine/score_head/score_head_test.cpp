#include "engine/score_head/score_head.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/network/model_probe.h"
#include "engine/score_head/head_rows.h"
#include "engine/score_head/head_training.h"
#include "engine/score_head/shipped.h"
#include "io/files/safetensors.h"
#include "tests/folders.h"
#include "tests/kernels/backend_test.h"

namespace eelsvae {
namespace {

constexpr int64_t positions = 37, batch = 6;

std::vector<float> floats(const SafetensorsFile& file, const std::string& name) {
  const TensorView& view = file.tensor(name);
  std::vector<float> values(static_cast<size_t>(view.elements()));
  std::memcpy(values.data(), view.data, view.bytes);
  return values;
}

Values as_values(const std::vector<float>& from) {
  return {from.begin(), from.end()};
}

// The fixture's numbers in the order of a network's parameters.
ScoreHead head_of(const SafetensorsFile& file, const std::string& prefix) {
  ScoreHead head;
  for (const LayerSpec& layer : score_head_layers(positions))
    for (const Parameter& parameter : layer.parameters()) {
      EXPECT_EQ(file.tensor(prefix + parameter.name).shape, parameter.shape) << parameter.name;
      const std::vector<float> values = floats(file, prefix + parameter.name);
      head.insert(head.end(), values.begin(), values.end());
    }
  return head;
}

// Against five steps that tests/fixtures/make_score_head_fixture.py recorded in double precision.
class ScoreHeadTest : public BackendTest {
 protected:
  ScoreHeadTest() : file_(source_file("tests/fixtures/pytorch_score_head.safetensors")) {}
  // A fixture's numbers are rounded to f32.
  double output_tolerance() const { return std::max(6e-8, tolerance_of(GetParam().precision).output); }
  double gradient_tolerance() const {
    return std::max(6e-8, tolerance_of(GetParam().precision).relu_gradient);
  }
  SafetensorsFile file_;
};

TEST_P(ScoreHeadTest, LogOddsAreThoseOfPyTorch) {
  ScoreHeadNetwork network(backend(), head_of(file_, ""), positions, batch + 2);
  const std::vector<float> logits = floats(file_, "logits");
  Values expected;
  for (size_t i = 0; i < batch; ++i)
    expected.push_back(static_cast<double>(logits[2 * i + 1]) - static_cast<double>(logits[2 * i]));
  EXPECT_TRUE(close(network.log_odds(floats(file_, "input")), expected, 4 * output_tolerance()));
}

// Where the share of one of the two is no number of a float any more.
TEST_P(ScoreHeadTest, LargeLogOddsAreToldApart) {
  const ScoreHead head = head_of(file_, "");
  ScoreHead sure = head;
  const int64_t last = 48 * 2 + 2;  // weights and biases of the last layer
  for (auto w = sure.end() - last; w != sure.end(); ++w) *w *= 1000;
  const std::vector<float> rows = floats(file_, "input");
  Values expected = ScoreHeadNetwork(backend(), head, positions, batch).log_odds(rows);
  EXPECT_GT(std::abs(expected[0]), 0.2);
  for (double& odds : expected) odds *= 1000;
  EXPECT_TRUE(close(ScoreHeadNetwork(backend(), sure, positions, batch).log_odds(rows), expected,
                    4 * output_tolerance()));
}

TEST_P(ScoreHeadTest, GradientsAndFiveStepsOfAdamAreThoseOfPyTorch) {
  Network network(backend(), {score_head_layers(positions), {2}, {positions, head_features}}, batch,
                  Purpose::training);
  network.allocate();
  load_weights(head_of(file_, ""), network);
  const auto load = [&] {
    std::ranges::copy(floats(file_, "input"), network.next_inputs());
    network.load_inputs();
    network.load_tiles(floats(file_, "target").data());
  };
  load();
  Values losses = {mean_of(ModelProbe(network).forward_backward({}, 1, 0)).reconstruction};
  for (const LayerSpec& layer : score_head_layers(positions))
    for (const Parameter& parameter : layer.parameters()) {
      Values gradient;
      read_in_file_order(
          backend(), parameter, ModelProbe(network).gradient_array(parameter.name),
          [&](const float* block, int64_t count) { gradient.insert(gradient.end(), block, block + count); });
      EXPECT_TRUE(close(gradient, as_values(floats(file_, "grad." + parameter.name)), gradient_tolerance()))
          << parameter.name;
    }
  ModelProbe(network).update(2e-3, 0);
  for (uint64_t step = 1; step < 5; ++step) {
    load();
    network.start_step({}, 1, step, 2e-3, 0);
    losses.push_back(mean_of(network.finish_step().tiles).reconstruction);
  }
  // The steps make what gradients are uncertain by larger (pytorch_parity_test.cpp); the losses fall tenfold.
  EXPECT_TRUE(close(losses, as_values(floats(file_, "loss")), 2 * gradient_tolerance()));
  EXPECT_TRUE(
      close(as_values(weights_of(network)), as_values(head_of(file_, "after5.")), gradient_tolerance()));
}
EELSVAE_FOR_EACH_BACKEND(ScoreHeadTest);

TEST(ShippedScoreHead, IsTheFileOfThisFolder) {
  const SafetensorsFile file(source_file("engine/score_head/score_head.safetensors"));
  EXPECT_EQ(file.names().size(), 16u);
  EXPECT_TRUE(file.metadata().at("made_by").starts_with("train_score_head"));
  EXPECT_EQ(shipped_score_head(), head_of(file, ""));
}

// A step between two levels, and residuals of pure noise.
HeadExamples step_examples() {
  HeadExamples examples;
  examples.positions = 96;
  examples.spectra = 60;
  examples.background = 10;
  const auto count = static_cast<size_t>(examples.positions * examples.spectra);
  for (const double z : random_normal(static_cast<int64_t>(count), 1, 3))
    examples.z.push_back(static_cast<float>(z));
  for (size_t i = 0; i < count; ++i) examples.expected.push_back(i % 96 < 40 ? 900.0f : 1600.0f);
  for (const float level : examples.expected) examples.noise.push_back(std::sqrt(level));
  return examples;
}

TEST(ScoreHeadTraining, LearnsToTellChangesFromNoise) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", "fp32");
  HeadTraining training;
  training.steps = 200;
  training.batch = 32;
  training.positions = 64;
  const HeadExamples examples = step_examples();
  double last = 0;
  const ScoreHead head =
      train_score_head(*backend, {&examples, 1}, training, [&](int64_t, double loss) { last = loss; });
  EXPECT_LT(last, 0.55);  // ln 2 = 0.693 for who cannot tell; 0.41 to 0.46 with four seeds
  EXPECT_EQ(std::ssize(head), score_head_weights());
  EXPECT_EQ(head, train_score_head(*backend, {&examples, 1}, training));  // the same bits again

  // Spectra that no step saw, of which the first half has a peak.
  const int64_t spectra = 20, length = 96;
  ScoreHeadNetwork network(*backend, head, length, spectra);
  std::vector<float> rows(static_cast<size_t>(spectra * length * head_features));
  const Values noise = random_normal(spectra * length, 1, 77);
  const std::span expected(examples.expected.data(), static_cast<size_t>(length));
  const std::span level(examples.noise.data(), static_cast<size_t>(length));
  for (int64_t s = 0; s < spectra; ++s) {
    std::vector<float> z;
    for (int64_t p = 0; p < length; ++p) {
      const double peak =
          s < spectra / 2 ? 4 * std::exp(-0.5 * std::pow(static_cast<double>(p - 60) / 3, 2)) : 0;
      z.push_back(static_cast<float>(noise[static_cast<size_t>(s * length + p)] + peak));
    }
    head_rows(z, expected_shape(expected, examples.background), level,
              rows.data() + s * length * head_features);
  }
  const std::vector<double> odds = network.log_odds(rows);
  const auto half = odds.begin() + spectra / 2;
  EXPECT_GT(std::accumulate(odds.begin(), half, 0.0), std::accumulate(half, odds.end(), 0.0) + 10);
}

TEST(ScoreHeadTraining, RefusesWhatItCannotLearnFrom) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", "fp32");
  HeadExamples few = step_examples();
  HeadTraining training;
  training.positions = 200;
  EXPECT_THROW(train_score_head(*backend, {&few, 1}, training), UserError);
  EXPECT_THROW(train_score_head(*backend, {}, training), UserError);
  training.positions = 64;
  for (int i = 0; i < head_changes; ++i) training.left_out.push_back(static_cast<HeadChange>(i));
  EXPECT_THROW(train_score_head(*backend, {&few, 1}, training), UserError);
}

TEST(HeadRows, FineAxesAreAddedUp) {
  const Axis energy = {"Energy loss", "eV", 400, 0.1, 1300};
  const HeadAxis axis = head_axis(energy, {50, 1250});
  EXPECT_EQ(axis.together, 6);
  EXPECT_EQ(axis.positions, 200);
  EXPECT_EQ(head_axis(energy, {0, 300}).together, 2);  // not below 128 positions, as far as that can be
  EXPECT_EQ(head_axis({"Energy loss", "eV", 400, 0.95, 320}, {0, 320}).together, 1);
  std::vector<float> ones(1300, 1.0f), sums(200);
  add_up(axis, ones.data(), false, sums.data());
  EXPECT_EQ(sums[199], 6);
  add_up(axis, ones.data(), true, sums.data());
  EXPECT_FLOAT_EQ(sums[0], 6 / std::sqrt(6.0f));
}

TEST(HeadRows, BlursKeepTotalsAndWiden) {
  std::vector<float> line(101);
  line[50] = 1;
  for (const double sigma : {0.7, 1.5, 3.0, 12.0}) {
    const std::vector<float> wide = blurred(line, sigma);
    double sum = 0, square = 0;
    for (int i = 0; i < 101; ++i) {
      sum += static_cast<double>(wide[static_cast<size_t>(i)]);
      square += std::pow(i - 50, 2) * static_cast<double>(wide[static_cast<size_t>(i)]);
    }
    EXPECT_NEAR(sum, 1, 1e-5);
    EXPECT_NEAR(std::sqrt(square), sigma, 0.2 * sigma);  // means are of whole numbers of positions
  }
}

}  // namespace
}  // namespace eelsvae
