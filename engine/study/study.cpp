#include "engine/study/study.h"

namespace eelsvae {
namespace {

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace

double ThresholdOutcome::precision() const {
  return share(hits, hits + false_alarms);
}
double ThresholdOutcome::recall() const {
  return share(hits, hits + missed);
}
double ThresholdOutcome::f1() const {
  return share(2 * hits, 2 * hits + false_alarms + missed);
}

}  // namespace eelsvae
