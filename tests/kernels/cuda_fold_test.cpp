#ifdef EELSVAE_HAVE_CUDA
#include "kernels/cuda/fold.h"

#include "tests/kernels/backend_test.h"

namespace eelsvae::cuda {
namespace {

const std::vector<Conv3dProblem> problems = {
    // batch, in, in_channels, out_channels, kernel, stride, padding
    {2, {4, 3, 12}, 4, 6, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}},  // as in the published network
    {1, {2, 2, 16}, 1, 3, {1, 1, 7}, {1, 1, 2}, {0, 0, 3}},
    {1, {3, 4, 8}, 3, 2, {3, 1, 3}, {1, 1, 2}, {1, 0, 1}},
    {1, {1, 2, 10}, 2, 5, {1, 2, 4}, {1, 1, 2}, {0, 0, 1}},  // an even kernel
    {2, {3, 3, 14}, 3, 1, {2, 3, 5}, {1, 1, 2}, {0, 2, 0}},  // without padding in energy; fewer outputs
    {1, {2, 3, 2}, 2, 2, {1, 3, 5}, {1, 1, 2}, {0, 1, 2}},   // a single pair
    {1, {1, 1, 6}, 2, 3, {1, 1, 9}, {1, 1, 2}, {0, 0, 8}},   // mostly padding
    {1, {1, 1, 8}, 5, 4, {1, 1, 1}, {1, 1, 2}, {0, 0, 0}},   // every other energy
};

// y = conv(x, w), or its transpose.
Values convolve(Backend& reference, const Conv3dProblem& p, bool transposed, const Values& source,
                const Values& weights) {
  const auto conv = reference.make_conv3d(p, transposed, false, Passes::forward);
  DeviceArray from(reference, DType::f64, source), w(reference, DType::f64, weights),
      to(reference, DType::f64, transposed ? p.x_count() : p.y_count()),
      bias(reference, DType::f64,
           Values(static_cast<size_t>(transposed ? p.in_channels : p.out_channels), 0.0));
  DeviceBytes packed(reference, conv->packed_bytes()), workspace(reference, conv->workspace_bytes());
  conv->pack(w, packed.data(), workspace.data());
  conv->forward(from, packed.data(), bias, to, workspace.data());
  return to.download();
}

Values weight_gradient(Backend& reference, const Conv3dProblem& p, const Values& x, const Values& y) {
  const auto conv = reference.make_conv3d(p, /*transposed=*/false, false, Passes::training);
  DeviceArray source(reference, DType::f64, x), gradient(reference, DType::f64, y),
      result(reference, DType::f64, p.weight_count());
  DeviceBytes workspace(reference, conv->workspace_bytes());
  conv->backward_weights(source, gradient, result, workspace.data());
  return result.download();
}

template <typename Source>
Values gathered(const Values& values, int64_t count, Source source) {
  Values result;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t from = source(i);
    EXPECT_LT(from, static_cast<int64_t>(values.size()));
    result.push_back(from < 0 ? 0.0 : values.at(static_cast<size_t>(from)));
  }
  return result;
}

TEST(Fold, IsTheSameConvolution) {
  const auto reference = make_backend("reference", "auto");
  for (const Conv3dProblem& p : problems) {
    ASSERT_TRUE(Fold::applies_to(p));
    const Fold fold(p);
    const Conv3dProblem folded = fold.folded(), adjoint = fold.adjoint();
    SCOPED_TRACE(testing::Message() << "kernel " << p.kernel.h << "x" << p.kernel.w << "x" << p.kernel.e
                                    << ", padding " << p.padding.e << ", folded kernel " << folded.kernel.e);
    EXPECT_EQ(folded.out(), p.out());
    EXPECT_EQ(folded.x_count(), p.x_count());
    EXPECT_EQ(adjoint.in, p.out());
    EXPECT_EQ(adjoint.out(), folded.in);

    const Values x = random_integers(p.x_count(), 3, 1), w = random_integers(p.weight_count(), 3, 2),
                 y = random_integers(p.y_count(), 3, 3);
    const int64_t count = fold.weight_count();
    const Values folded_w = gathered(w, count, [&](int64_t i) { return fold.source_of_folded(i); }),
                 adjoint_w = gathered(w, count, [&](int64_t i) { return fold.source_of_adjoint(i); });
    EXPECT_TRUE(
        equal(convolve(*reference, folded, false, x, folded_w), convolve(*reference, p, false, x, w)));
    EXPECT_TRUE(equal(convolve(*reference, folded, true, y, folded_w), convolve(*reference, p, true, y, w)));
    EXPECT_TRUE(
        equal(convolve(*reference, adjoint, false, y, adjoint_w), convolve(*reference, p, true, y, w)));
    EXPECT_TRUE(equal(gathered(weight_gradient(*reference, folded, x, y), p.weight_count(),
                               [&](int64_t i) { return fold.place_in_folded(i); }),
                      weight_gradient(*reference, p, x, y)));
  }
}

TEST(Fold, EveryWeightHasOnePlace) {
  for (const Conv3dProblem& p : problems) {
    const Fold fold(p);
    for (int64_t i = 0; i < p.weight_count(); ++i)
      EXPECT_EQ(fold.source_of_folded(fold.place_in_folded(i)), i);
    int64_t zeros = 0, zeros_of_adjoint = 0;
    for (int64_t i = 0; i < fold.weight_count(); ++i) {
      zeros += fold.source_of_folded(i) < 0;
      zeros_of_adjoint += fold.source_of_adjoint(i) < 0;
    }
    EXPECT_EQ(zeros, fold.weight_count() - p.weight_count());
    EXPECT_EQ(zeros_of_adjoint, zeros);
  }
}

TEST(Fold, OfThePublishedLayer) {
  const Fold fold({1, {24, 24, 656}, 32, 64, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}});
  EXPECT_EQ(fold.folded(), (Conv3dProblem{1, {24, 24, 328}, 64, 64, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}}));
  EXPECT_EQ(fold.adjoint(), fold.folded());
}

TEST(Fold, AppliesToPairsOnly) {
  const Conv3dProblem p = {1, {4, 4, 16}, 2, 3, {3, 3, 5}, {1, 1, 2}, {1, 1, 2}};
  auto with = [&](auto change) {
    Conv3dProblem changed = p;
    change(changed);
    return Fold::applies_to(changed);
  };
  EXPECT_TRUE(Fold::applies_to(p));
  EXPECT_FALSE(with([](Conv3dProblem& c) { c.in.e = 17; }));
  EXPECT_FALSE(with([](Conv3dProblem& c) { c.stride.e = 1; }));
  EXPECT_FALSE(with([](Conv3dProblem& c) { c.stride.h = 2; }));
  EXPECT_FALSE(with([](Conv3dProblem& c) { c.padding.w = 3; }));
}

}  // namespace
}  // namespace eelsvae::cuda
#endif
