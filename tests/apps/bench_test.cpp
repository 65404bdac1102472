#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class BenchTest : public ProgramsTest {
 protected:
  BenchTest() { write_config(); }

  // A network that takes no time, measured for as short as that goes.
  ProgramResult bench(std::vector<std::string> arguments) const {
    for (const char* more : {"--config", "tiny.json", "--energy", "32", "--seconds", "0.01"})
      arguments.push_back(more);
    return program("bench", arguments);
  }
  json measured(const std::vector<std::string>& arguments) const {
    const ProgramResult result = bench(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_NE(result.out.find("ceilings: "), std::string::npos) << result.out;
    return json::parse(read_bytes(path("bench.json")));
  }

  static void expect_timing(const json& timing) {
    EXPECT_GT(timing.at("minimum"), 0);
    EXPECT_LE(timing.at("minimum"), timing.at("quartile1"));
    EXPECT_LE(timing.at("quartile1"), timing.at("median"));
    EXPECT_LE(timing.at("median"), timing.at("quartile3"));
    EXPECT_LE(timing.at("quartile3"), timing.at("maximum"));
    EXPECT_GE(timing.at("repetitions"), 3);
  }
};

TEST_F(BenchTest, MeasuresBothModesOfEveryBatch) {
  const json found = measured({"--device", "cpu", "--batch", "1", "3", "--json", "bench.json"});
  EXPECT_EQ(found.at("complete"), true);
  EXPECT_EQ(found.at("device"), "cpu");
  EXPECT_EQ(found.at("precision"), "fp32");
  EXPECT_EQ(found.at("batch"), 1);
  EXPECT_EQ(found.at("model").at("energy"), 32);
  EXPECT_GT(found.at("ceilings").at("copy_bytes_per_second"), 0);
  EXPECT_GT(found.at("ceilings").at("matrix_flops_per_second"), 0);
  const json& loops = found.at("ceilings").at("loops");
  for (const char* loop : {"FMA f32", "read", "update in place", "copy"}) {
    EXPECT_GT(loops.at(loop), 0);
    const bool computes = std::string(loop).starts_with("FMA");
    if (std::string(loop) == "read")
      EXPECT_EQ(found.at("ceilings").at("read_bytes_per_second"), loops.at(loop));
    else
      EXPECT_GE(found.at("ceilings").at(computes ? "flops_per_second" : "bytes_per_second"), loops.at(loop));
  }
  for (const json& check : found.at("checks")) EXPECT_LE(check.at("error"), check.at("tolerance")) << check;

  const json& measurements = found.at("measurements");
  ASSERT_EQ(measurements.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const json& m = measurements[i];
    const bool training = i < 2;
    EXPECT_EQ(m.at("mode"), training ? "training" : "inference");
    EXPECT_EQ(m.at("batch"), i % 2 == 0 ? 1 : 3);
    EXPECT_EQ(m.contains("latency_seconds"), !training && m.at("batch") == 1);
    expect_timing(m.at("step_seconds"));
    expect_timing(m.at("overlapped_seconds"));
    if (training)
      for (const char* phase : {"forward_seconds", "backward_seconds", "update_seconds"})
        expect_timing(m.at(phase));
    const double tiles = m.at("tiles_per_second"), spectra = m.at("spectra_per_second");
    EXPECT_NEAR(spectra, 64 * tiles, 1e-9 * spectra);
    EXPECT_GT(m.at("share_of_floor"), 0);
    EXPECT_FALSE(m.contains("operations"));  // nobody asked for them
    // Weights are read by the forward and the backward pass; they and two moments go in and out.
    EXPECT_EQ(m.at("bytes_per_parameter"), training ? 32 : 4);
  }
  EXPECT_EQ(found.at("training_step_seconds"), measurements[0].at("step_seconds").at("median"));
  EXPECT_EQ(found.at("inference_seconds"), measurements[2].at("step_seconds").at("median"));
  const json& latency = measurements[2].at("latency_seconds");
  EXPECT_LE(latency.at("p50"), latency.at("p90"));
  EXPECT_LE(latency.at("p90"), latency.at("p99"));
  EXPECT_LE(latency.at("p99"), latency.at("maximum"));
}

TEST_F(BenchTest, ListsTheOperationsOfAStepInOrder) {
  const json found = measured({"--device", "cpu", "--training", "--roofline", "--json", "bench.json"});
  EXPECT_TRUE(found.at("inference_seconds").is_null());
  ASSERT_EQ(found.at("measurements").size(), 1u);
  // Of the configuration. 8 x 8 x 32 tiles, channels 2, 3, 4, 5: the first convolution makes
  // 8 * 8 * 16 positions of 7 taps into 2 channels.
  EXPECT_EQ(found.at("batch"), 4);
  const json& operations = found.at("measurements")[0].at("operations");
  std::vector<std::string> layers;
  std::map<std::string, double> flops;
  for (const json& operation : operations) {
    if (operation.at("phase") == "forward") layers.push_back(operation.at("layer"));
    flops[operation.at("layer").get<std::string>() + " " + operation.at("operation").get<std::string>()] =
        operation.at("flops");
    EXPECT_GT(operation.at("bytes"), 0) << operation;
    expect_timing(operation.at("seconds"));
  }
  EXPECT_EQ(layers, (std::vector<std::string>{"encoder.0", "encoder.2", "encoder.4", "encoder.6", "encoder.9",
                                              "encoder.11", "latent", "decoder.0", "decoder.2", "decoder.5",
                                              "decoder.7", "decoder.9", "decoder.11", "loss"}));
  const double first = 4 * 2.0 * 8 * 8 * 16 * 7 * 2;
  EXPECT_EQ(flops.at("encoder.0 forward"), first);
  EXPECT_EQ(flops.at("encoder.0 weight gradient"), first);
  EXPECT_EQ(flops.count("encoder.0 data gradient"), 0u);  // nobody needs it
  EXPECT_EQ(flops.at("decoder.11 data gradient"), first);
  EXPECT_EQ(flops.at("encoder.11 Adam"), 4 * 2.0 * 8 * 6);
  EXPECT_EQ(flops.count("parameters clip"), 1u);
  EXPECT_EQ(flops.count("decoder.11 pack"), 1u);
}

TEST_F(BenchTest, RooflineHasALineForEveryOperation) {
  const ProgramResult result =
      bench({"--device", "cpu", "--inference", "--batch", "1", "--roofline", "--processor-time"});
  EXPECT_EQ(result.status, 0) << result.err;
  for (const char* text : {"bound by", "encoder.0", "decoder.11", "reconstruction", "\n  sum"})
    EXPECT_NE(result.out.find(text), std::string::npos) << text << "\n" << result.out;
}

TEST_F(BenchTest, ReferenceIsMeasuredLikeAnyDevice) {
  const json found = measured({"--device", "reference", "--precision", "auto", "--inference", "--batch", "1",
                               "--roofline", "--json", "bench.json"});
  EXPECT_EQ(found.at("device"), "reference");
  EXPECT_EQ(found.at("precision"), "fp64");
  EXPECT_TRUE(found.at("training_step_seconds").is_null());
  EXPECT_GT(found.at("inference_seconds"), 0);
}

TEST_F(BenchTest, WhatDoesNotFitIsALineAndTheRestGoesOn) {
  const ProgramResult result = bench({"--device", "cpu", "--inference", "--batch", "1048576", "1"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("tiles would fit"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("latency to the scores"), std::string::npos) << result.out;
}

TEST_F(BenchTest, AKilledRunLeavesWhatItMeasured) {
  std::vector<std::string> arguments = {"--device",  "cpu",      "--roofline", "--config",
                                        "tiny.json", "--energy", "32",         "--seconds",
                                        "0.05",      "--json",   "bench.json", "--batch"};
  constexpr size_t batches = 100;
  for (size_t batch = 1; batch <= batches; ++batch) arguments.push_back(std::to_string(batch));
  RunningProgram running(app("bench", arguments), options_);
  // Whoever looks meanwhile always finds a whole file.
  std::set<size_t> seen;
  ASSERT_TRUE(running.wait_until([&] {
    if (!std::filesystem::exists(path("bench.json"))) return false;
    const json found = json::parse(read_bytes(path("bench.json")));
    EXPECT_EQ(found.at("complete"), false);
    seen.insert(found.at("measurements").size());
    return seen.contains(2);
  }));
  running.send(SIGKILL);
  EXPECT_EQ(running.result().status, 128 + SIGKILL);

  EXPECT_TRUE(seen.contains(0));  // of ceilings, before any step was timed
  const json found = json::parse(read_bytes(path("bench.json")));
  EXPECT_EQ(found.at("complete"), false);
  EXPECT_GT(found.at("training_step_seconds"), 0);
  const json& measurements = found.at("measurements");
  ASSERT_GE(measurements.size(), 2u);
  EXPECT_LT(measurements.size(), batches);
  EXPECT_TRUE(measurements[0].contains("operations"));
  for (const json& measurement : measurements) expect_timing(measurement.at("step_seconds"));
}

TEST_F(BenchTest, Mistakes) {
  const auto before = contents(path("."));
  const auto expect_line = [&](const std::vector<std::string>& arguments, const std::string& text) {
    expect_mistake(program("bench", arguments), {text});
  };
  expect_line({"--energy", "100"}, "multiple of 16");
  expect_line({"--energy", "-16"}, "--energy");
  expect_line({"--batch", "0"}, "--batch");
  expect_line({"--seconds", "0"}, "--seconds");
  expect_line({"--device", "abacus", "--energy", "32"}, "abacus");
  expect_line({"--device", "cpu", "--precision", "tf32", "--energy", "32"}, "tf32");
  expect_line({"--config", "missing.json"}, "missing.json");
  expect_line({"--config", "tiny.json", "--energy", "32", "--json", "missing/bench.json"},
              "cannot write missing/bench.json");
  EXPECT_EQ(contents(path(".")), before);
}

}  // namespace
}  // namespace eelsvae
