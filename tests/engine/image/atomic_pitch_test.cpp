#include "engine/image/atomic_pitch.h"

#include <gtest/gtest.h>

#include "engine/specimen/simulate.h"

namespace eelsvae {
namespace {

SpectrumImage scan(Preset preset, uint64_t seed, double exposure = 1) {
  SimulationSettings s;
  s.preset = preset;
  s.height = s.width = 96;
  s.channels = 64;
  s.energy_offset_ev = 690;
  s.dispersion_ev = 0.6;
  s.exposure = exposure;
  s.seed = seed;
  return simulate(s).image;
}

TEST(AtomicPitch, IsThatOfTheLattice) {
  for (uint64_t seed : {1, 2, 3})
    for (double exposure : {0.3, 4.0}) {
      // In pixels of 0.04 nm, the cells' sides are 9.9 along [001], 9.9 and 7.0 along [110], and the pattern
      // may repeat within: columns of A and of B are much alike in their totals.
      for (Preset preset : {Preset::lattice, Preset::lattice_110, Preset::lattice_interface}) {
        const auto pitch = atomic_pitch(scan(preset, seed, exposure));
        ASSERT_TRUE(pitch) << preset_name(preset) << " " << seed << " " << exposure;
        EXPECT_GT(*pitch, 4.5) << preset_name(preset);
        EXPECT_LT(*pitch, 10.6) << preset_name(preset);
      }
    }
}

TEST(AtomicPitch, IsAbsentWhereAtomsAreNotResolved) {
  for (Preset preset : {Preset::bfo, Preset::interface, Preset::gradient, Preset::drift, Preset::wedge,
                        Preset::damage, Preset::hetero, Preset::polycrystal})
    for (uint64_t seed : {1, 2, 3}) {
      SpectrumImage image = scan(preset, seed, 4);
      image.y.units = image.x.units = "";  // by its pattern alone
      EXPECT_FALSE(atomic_pitch(image)) << preset_name(preset) << " " << seed;
    }
}

TEST(AtomicPitch, IsAbsentWherePixelsAreTooLargeOrTooFew) {
  SpectrumImage image = scan(Preset::lattice, 1);
  image.x.scale = 1;
  EXPECT_FALSE(atomic_pitch(image));
  SimulationSettings s;
  s.preset = Preset::lattice;
  s.height = 8;
  s.width = 100;
  s.channels = 16;
  EXPECT_FALSE(atomic_pitch(simulate(s).image));
}

}  // namespace
}  // namespace eelsvae
