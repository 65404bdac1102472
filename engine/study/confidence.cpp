#include "engine/study/confidence.h"

#include <boost/math/distributions/binomial.hpp>

#include "kernels/error.h"

namespace eelsvae {

std::array<double, 2> clopper_pearson(int64_t count, int64_t total, double confidence) {
  expect(0 <= count && count <= total && 0 < confidence && confidence < 1, "not a count of trials");
  if (total == 0) return {0, 1};
  using Binomial = boost::math::binomial_distribution<double>;
  const double tail = (1 - confidence) / 2, k = static_cast<double>(count), n = static_cast<double>(total);
  return {Binomial::find_lower_bound_on_p(n, k, tail), Binomial::find_upper_bound_on_p(n, k, tail)};
}

}  // namespace eelsvae
