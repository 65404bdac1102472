#pragma once

#include <string>
#include <vector>

namespace eelsvae {

// The largest of 1, 2 and 5 times a power of ten that does not exceed a positive value.
double round_length(double value);

struct Tick {
  double value;
  std::string label;
};

// At most `at_most` + 1 round values in an interval, with the decimals that their spacing needs.
std::vector<Tick> ticks(double low, double high, int at_most);

}  // namespace eelsvae
