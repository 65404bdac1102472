#include "engine/network/kernel_choice.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "kernels/plan_cache.h"
#include "tests/kernels/plan_cache_folder.h"

namespace eelsvae {
namespace {

const ModelShape small = {
    .image_size = 8, .energy = 64, .channels = {4, 8, 8, 16}, .hidden = 32, .latent = 4};

class KernelChoiceTest : public PlanCacheFolderTest {
 protected:
  static KernelChoice choose(const BackendOffer& offer, Purpose purpose = Purpose::training,
                             const ModelShape& shape = small) {
    return choose_kernels(offer, shape, ReconstructionLoss::cross_entropy, 2, purpose);
  }
};

TEST_F(KernelChoiceTest, TheFastestOfTheMeasuredIsTakenAndRemembered) {
  BackendOffer offer = find_backend("cpu", "auto");
  if (offer.variants.size() == 1) offer.variants.push_back(offer.variants.front());
  const KernelChoice first = choose(offer);
  EXPECT_EQ(first.origin, KernelChoice::Origin::measured);
  ASSERT_EQ(first.times.size(), offer.variants.size());
  const auto least = std::min_element(first.times.begin(), first.times.end(),
                                      [](const auto& a, const auto& b) { return a.seconds < b.seconds; });
  EXPECT_GT(least->seconds, 0);
  EXPECT_EQ(first.variant, least->variant);
  EXPECT_NE(describe(first).find(least->variant.precision), std::string::npos);

  // Of these kernels: others are measured anew.
  std::ifstream in(file());
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  EXPECT_NE(text.find("kernels " + kernels_version()), std::string::npos) << text;

  const KernelChoice second = choose(offer);
  EXPECT_EQ(second.origin, KernelChoice::Origin::remembered);
  EXPECT_EQ(second.variant, first.variant);
  as_another_process();
  EXPECT_EQ(choose(offer).origin, KernelChoice::Origin::remembered);
  // Another use of the same network is another question.
  EXPECT_EQ(choose(offer, Purpose::inference).origin, KernelChoice::Origin::measured);
  EXPECT_EQ(choose(offer, Purpose::inference).origin, KernelChoice::Origin::remembered);
}

TEST_F(KernelChoiceTest, WhatWasRememberedIsTakenEvenIfItIsNotTheFirst) {
  const BackendOffer offer = find_backend("cpu", "auto");
  choose(offer);
  // The file, with every answer replaced by the last variant.
  std::ifstream in(file());
  std::string text((std::istreambuf_iterator<char>(in)), {});
  const BackendVariant last = offer.variants.back();
  const size_t begin = text.rfind(": \"") + 3, end = text.find('"', begin);
  text.replace(begin, end - begin, last.precision + " " + last.kernels);
  std::ofstream(file()) << text;
  as_another_process();
  EXPECT_EQ(choose(offer).variant, last);
}

TEST_F(KernelChoiceTest, ASingleWayIsNotMeasured) {
  const BackendOffer offer = find_backend("reference", "auto");
  const KernelChoice choice = choose(offer);
  EXPECT_EQ(choice.origin, KernelChoice::Origin::only);
  EXPECT_EQ(choice.variant, offer.variants.front());
  EXPECT_EQ(describe(choice), "");
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__)  // kernels take much longer otherwise

// Of the published network too: its layers are timed in part.
TEST_F(KernelChoiceTest, TakesAboutASecond) {
  const auto began = std::chrono::steady_clock::now();
  choose(find_backend("cpu", "auto"), Purpose::training, ModelShape());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
  EXPECT_LT(seconds.count(), 30) << "a slow machine beside other work is allowed a good deal more";
}

#endif

}  // namespace
}  // namespace eelsvae
