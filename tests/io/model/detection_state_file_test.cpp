#include "io/model/detection_state_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include <nlohmann/json.hpp>

#include "engine/detect/detection.h"
#include "engine/detect/kept_detection.h"
#include "engine/specimen/simulate.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

SpectrumImage film(uint64_t noise_seed) {
  SimulationSettings s;
  s.height = s.width = 32;
  s.channels = 64;
  s.energy_offset_ev = 690;
  s.dispersion_ev = 1.5;
  s.exposure = 8;
  s.seed = 4;
  s.noise_seed = noise_seed;
  return simulate(s).image;
}

DetectionState state_by(const char* baseline) {
  PreprocessConfig preprocess;
  preprocess.scaling_method = std::string(baseline) == "mean" ? Scaling::quantile : Scaling::robust_minmax;
  return learn_state(film(1), parse_baseline(baseline), preprocess, {}, std::nullopt);
}

std::vector<float> scores(const DetectionState& state) {
  const PreparedImage prepared = prepare(film(2), state.preprocess, std::nullopt, &state.fitted);
  return detect(prepared.image, expect_from(*state.baseline, prepared.image), state.preprocess,
                state.detection, {}, {}, &state)
      .scores;
}

class DetectionStateFile : public FileTest {
 protected:
  // The same file with other metadata, or other tensors.
  void expect_refused(const DetectionState& state, const std::function<void(json&)>& change,
                      const std::string& says) {
    const std::vector<std::byte> content = detection_state_content(state);
    const SafetensorsFile file(content, "state");
    json j = json::parse(file.metadata().begin()->second);
    change(j);
    std::vector<SafetensorsEntry> entries;
    for (const std::string& name : file.names()) {
      const TensorView& tensor = file.tensor(name);
      entries.push_back(
          {name, tensor.dtype, tensor.shape, [=](const ByteSink& sink) { sink(tensor.data, tensor.bytes); }});
    }
    write_safetensors(path("changed"), entries, {{file.metadata().begin()->first, j.dump()}});
    try {
      load_detection_state(path("changed"));
      ADD_FAILURE() << "taken, where it should say '" << says << "'";
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what();
    }
  }
};

TEST_F(DetectionStateFile, ComesBackWithTheSameBits) {
  for (const char* baseline : {"mean", "pca:3", "rx:5"}) {
    const DetectionState state = state_by(baseline);
    write_detection_state(path("state.safetensors"), state);
    const DetectionState back = load_detection_state(path("state.safetensors"));
    EXPECT_EQ(detection_state_content(back), detection_state_content(state)) << baseline;
    EXPECT_EQ(scores(back), scores(state)) << baseline;
    EXPECT_EQ(back.baseline->describe(), state.baseline->describe());
  }
  EXPECT_EQ(state_file(path("")), path("state.safetensors")) << "in a folder";
}

TEST_F(DetectionStateFile, RefusesWhatIsNone) {
  EXPECT_THROW(load_detection_state(path("missing")), UserError);
  write_safetensors(path("other"), {}, {{"format", "pt"}});
  EXPECT_THROW(load_detection_state(path("other")), UserError);
  std::filesystem::create_directory(path("folder"));
  EXPECT_THROW(load_detection_state(path("folder")), UserError);
}

TEST_F(DetectionStateFile, RefusesDamagedOnes) {
  const DetectionState state = state_by("pca:2");
  expect_refused(
      state, [](json& j) { j["version"] = 2; }, "version 2");
  expect_refused(
      state, [](json& j) { j.erase("null"); }, "null");
  expect_refused(
      state, [](json& j) { j["null"]["scale"] = 0; }, "no positive scale");
  expect_refused(
      state, [](json& j) { j["null"]["family"] = "cauchy"; }, "unknown law");
  expect_refused(
      state, [](json& j) { j["energy"]["size"] = 1 << 30; }, "another type or size");
  expect_refused(
      state, [](json& j) { j["energy"]["scale"] = -1; }, "dispersion");
  expect_refused(
      state, [](json& j) { j["noise"]["floor"] = -1; }, "noise");
  expect_refused(
      state, [](json& j) { j["level"] = 0; }, "noise along a component");
  expect_refused(
      state, [](json& j) { j["baseline"]["name"] = "pca:nine"; }, "no baseline");
  expect_refused(
      state, [](json& j) { j["baseline"]["name"] = "mean"; }, "belong together");
  expect_refused(
      state, [](json& j) { j.erase("baseline"); }, "neither");
  expect_refused(
      state, [](json& j) { j["model"] = "0123456789abcdef"; }, "both");
  expect_refused(
      state, [](json& j) { j["config"]["detection"]["score"] = "joint"; }, "cannot be kept");
  expect_refused(
      state, [](json& j) { j["config"]["detection"]["no_such_key"] = 1; }, "no_such_key");
}

}  // namespace
}  // namespace eelsvae
