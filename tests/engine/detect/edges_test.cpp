#include "engine/detect/edges.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace eelsvae {
namespace {

TEST(Edges, TheTableIsWhole) {
  std::set<std::string> names, elements;
  for (const Edge& edge : all_edges()) {
    EXPECT_TRUE(names.insert(edge.name()).second) << edge.name() << " twice";
    EXPECT_TRUE(edge.onset_ev > 10 && edge.onset_ev <= 8000) << edge.name();
    EXPECT_TRUE(std::string("KLMNO").find(edge.shell[0]) != std::string::npos) << edge.name();
    elements.insert(edge.element);
  }
  EXPECT_TRUE(std::ranges::is_sorted(all_edges(), {}, &Edge::onset_ev));
  for (const char* element : {"H", "Li", "C", "O", "Fe", "La", "Bi", "U", "fe", "BI"})
    EXPECT_TRUE(is_element(element)) << element;
  for (const char* other : {"", "Xx", "Fe L3"}) EXPECT_FALSE(is_element(other)) << other;
  EXPECT_GE(elements.size(), 83u);
  // L2 lies above L3, M4 above M5: spin-orbit splitting.
  for (const auto& [upper, lower] : {std::pair{" L2", " L3"}, {" M4", " M5"}, {" M2", " M3"}})
    for (const Edge& edge : all_edges())
      if (edge.name().ends_with(upper)) {
        const auto other = std::ranges::find(all_edges(), edge.element + lower, &Edge::name);
        EXPECT_TRUE(other == all_edges().end() || edge.onset_ev > other->onset_ev) << edge.name();
      }
}

TEST(Edges, NearADeviation) {
  const std::vector<std::string> bfo = {"Bi", "Fe", "O"};
  EXPECT_EQ(text_of(edges_near(706, 714, bfo)), "Fe L3 708");
  EXPECT_EQ(text_of(edges_near(700, 725, bfo)), "Fe L3 708, Fe L2 721");
  EXPECT_EQ(text_of(edges_near(700, 725, std::vector<std::string>{"fe"})), "Fe L3 708, Fe L2 721");
  EXPECT_EQ(text_of(edges_near(714, 717, bfo)), "Fe L3 708") << "its white line";
  EXPECT_EQ(text_of(edges_near(600, 610, bfo)), "");
  EXPECT_EQ(text_of(edges_near(840, 850, bfo)), "Fe L1 846") << "a minor one, of an element that is given";
  EXPECT_EQ(text_of(edges_near(530, 536, {})), "Sb M5 528, O K 532, V L2 521");
  EXPECT_EQ(edges_near(0, 5000, {}).size(), 3u);
}

}  // namespace
}  // namespace eelsvae
