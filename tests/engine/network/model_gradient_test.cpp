// The derivatives of the whole model, loss and KL divergence included, against central differences in double.

#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "engine/network/blind_blocks.h"
#include "engine/network/model_probe.h"
#include "tests/engine/network/test_model.h"

namespace eelsvae {
namespace {

constexpr double tolerance = 1e-6;
constexpr int entries_per_tensor = 3;

// The derivative of f at 0 by central differences, to `precision`. The step shrinks until two of them agree;
// where they never do, a ReLU changes sides near by and there is no answer.
std::optional<double> derivative(const std::function<double(double)>& f, double precision) {
  const auto central = [&](double step) { return (f(step) - f(-step)) / (2 * step); };
  for (double step : {1e-5, 1e-6}) {
    const double wide = central(step), narrow = central(step / 2);
    if (std::abs(wide - narrow) <= precision) return narrow;
  }
  return std::nullopt;
}

void check_gradients(ReconstructionLoss kind, int64_t blind = 0) {
  const std::unique_ptr<Backend> backend = make_backend("reference", "fp64");
  ModelShape shape = small_shape();
  shape.energy = 16;
  shape.blind = blind;
  const int64_t batch = 2;
  const LossWeights weights = {/*dose=*/2.5, /*kl_weight=*/0.7};
  const uint64_t seed = 11, step = 3;
  uint64_t draw = 0;
  AllocatedModel model(*backend, shape, kind, batch, Purpose::training);
  // Large enough weights to keep the signal's size from layer to layer: derivatives then are large enough to
  // stand out from the rounding of a loss in the thousands.
  for (const Model::State& state : model.states()) {
    if (!state.weight) continue;
    const std::vector<int64_t>& extents = state.parameter.shape;
    const double scale =
        extents.size() == 1
            ? 0.1
            : std::sqrt(2.0 * static_cast<double>(extents[0]) / static_cast<double>(state.parameter.count()));
    const Values values = random_normal(state.parameter.count(), scale, 1000 + draw++);
    set_values(model, state, {values.begin(), values.end()});
  }
  std::vector<float> tiles = random_tiles(shape, batch, 1), shown = tiles;
  if (blind > 0) {
    const BlindBlocks blocks = {blind, 1, 0};
    blocks.clear(shown, shape.image_size, shape.energy, true);
    blocks.clear(tiles, shape.image_size, shape.energy, false);
  }

  const auto loss = [&] {
    model.refresh();
    model.load_tiles(tiles.data());
    if (blind > 0) {
      std::ranges::copy(shown, model.next_inputs());
      model.load_inputs();
    }
    return mean_of(ModelProbe(model).forward_backward(weights, seed, step)).total(weights);
  };
  loss();
  std::vector<Values> gradients;
  double global = 0;
  for (const Parameter& parameter : shape.parameters()) {
    gradients.push_back(gradient_of(model, parameter));
    global += dot(gradients.back(), gradients.back());
  }
  global = std::sqrt(global);

  int checked = 0, skipped = 0;
  for (size_t k = 0; k < gradients.size(); ++k) {
    const Parameter parameter = shape.parameters()[k];
    const Values& gradient = gradients[k];
    SCOPED_TRACE(parameter.name);
    const Array array = ModelProbe(model).parameter_array(parameter.name);
    const Values centre = download(*backend, array);
    const auto check = [&](const Values& direction, double scale, const std::string& what) {
      const std::optional<double> expected = derivative(
          [&](double h) {
            Values moved = centre;
            for (size_t i = 0; i < moved.size(); ++i) moved[i] += h * direction[i];
            backend->upload(moved.data(), array.data, array.bytes());
            const double value = loss();
            backend->upload(centre.data(), array.data, array.bytes());
            return value;
          },
          0.3 * tolerance * scale);
      ++checked;
      if (expected) {
        EXPECT_NEAR(dot(gradient, direction), *expected, tolerance * scale) << what;
      } else {
        ++skipped;
      }
    };

    // A constant added to all logits of a spectrum leaves its softmax as it is: no gradient but rounding.
    const bool without_effect =
        kind == ReconstructionLoss::cross_entropy && parameter.name == "decoder.11.bias";
    const double norm = without_effect ? global : norm_of(gradient);
    ASSERT_GT(norm, 0);
    const double root = std::sqrt(static_cast<double>(gradient.size()));
    // A direction in which the tensor moves as a whole by a step's length ...
    Values direction = random_normal(parameter.count(), 1 / root, 100 + k);
    check(direction, norm / root, "direction");
    // ... and single entries, the one with the largest derivative among them.
    for (int i = 0; i < entries_per_tensor; ++i) {
      size_t entry = philox(/*key=*/200 + k, static_cast<uint64_t>(i), 0).v[0] % gradient.size();
      if (i == 0)
        entry = static_cast<size_t>(
            std::max_element(gradient.begin(), gradient.end(),
                             [](double a, double b) { return std::abs(a) < std::abs(b); }) -
            gradient.begin());
      Values axis(gradient.size());
      axis[entry] = 1;
      check(axis, std::max(std::abs(gradient[entry]), norm / root), "entry " + std::to_string(entry));
    }
  }
  EXPECT_EQ(checked, static_cast<int>(gradients.size()) * (1 + entries_per_tensor));
  EXPECT_LE(skipped, checked / 20);
}

TEST(ModelGradient, OfCrossEntropyAndKl) {
  check_gradients(ReconstructionLoss::cross_entropy);
}

TEST(ModelGradient, OfPoissonsLikelihoodAndKl) {
  check_gradients(ReconstructionLoss::poisson);
}

TEST(ModelGradient, OfANetworkOfCells) {
  check_gradients(ReconstructionLoss::cross_entropy, 2);
  check_gradients(ReconstructionLoss::poisson, 2);
}

TEST(ModelGradient, OfSquaredErrorAndKl) {
  check_gradients(ReconstructionLoss::mse);
}

}  // namespace
}  // namespace eelsvae
