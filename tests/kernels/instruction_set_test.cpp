#include "kernels/cpu/instruction_set.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <optional>

#include "kernels/backend.h"

namespace eelsvae::cpu {
namespace {

class InstructionSetTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const char* before = getenv("EELSVAE_MAX_ISA")) before_ = before;
    unsetenv("EELSVAE_MAX_ISA");
    all_ = usable_instruction_sets();
  }
  void TearDown() override {
    if (before_)
      setenv("EELSVAE_MAX_ISA", before_->c_str(), 1);
    else
      unsetenv("EELSVAE_MAX_ISA");
  }
  std::vector<InstructionSet> under(const char* cap) const {
    setenv("EELSVAE_MAX_ISA", cap, 1);
    return usable_instruction_sets();
  }

  std::optional<std::string> before_;
  std::vector<InstructionSet> all_;
};

TEST_F(InstructionSetTest, TheLeastComesFirstAndEachHasAName) {
  ASSERT_FALSE(all_.empty());
  EXPECT_TRUE(std::is_sorted(all_.begin(), all_.end()));
  for (const InstructionSet set : all_) EXPECT_EQ(instruction_set_named(name_of(set)), set);
  EXPECT_EQ(instruction_set_named("sse9"), std::nullopt);
}

#ifdef __x86_64__

TEST_F(InstructionSetTest, TheEnvironmentCapsThem) {
  EXPECT_EQ(under("avx2"), std::vector<InstructionSet>{InstructionSet::avx2});
  for (const InstructionSet cap : all_) {
    const std::vector<InstructionSet> sets = under(name_of(cap));
    EXPECT_EQ(sets.back(), cap);
    EXPECT_TRUE(std::equal(sets.begin(), sets.end(), all_.begin()));
  }
  EXPECT_EQ(under("amx"), all_);  // a cap does not lend what the processor lacks
  EXPECT_EQ(under(""), all_);
  for (const char* nonsense : {"avx", "AVX2", "generic", "avx2 "})
    EXPECT_THROW(under(nonsense), UserError) << nonsense;
}

TEST_F(InstructionSetTest, ABackendIsMadeOnlyOfWhatMayBeUsed) {
  setenv("EELSVAE_MAX_ISA", "avx2", 1);
  const BackendOffer offer = find_backend("cpu", "auto");
  const std::vector<BackendVariant> expected = {{"fp32", "avx2"}, {"bf16", "avx2"}};
  EXPECT_EQ(offer.variants, expected);
  EXPECT_THROW(make_backend("cpu", "fp32", "avx512"), UserError);
  EXPECT_EQ(make_backend("cpu", "bf16", "avx2")->kernels(), "avx2");
}

// In f32 all processors with AVX-512 compute the same: there is one name for it.
TEST_F(InstructionSetTest, VariantsDifferInWhatTheyCompute) {
  const BackendOffer offer = find_backend("cpu", "fp32");
  EXPECT_EQ(offer.variants.size(), std::min<size_t>(all_.size(), 2));
  EXPECT_EQ(find_backend("cpu", "bf16").variants.size(), all_.size());
}

#endif

}  // namespace
}  // namespace eelsvae::cpu
