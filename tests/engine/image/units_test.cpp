#include "engine/image/units.h"

#include <gtest/gtest.h>

namespace eelsvae {
namespace {

TEST(Units, OfEnergyAndLength) {
  EXPECT_EQ(electronvolts("keV"), 1e3);
  EXPECT_EQ(electronvolts("MeV"), 1e6);
  for (const char* unit : {"eV", "EV", "eV ", "[eV]", " (ev)", "electron volts"})
    EXPECT_EQ(electronvolts(unit), 1) << unit;
  EXPECT_EQ(electronvolts("KeV"), 1e3);
  EXPECT_EQ(electronvolts("[]"), std::nullopt);
  EXPECT_EQ(electronvolts("nm"), std::nullopt);
  EXPECT_EQ(electronvolts(""), std::nullopt);
  EXPECT_EQ(nanometres("\u00c5"), 0.1);
  EXPECT_EQ(nanometres("[nm]"), 1);
  EXPECT_EQ(nanometres("eV"), std::nullopt);
  EXPECT_EQ(nanometres("1/nm"), std::nullopt);
}

TEST(Units, StandInNames) {
  EXPECT_EQ(energy_unit_in("energy_meV"), "meV");
  EXPECT_EQ(energy_unit_in("loss (keV)"), "keV");
  EXPECT_EQ(energy_unit_in("energy"), "");
}

TEST(Units, ConvertBothNumbersOfAnAxis) {
  Axis axis{"Energy loss", "keV", 0.5, 0.001, 10};
  convert_units(axis);
  EXPECT_EQ(axis, (Axis{"Energy loss", "eV", 500, 1, 10}));
  const Axis frames{"t", "s", 1, 2, 3};
  Axis same = frames;
  convert_units(same);
  EXPECT_EQ(same, frames);
}

}  // namespace
}  // namespace eelsvae
