#include "kernels/conv3d.h"

#include "tests/kernels/backend_test.h"

namespace eelsvae {

std::ostream& operator<<(std::ostream& stream, const Extent3& e) {
  return stream << e.h << "x" << e.w << "x" << e.e;
}
std::ostream& operator<<(std::ostream& stream, const Conv3dProblem& p) {
  return stream << p.batch << " of " << p.in << ", channels " << p.in_channels << " -> " << p.out_channels
                << ", kernel " << p.kernel << ", stride " << p.stride << ", padding " << p.padding;
}

namespace {

const std::vector<Conv3dProblem> problems = {
    // batch, in, in_channels, out_channels, kernel, stride, padding
    // The four layer kinds of the published network on small tiles.
    {1, {4, 4, 32}, 1, 32, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
    {2, {4, 4, 16}, 32, 64, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}},
    {1, {4, 4, 16}, 64, 128, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
    {2, {2, 2, 8}, 128, 256, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
    // The same kinds with other channel counts, at the smallest energy axis, on a single pixel, at odd sizes.
    {3, {8, 8, 48}, 1, 4, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
    {1, {1, 1, 16}, 1, 1, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
    {1, {1, 1, 16}, 3, 5, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}},
    {5, {3, 5, 7}, 3, 5, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
    {2, {5, 3, 17}, 7, 3, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}},
    {1, {6, 6, 16}, 16, 1, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
    {2, {7, 9, 33}, 8, 24, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
    // Lines of several vectors and tiles, with an end that fills none.
    {1, {2, 3, 150}, 32, 32, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}},
    {1, {3, 2, 203}, 32, 96, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
    {1, {1, 2, 300}, 1, 20, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
    // A stride beyond the kernel: of the input gradient every other position sees no tap.
    {1, {1, 2, 70}, 32, 32, {1, 3, 1}, {1, 1, 2}, {0, 1, 0}},
    // Short lines with many neighbours, and a long one of many channels.
    {1, {3, 22, 20}, 8, 16, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
    {1, {1, 2, 280}, 128, 8, {1, 3, 3}, {1, 1, 2}, {0, 1, 1}},
    // One element; a matrix product; a kernel that is larger than an axis; only padding beside one element.
    {1, {1, 1, 1}, 1, 1, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}},
    {2, {3, 2, 5}, 7, 9, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}},
    {1, {1, 2, 3}, 2, 3, {3, 3, 7}, {1, 1, 1}, {1, 1, 3}},
    {1, {1, 1, 1}, 3, 2, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
    // A stride that leaves the end of every axis unread.
    {1, {6, 8, 11}, 2, 3, {3, 3, 3}, {2, 3, 4}, {0, 0, 0}},
};

struct Inputs {
  Values source, weights, bias, destination_gradient;
};
struct Outputs {
  Values destination, source_gradient, weight_gradient;
};

Outputs run(Backend& backend, const Conv3dProblem& p, bool transposed, const Inputs& inputs, bool relu) {
  DType activation = backend.storage_type(), master = backend.master_type();
  std::unique_ptr<Conv3d> conv = backend.make_conv3d(p, transposed, relu, Passes::training);
  DeviceArray source(backend, activation, inputs.source), weights(backend, master, inputs.weights),
      bias(backend, master, inputs.bias),
      destination_gradient(backend, activation, inputs.destination_gradient);
  DeviceArray destination(backend, activation, transposed ? p.x_count() : p.y_count()),
      source_gradient(backend, activation, transposed ? p.y_count() : p.x_count()),
      weight_gradient(backend, master, p.weight_count());
  DeviceBytes packed(backend, conv->packed_bytes());
  // Scratch memory of its own for each call: none may rely on what another left there.
  DeviceBytes w1(backend, conv->workspace_bytes()), w2(backend, conv->workspace_bytes()),
      w3(backend, conv->workspace_bytes()), w4(backend, conv->workspace_bytes());
  conv->pack(weights, packed.data(), w1.data());
  conv->forward(source, packed.data(), bias, destination, w2.data());
  conv->backward_data(destination_gradient, packed.data(), source_gradient, w3.data());
  conv->backward_weights(source, destination_gradient, weight_gradient, w4.data());
  backend.synchronize();
  return {destination.download(), source_gradient.download(), weight_gradient.download()};
}

// Sizes of a layer's own input and output.
int64_t source_count(const Conv3dProblem& p, bool transposed) {
  return transposed ? p.y_count() : p.x_count();
}
int64_t destination_count(const Conv3dProblem& p, bool transposed) {
  return transposed ? p.x_count() : p.y_count();
}
int64_t bias_count(const Conv3dProblem& p, bool transposed) {
  return transposed ? p.in_channels : p.out_channels;
}

Inputs random_inputs(const Conv3dProblem& p, bool transposed, const Backend& backend) {
  int64_t fan_in = p.kernel.volume() * (transposed ? p.out_channels : p.in_channels);
  // Packing rounds weights to the activation type, so the comparison starts from rounded ones.
  return {rounded(random_normal(source_count(p, transposed), 1, 1), backend.storage_type()),
          rounded(random_normal(p.weight_count(), 1 / std::sqrt(static_cast<double>(fan_in)), 2),
                  backend.storage_type()),
          rounded(random_normal(bias_count(p, transposed), 0.3, 3), backend.master_type()),
          rounded(random_normal(destination_count(p, transposed), 1, 4), backend.storage_type())};
}

class Conv3dTest : public BackendTest {};
EELSVAE_FOR_EACH_BACKEND(Conv3dTest);

TEST_P(Conv3dTest, SmallIntegersAreExact) {
  // bfloat16 holds the integers to 256 and every sum below stays under that.
  int largest = activation() == DType::bf16 ? 1 : 3;
  for (const Conv3dProblem& p : problems)
    for (bool transposed : {false, true})
      for (bool relu : {false, true}) {
        SCOPED_TRACE(testing::Message() << p << (transposed ? ", transposed" : "") << (relu ? ", ReLU" : ""));
        Inputs inputs = {random_integers(source_count(p, transposed), largest, 1),
                         random_integers(p.weight_count(), largest, 2),
                         random_integers(bias_count(p, transposed), 3, 3),
                         random_integers(destination_count(p, transposed), largest, 4)};
        Outputs expected = run(reference(), p, transposed, inputs, relu);
        ASSERT_TRUE(equal(rounded(expected.destination, activation()), expected.destination))
            << "test is not exact";
        ASSERT_TRUE(equal(rounded(expected.source_gradient, activation()), expected.source_gradient))
            << "test is not exact";
        Outputs actual = run(backend(), p, transposed, inputs, relu);
        EXPECT_TRUE(equal(actual.destination, expected.destination)) << "destination";
        EXPECT_TRUE(equal(actual.source_gradient, expected.source_gradient)) << "source gradient";
        EXPECT_TRUE(equal(actual.weight_gradient, expected.weight_gradient)) << "weight gradient";
      }
}

TEST_P(Conv3dTest, RandomNumbersAreClose) {
  for (const Conv3dProblem& p : problems)
    for (bool transposed : {false, true}) {
      SCOPED_TRACE(testing::Message() << p << (transposed ? ", transposed" : ""));
      Inputs inputs = random_inputs(p, transposed, backend());
      Outputs expected = run(reference(), p, transposed, inputs, true);
      Outputs actual = run(backend(), p, transposed, inputs, true);
      EXPECT_TRUE(close(actual.destination, expected.destination, tolerance())) << "destination";
      EXPECT_TRUE(close(actual.source_gradient, expected.source_gradient, tolerance())) << "source gradient";
      EXPECT_TRUE(close(actual.weight_gradient, expected.weight_gradient, tolerance())) << "weight gradient";
    }
}

TEST_P(Conv3dTest, TheSameCallTwiceGivesTheSameBits) {
  for (const Conv3dProblem& p : problems)
    for (bool transposed : {false, true}) {
      SCOPED_TRACE(testing::Message() << p << (transposed ? ", transposed" : ""));
      Inputs inputs = random_inputs(p, transposed, backend());
      Outputs first = run(backend(), p, transposed, inputs, true);
      Outputs second = run(backend(), p, transposed, inputs, true);
      EXPECT_TRUE(equal(second.destination, first.destination)) << "destination";
      EXPECT_TRUE(equal(second.source_gradient, first.source_gradient)) << "source gradient";
      EXPECT_TRUE(equal(second.weight_gradient, first.weight_gradient)) << "weight gradient";
    }
}

// <conv(x), y> = <x, transposed conv(y)>, without bias and ReLU.
TEST_P(Conv3dTest, TheTransposeIsTheAdjoint) {
  for (const Conv3dProblem& p : problems) {
    SCOPED_TRACE(testing::Message() << p);
    Inputs there = random_inputs(p, false, backend()), back = random_inputs(p, true, backend());
    back.weights = there.weights;
    there.bias.assign(there.bias.size(), 0);
    back.bias.assign(back.bias.size(), 0);
    Values conv_x = run(backend(), p, false, there, false).destination;
    Values transposed_y = run(backend(), p, true, back, false).destination;
    const Values &x = there.source, &y = back.source;
    EXPECT_NEAR(dot(conv_x, y), dot(x, transposed_y),
                tolerance() * std::sqrt(dot(conv_x, conv_x) * dot(y, y)) +
                    tolerance() * std::sqrt(dot(x, x) * dot(transposed_y, transposed_y)));
  }
}

TEST_P(Conv3dTest, AnExampleByHand) {
  // One channel of five energies, kernel (1, 10, 100), stride 2, padding 1.
  Conv3dProblem p = {1, {1, 1, 5}, 1, 1, {1, 1, 3}, {1, 1, 2}, {0, 0, 1}};
  Outputs conv = run(backend(), p, false, {{1, 2, 3, 4, 5}, {1, 10, 100}, {2}, {1, 1, 1}}, false);
  Values expected = {212, 434, 56};
  EXPECT_TRUE(equal(conv.destination, rounded(expected, activation())));
  EXPECT_TRUE(equal(conv.source_gradient, {10, 101, 10, 101, 10}));
  EXPECT_TRUE(equal(conv.weight_gradient, {6, 9, 6}));

  Outputs transposed = run(backend(), p, true, {{1, 1, 1}, {1, 10, 100}, {-11}, {1, 2, 3, 4, 5}}, true);
  EXPECT_TRUE(equal(transposed.destination, {0, 90, 0, 90, 0}));
  expected = {210, 432, 54};
  EXPECT_TRUE(equal(transposed.source_gradient, rounded(expected, activation())));
  EXPECT_TRUE(equal(transposed.weight_gradient, {6, 9, 6}));
}

// A kernel as large as the input makes each output a dot product of two arrays in memory order, which pins
// the order of axes of both.
TEST_P(Conv3dTest, OrderOfAxes) {
  Conv3dProblem p = {1, {2, 3, 4}, 5, 2, {2, 3, 4}, {1, 1, 1}, {0, 0, 0}};
  Inputs inputs = {
      random_integers(p.x_count(), 1, 1), random_integers(p.weight_count(), 1, 2), {0, 0}, {1, 0}};
  Outputs outputs = run(backend(), p, false, inputs, false);
  auto middle = inputs.weights.begin() + static_cast<std::ptrdiff_t>(p.x_count());
  Values first(inputs.weights.begin(), middle), second(middle, inputs.weights.end());
  EXPECT_TRUE(equal(outputs.destination, {dot(inputs.source, first), dot(inputs.source, second)}));
  EXPECT_TRUE(equal(outputs.source_gradient, first));
}

TEST_P(Conv3dTest, PackingFollowsTheWeights) {
  Conv3dProblem p = {1, {4, 4, 16}, 3, 5, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}};
  std::unique_ptr<Conv3d> conv = backend().make_conv3d(p, /*transposed=*/false, false, Passes::forward);
  DeviceArray x(backend(), activation(), random_integers(p.x_count(), 1, 1)),
      bias(backend(), master(), Values(5, 0.0)), y(backend(), activation(), p.y_count()),
      weights(backend(), master(), random_integers(p.weight_count(), 1, 2));
  DeviceBytes packed(backend(), conv->packed_bytes()), workspace(backend(), conv->workspace_bytes());
  conv->pack(weights, packed.data(), workspace.data());
  weights.upload(Values(static_cast<size_t>(p.weight_count()), 0.0));
  conv->pack(weights, packed.data(), workspace.data());
  conv->forward(x, packed.data(), bias, y, workspace.data());
  EXPECT_TRUE(equal(y.download(), Values(static_cast<size_t>(p.y_count()), 0.0)));
}

// What is made for the forward pass alone computes the same, needs no more memory, and refuses to go back.
TEST_P(Conv3dTest, MadeForTheForwardPassItGivesTheSameBits) {
  for (const Conv3dProblem& p : problems)
    for (const bool transposed : {false, true}) {
      SCOPED_TRACE(testing::Message() << p << (transposed ? ", transposed" : ""));
      const auto make = [&](Passes passes) { return backend().make_conv3d(p, transposed, true, passes); };
      const std::unique_ptr<Conv3d> forward = make(Passes::forward), training = make(Passes::training);
      EXPECT_LE(forward->packed_bytes(), training->packed_bytes());
      EXPECT_LE(forward->workspace_bytes(), training->workspace_bytes());
      const Inputs inputs = random_inputs(p, transposed, backend());
      DeviceArray source(backend(), activation(), inputs.source),
          weights(backend(), master(), inputs.weights), bias(backend(), master(), inputs.bias),
          destination(backend(), activation(), destination_count(p, transposed));
      DeviceBytes packed(backend(), forward->packed_bytes()),
          workspace(backend(), forward->workspace_bytes());
      forward->pack(weights, packed.data(), workspace.data());
      forward->forward(source, packed.data(), bias, destination, workspace.data());
      EXPECT_TRUE(equal(destination.download(), run(backend(), p, transposed, inputs, true).destination));
      EXPECT_THROW(forward->backward_data(destination, packed.data(), source, workspace.data()),
                   std::logic_error);
      EXPECT_THROW(forward->backward_weights(source, destination, weights, workspace.data()),
                   std::logic_error);
    }
}

// The input that a tap sees of each output along an axis, by the arithmetic of an ordinary convolution.
std::vector<int64_t> sources_along(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding) {
  std::vector<int64_t> sources;
  for (int64_t o = 0; o < out; ++o)
    for (int64_t k = 0; k < kernel; ++k) {
      const int64_t i = o * stride + k - padding;
      sources.push_back(i < 0 || i >= in ? -1 : i);
    }
  return sources;
}

// The gathered convolution with the weights that the ordinary one of `like` packs; empty where the backend
// has none.
Values run_gathered(Backend& backend, const Conv3dProblem& p, const LineSources& sources,
                    const Conv3dProblem& like, const Inputs& inputs, bool relu) {
  std::unique_ptr<ForwardConv3d> gathered = backend.make_gathered_conv3d(p, sources, relu);
  if (!gathered) return {};
  std::unique_ptr<Conv3d> packing = backend.make_conv3d(like, /*transposed=*/false, relu, Passes::forward);
  DType activation = backend.storage_type(), master = backend.master_type();
  const int64_t lines =
      static_cast<int64_t>(sources.rows.size() * sources.columns.size()) / (p.kernel.h * p.kernel.w);
  DeviceArray x(backend, activation, inputs.source), weights(backend, master, inputs.weights),
      bias(backend, master, inputs.bias), y(backend, activation, lines * p.out().e * p.out_channels);
  DeviceBytes packed(backend, packing->packed_bytes()), scratch(backend, packing->workspace_bytes()),
      workspace(backend, gathered->workspace_bytes());
  packing->pack(weights, packed.data(), scratch.data());
  gathered->forward(x, packed.data(), bias, y, workspace.data());
  backend.synchronize();
  return y.download();
}

TEST_P(Conv3dTest, GatheringTheLinesOfAnOrdinaryConvolutionGivesItsBits) {
  bool any = false;
  for (Conv3dProblem p : problems)
    for (bool relu : {false, true}) {
      SCOPED_TRACE(testing::Message() << p << (relu ? ", ReLU" : ""));
      p.batch = 1;
      const Extent3 out = p.out();
      const LineSources sources = {sources_along(p.in.h, out.h, p.kernel.h, p.stride.h, p.padding.h),
                                   sources_along(p.in.w, out.w, p.kernel.w, p.stride.w, p.padding.w)};
      Inputs inputs = random_inputs(p, false, backend());
      Values gathered = run_gathered(backend(), p, sources, p, inputs, relu);
      if (gathered.empty()) continue;
      any = true;
      EXPECT_TRUE(equal(gathered, run(backend(), p, false, inputs, relu).destination));
    }
  if (!any) GTEST_SKIP() << "has no gathered convolution";
}

TEST_P(Conv3dTest, GatheredLinesMayBeAny) {
  bool any = false;
  for (int64_t channels : {3, 32})
    for (Conv3dProblem p :
         {Conv3dProblem{1, {3, 4, 70}, channels, 2 * channels, {3, 2, 5}, {1, 1, 2}, {0, 0, 2}},
          Conv3dProblem{1, {3, 4, 9}, channels, channels, {3, 2, 3}, {2, 7, 2}, {1, 5, 1}}}) {
      SCOPED_TRACE(testing::Message() << p);
      // Lines in no order, twice by one output, by no output, and an output that sees none.
      const LineSources sources = {{2, -1, 0, 1, 1, -1, 0, 2, 2, -1, -1, -1}, {3, 0, -1, 3, 1, 1}};
      const int64_t rows = 4, columns = 3, energies = p.out().e;
      // Of another size, and there stride and padding mean something.
      Conv3dProblem like = p;
      like.batch = 2;
      like.in = {6, 6, 16};
      like.stride.w = like.padding.w = 1;
      Inputs inputs = random_inputs(p, false, backend());
      Values actual = run_gathered(backend(), p, sources, like, inputs, true);
      if (actual.empty()) continue;
      any = true;
      Values expected;
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c)
          for (int64_t e = 0; e < energies; ++e)
            for (int64_t oc = 0; oc < p.out_channels; ++oc) {
              double sum = inputs.bias[static_cast<size_t>(oc)];
              for (int64_t kh = 0; kh < p.kernel.h; ++kh)
                for (int64_t kw = 0; kw < p.kernel.w; ++kw)
                  for (int64_t ke = 0; ke < p.kernel.e; ++ke) {
                    const int64_t h = sources.rows[static_cast<size_t>(r * p.kernel.h + kh)],
                                  w = sources.columns[static_cast<size_t>(c * p.kernel.w + kw)],
                                  i = e * p.stride.e + ke - p.padding.e;
                    if (h < 0 || w < 0 || i < 0 || i >= p.in.e) continue;
                    const int64_t x = ((h * p.in.w + w) * p.in.e + i) * p.in_channels,
                                  tap = (((oc * p.kernel.h + kh) * p.kernel.w + kw) * p.kernel.e + ke) *
                                        p.in_channels;
                    for (int64_t ic = 0; ic < p.in_channels; ++ic)
                      sum += inputs.source[static_cast<size_t>(x + ic)] *
                             inputs.weights[static_cast<size_t>(tap + ic)];
                  }
              expected.push_back(std::max(sum, 0.0));
            }
      EXPECT_TRUE(close(actual, expected, tolerance()));
    }
  if (!any) GTEST_SKIP() << "has no gathered convolution";
}

// The passes are linear in each input, so a difference quotient is exact but for rounding, whatever the step.
TEST(Conv3dReference, BackwardPassesMatchFiniteDifferences) {
  std::unique_ptr<Backend> reference = make_backend("reference", "auto");
  for (const Conv3dProblem& p : {Conv3dProblem{1, {1, 2, 6}, 1, 2, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
                                 Conv3dProblem{2, {3, 2, 4}, 1, 2, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}},
                                 Conv3dProblem{1, {4, 3, 5}, 2, 1, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
                                 Conv3dProblem{1, {4, 3, 4}, 1, 2, {2, 2, 3}, {3, 3, 2}, {0, 0, 0}}})
    for (bool transposed : {false, true}) {
      SCOPED_TRACE(testing::Message() << p << (transposed ? ", transposed" : ""));
      Inputs inputs = random_inputs(p, transposed, *reference);
      Outputs outputs = run(*reference, p, transposed, inputs, false);

      auto conv = reference->make_conv3d(p, transposed, false, Passes::forward);
      DeviceArray source(*reference, DType::f64, inputs.source), bias(*reference, DType::f64, inputs.bias),
          weights(*reference, DType::f64, inputs.weights),
          destination(*reference, DType::f64, destination_count(p, transposed));
      DeviceBytes packed(*reference, conv->packed_bytes());
      auto loss = [&](DeviceArray& moved, const Values& at) {
        moved.upload(at);
        conv->pack(weights, packed.data(), nullptr);
        conv->forward(source, packed.data(), bias, destination, nullptr);
        return dot(destination.download(), inputs.destination_gradient);
      };
      auto numeric = [&](DeviceArray& array, const Values& at) {
        Values derivative = finite_differences([&](const Values& v) { return loss(array, v); }, at, 0.5);
        array.upload(at);
        return derivative;
      };
      EXPECT_TRUE(close(outputs.source_gradient, numeric(source, inputs.source), 1e-11)) << "source gradient";
      EXPECT_TRUE(close(outputs.weight_gradient, numeric(weights, inputs.weights), 1e-11))
          << "weight gradient";
    }
}

}  // namespace
}  // namespace eelsvae
