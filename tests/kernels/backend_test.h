#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/philox.h"
#include "kernels/tolerances.h"
#include "tests/kernels/device_array.h"

namespace eelsvae {

// A device at a precision with its kernels, as make_backend() takes them.
struct BackendChoice {
  std::string device, precision, kernels = "auto";
};

// Every backend of this build with every precision and all kernels it can have; whether this machine has them
// is found out by the test, so that what is left out is seen.
inline std::vector<BackendChoice> backend_choices() {
  std::vector<BackendChoice> choices;
  for (const BackendFactory* factory : backend_factories()) {
    const std::string kind = factory->kind;
    if (kind == "reference") {
      choices.push_back({kind, "fp64"});
    } else if (kind == "cpu") {
      for (const cpu::InstructionSet set : cpu::instruction_sets())
        if (!cpu::is_for_bf16_alone(set)) choices.push_back({kind, "fp32", name_of(set)});
      for (const cpu::InstructionSet set : cpu::instruction_sets())
        choices.push_back({kind, "bf16", name_of(set)});
    } else {
      for (const char* precision : {"fp32", "tf32", "bf16"}) choices.push_back({kind, precision});
    }
  }
  return choices;
}

inline std::string name_of(const BackendChoice& choice) {
  return choice.device + "_" + choice.precision + (choice.kernels == "auto" ? "" : "_" + choice.kernels);
}
inline void PrintTo(const BackendChoice& choice, std::ostream* stream) {
  *stream << name_of(choice);
}

// A test that runs on every choice, with the reference backend beside it. The reference itself is one of the
// choices: it has to pass the tests against values and formulas written down in the tests.
class BackendTest : public testing::TestWithParam<BackendChoice> {
 protected:
  void SetUp() override {
    try {
      backend_ = make_backend(GetParam().device, GetParam().precision, GetParam().kernels);
    } catch (const UserError& error) {
      GTEST_SKIP() << error.what();
    }
    reference_ = make_backend("reference", "auto");
  }

  Backend& backend() { return *backend_; }
  Backend& reference() { return *reference_; }
  DType activation() const { return backend_->storage_type(); }
  DType master() const { return backend_->master_type(); }
  // Of one operation that reads or writes activations, and of one in the master type throughout.
  double tolerance() const { return tolerance_of(backend_->precision()).operation; }
  double master_tolerance() const { return tolerance_of(master()).operation; }

 private:
  std::unique_ptr<Backend> backend_, reference_;
};

inline std::string choice_name(const testing::TestParamInfo<BackendChoice>& choice) {
  return name_of(choice.param);
}
#define EELSVAE_FOR_EACH_BACKEND(suite) \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, testing::ValuesIn(backend_choices()), choice_name)

// Standard normal numbers times `scale`; a `draw` of its own for each array of a test.
inline Values random_normal(int64_t count, double scale, uint64_t draw) {
  Values values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    Philox4 words = philox(/*key=*/draw, i, 0);
    values[i] = scale * normal_pair(words.v[0], words.v[1]).first;
  }
  return values;
}

// Integers from -largest to largest.
inline Values random_integers(int64_t count, int largest, uint64_t draw) {
  Values values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] =
        static_cast<int>(philox(/*key=*/draw, i, 1).v[0] % static_cast<uint32_t>(2 * largest + 1)) - largest;
  return values;
}

inline double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// ||actual - expected|| <= tolerance ||expected||, and every element a number.
inline testing::AssertionResult close(const Values& actual, const Values& expected, double tolerance) {
  if (actual.size() != expected.size())
    return testing::AssertionFailure() << actual.size() << " values, expected " << expected.size();
  double difference = 0;
  size_t worst = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    if (!std::isfinite(actual[i]))
      return testing::AssertionFailure() << "[" << i << "] is " << actual[i] << ", expected " << expected[i];
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    if (std::abs(actual[i] - expected[i]) > std::abs(actual[worst] - expected[worst])) worst = i;
  }
  if (std::sqrt(difference) <= tolerance * std::sqrt(dot(expected, expected)))
    return testing::AssertionSuccess();
  return testing::AssertionFailure() << "relative error " << std::sqrt(difference / dot(expected, expected))
                                     << " > " << tolerance << ", worst at [" << worst
                                     << "]: " << actual[worst] << ", expected " << expected[worst];
}

inline testing::AssertionResult equal(const Values& actual, const Values& expected) {
  if (actual.size() != expected.size())
    return testing::AssertionFailure() << actual.size() << " values, expected " << expected.size();
  size_t wrong = 0, first = 0;
  for (size_t i = actual.size(); i-- > 0;)
    if (!(actual[i] == expected[i])) {
      ++wrong;
      first = i;
    }
  if (wrong == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << wrong << " of " << actual.size() << " differ, first at [" << first
                                     << "]: " << actual[first] << ", expected " << expected[first];
}

// The derivative of `function` with respect to each element of `at`, by central differences.
template <typename Function>
Values finite_differences(Function function, Values at, double step) {
  Values derivative(at.size());
  for (size_t i = 0; i < at.size(); ++i) {
    double centre = at[i];
    at[i] = centre + step;
    double above = function(at);
    at[i] = centre - step;
    double below = function(at);
    at[i] = centre;
    derivative[i] = (above - below) / (2 * step);
  }
  return derivative;
}

}  // namespace eelsvae
