#include "engine/detect/change_words.h"

#include <gtest/gtest.h>

namespace eelsvae {
namespace {

using Elements = std::vector<std::string>;

std::string said(const Change& change, const Elements& elements = {"Fe", "O", "Ti"}) {
  return sentence(change, elements);
}

TEST(ChangeWords, NameEdgesAndUncertainties) {
  EXPECT_EQ(said({ChangeKind::shift, 716, 717.5, 0, 1.2345, 0.0312}), "Fe L3 moved by +1.23 ± 0.03 eV");
  EXPECT_EQ(said({ChangeKind::shift, 716, 730, 0, -1.2345, 0.312}), "Fe L2,3 moved by -1.2 ± 0.3 eV");
  EXPECT_EQ(said({ChangeKind::amount, 716, 730, 0, 1.6, 0.16}), "Fe L2,3 1.60 ± 0.16 times as strong");
  EXPECT_EQ(said({ChangeKind::width, 534, 546, 0, 0.41, 0.12}), "O K 0.41 ± 0.12 eV broader");
  EXPECT_EQ(said({ChangeKind::width, 534, 546, 0, -0.4, 0.2}), "O K 0.4 ± 0.2 eV narrower");
  EXPECT_EQ(said({ChangeKind::ratio, 717.5, 730, 0, 1.5, 0.3}), "Fe L3/L2 1.5 ± 0.3 times as high");
  EXPECT_EQ(said({ChangeKind::peak, 455.2, 455.2, 0.4, 0.5, 0.1}),
            "peak at 455.2 ± 0.4 eV where none is expected (Ti L3 456)");
  EXPECT_EQ(said({ChangeKind::peak, 455.2, 455.2, 12, -0.5, 0.1}),
            "dip at 455 ± 12 eV where none is expected (Ti L3 456, Ti L2 462)");
  EXPECT_EQ(said({ChangeKind::edge, 600, 600, 0.31, 0.5, 0.1}),
            "edge at 600.0 ± 0.3 eV where none is expected");
  EXPECT_EQ(said({ChangeKind::edge, 452, 452, 1.5, 0.5, 0.1}),
            "edge at 452.0 ± 1.5 eV where none is expected (Ti L3 456)");
  EXPECT_EQ(said({ChangeKind::spike, 600, 600, 0.31, 5, 0.1}), "spike in a channel or two at 600.0 eV");
  EXPECT_EQ(said({ChangeKind::intensity, 0, 0, 0, 1.1, 0.02}), "whole spectrum 1.10 ± 0.02 times as bright");
  EXPECT_EQ(said({ChangeKind::background, 0, 0, 0, -0.2, 0.05}),
            "background less steep, r of E^-r changed by -0.20 ± 0.05");
}

TEST(ChangeWords, WithoutElementsOnlyWhatIsUnambiguousHasAName) {
  const Change iron = {ChangeKind::amount, 716, 730, 0, 2, 0.3, 2};
  EXPECT_EQ(said(iron, {}), "Fe L2,3 2.0 ± 0.3 times as strong") << "two of its edges, one of cesium";
  EXPECT_EQ(said({ChangeKind::amount, 534, 538, 0, 2, 0.3}, {}),
            "the peak at 538.0 eV (O K 532, Sb M4 537, Sb M5 528) 2.0 ± 0.3 times as strong");
  EXPECT_EQ(said(iron, {"Bi"}), "the peaks from 716.0 to 730.0 eV 2.0 ± 0.3 times as strong");
  EXPECT_EQ(said({ChangeKind::ratio, 717.5, 722, 0, 1.5, 0.3}),
            "ratio of the peaks at 717.5 and 722.0 eV 1.5 ± 0.3 times as high")
      << "iron's are 13 eV apart";
}

TEST(ChangeWords, SymbolsNeedNoCapitals) {
  const Elements iron = {"fe"};
  EXPECT_EQ(said({ChangeKind::ratio, 717.5, 730, 0, 1.5, 0.3}, iron), "Fe L3/L2 1.5 ± 0.3 times as high");
  EXPECT_EQ(said({ChangeKind::shift, 716, 717.5, 0, 1.2345, 0.0312}, iron), "Fe L3 moved by +1.23 ± 0.03 eV");
}

TEST(ChangeWords, SayWhatIsLeft) {
  const Elements iron = {"Fe"};
  Explanation explanation;
  EXPECT_EQ(sentence(explanation, iron), "") << "nothing was fitted";
  explanation.channels = 200;
  explanation.chi_squared_after = 640;
  EXPECT_EQ(sentence(explanation, iron),
            "none of the known changes explains it, chi-squared 3.2 per channel");
  explanation.changes = {{ChangeKind::shift, 716, 717.5, 0, 1.2, 0.3},
                         {ChangeKind::width, 716, 717.5, 0, 0.5, 0.2}};
  EXPECT_EQ(
      sentence(explanation, iron),
      "Fe L3 moved by +1.2 ± 0.3 eV; Fe L3 0.5 ± 0.2 eV broader; more departs than that, chi-squared 3.2 per "
      "channel is left");
  explanation.chi_squared_after = 210;
  EXPECT_EQ(sentence(explanation, iron), "Fe L3 moved by +1.2 ± 0.3 eV; Fe L3 0.5 ± 0.2 eV broader");
}

}  // namespace
}  // namespace eelsvae
