#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <thread>

#include "engine/detect/job.h"
#include "engine/prepare/preprocess.h"
#include "engine/train/job.h"
#include "io/config/config.h"
#include "io/config/detection_json.h"
#include "io/files/safetensors.h"
#include "io/model/checkpoint.h"
#include "io/model/detection_state_file.h"
#include "tests/interface/film.h"

// The functions of eelsvae.h, as another program calls them.
namespace eelsvae {
namespace {

using nlohmann::json;

struct Found {
  std::vector<float> scores, expected;
  std::vector<uint8_t> mask;
  double threshold;
  bool operator==(const Found&) const = default;
};

Found found_by(eelsvae_session* session, const eelsvae_image& image) {
  eelsvae_detection* made = nullptr;
  api::check(eelsvae_session_detect(session, &image, &made));
  const api::Detection detection(made);
  return {detection.scores(), {}, detection.mask(), detection.threshold()};
}

api::Handle<eelsvae_session> baseline_session(const char* name, const char* config_json = nullptr,
                                              const eelsvae_options* options = nullptr) {
  const api::Config config(config_json);
  eelsvae_session* made = nullptr;
  api::check(eelsvae_session_create_baseline(name, config.get(), options, &made));
  return api::Handle<eelsvae_session>(made);
}

// Bits alike, NaN too.
template <class T>
void expect_same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  ASSERT_EQ(a.size(), b.size());
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(T)), 0);
}

// ---- versions and messages ----

TEST(Interface, SaysItsVersions) {
  EXPECT_EQ(eelsvae_abi_version(), uint32_t{EELSVAE_ABI_VERSION});
  EXPECT_EQ(std::count(eelsvae_version(), eelsvae_version() + std::strlen(eelsvae_version()), '.'), 2);
}

TEST(Interface, MessagesBelongToTheThreadAndToItsLastCall) {
  eelsvae_config* config = nullptr;
  expect_mistake(eelsvae_config_create("{", &config), "configuration: not JSON");
  EXPECT_EQ(config, nullptr);
  std::thread([&] {
    EXPECT_STREQ(eelsvae_last_message(), "");
    expect_mistake(eelsvae_config_create("[]", nullptr), "config is NULL");
  }).join();
  EXPECT_NE(std::string(eelsvae_last_message()).find("not JSON"), std::string::npos);
  ASSERT_EQ(eelsvae_config_create(nullptr, &config), EELSVAE_OK);
  EXPECT_STREQ(eelsvae_last_message(), "");
  eelsvae_config_destroy(config);
}

TEST(Interface, TakesBackNothing) {
  eelsvae_config_destroy(nullptr);
  eelsvae_model_destroy(nullptr);
  eelsvae_session_destroy(nullptr);
  eelsvae_detection_destroy(nullptr);
  eelsvae_state_destroy(nullptr);
  eelsvae_scan_destroy(nullptr);
}

// ---- configurations ----

TEST(Interface, ConfigurationsAreThoseOfThePrograms) {
  EXPECT_EQ(api::Config().json(), to_json_text(Config()));
  const char* text =
      R"({"detection": {"window": [693.3, 730.5], "elements": ["Fe", "O"], "score": "deviance"},
                         "data": {"exclude": [[0, 0, 2, 3]], "data_path": "a \"scan\".dm4"}, "device": "cpu",
                         "training": {"learning_rate": 0.1, "seed": 18446744073709551615}})";
  api::Config config(text);
  EXPECT_EQ(config.json(), to_json_text(parse_config(text, "")));
  // As assignments they come to the same.
  Config again;
  for (const std::string& assignment : assignments_of(text, "text")) set_value(again, assignment);
  EXPECT_EQ(to_json_text(again), config.json());
  config.set("detection.fdr=0.01").set("device=auto");
  EXPECT_EQ(json::parse(config.json())["detection"]["fdr"], 0.01);
}

TEST(Interface, NamesAConfigurationsMistake) {
  eelsvae_config* config = nullptr;
  expect_mistake(eelsvae_config_create(R"({"training": {"epoch": 1}})", &config), "did you mean epochs?");
  expect_mistake(eelsvae_config_create(R"({"training": {"epochs": "x"}})", &config),
                 "configuration: training.epochs: expected a whole number");
  ASSERT_EQ(eelsvae_config_create(nullptr, &config), EELSVAE_OK);
  const api::Handle<eelsvae_config> owner(config);
  const char *before = nullptr, *after = nullptr;
  ASSERT_EQ(eelsvae_config_json(config, &before), EELSVAE_OK);
  const std::string was = before;
  expect_mistake(eelsvae_config_set(config, "detection.fdr=2"), "detection.fdr: must be ");
  EXPECT_EQ(std::string(eelsvae_last_message()).find("--set"), std::string::npos);
  expect_mistake(eelsvae_config_set(config, "nonsense"), "nonsense");
  expect_mistake(eelsvae_config_set(config, nullptr), "assignment is NULL");
  expect_mistake(eelsvae_config_set(config, "data.data_path=\"\xff\xfe"), "data.data_path");
  ASSERT_EQ(eelsvae_config_json(config, &after), EELSVAE_OK);
  EXPECT_EQ(was, after);
}

// ---- images ----

// A film of whole counts below 100, which every type holds.
SpectrumImage film_of_small_counts() {
  SpectrumImage image = film();
  const float largest = *std::ranges::max_element(image.counts);
  for (float& count : image.counts) count = std::round(99 * std::max(count, 0.0f) / largest);
  return image;
}

// Regions, whose explanation takes time, are not what these images are for.
const char* const no_regions = R"({"detection": {"threshold": 1e9}})";

uint16_t half_of(float value) {  // of a whole number below 2048
  if (value == 0) return 0;
  int exponent = 0;
  const float fraction = std::frexp(value, &exponent);  // [0.5, 1)
  return static_cast<uint16_t>(((exponent + 14) << 10) + std::lround((2 * fraction - 1) * 1024));
}

TEST(Interface, TakesCountsOfEveryType) {
  const SpectrumImage counts = film_of_small_counts();
  const api::Handle<eelsvae_session> session = baseline_session("mean", no_regions);
  const Found expected = found_by(session.get(), image_of(counts));
  const auto check_type = [&]<class T>(T, int32_t type, auto&& convert) {
    SCOPED_TRACE(type);
    std::vector<T> values;
    for (const float count : counts.counts) values.push_back(convert(count));
    eelsvae_image image = image_of(counts);
    image.data = values.data();
    image.type = type;
    EXPECT_EQ(found_by(session.get(), image), expected);
  };
  const auto plain = [&]<class T>(T value) {
    check_type(value, api::type_of<T>(), [](float count) { return static_cast<T>(count); });
  };
  plain(int8_t{});
  plain(uint8_t{});
  plain(int16_t{});
  plain(uint16_t{});
  plain(int32_t{});
  plain(uint32_t{});
  plain(int64_t{});
  plain(uint64_t{});
  plain(float{});
  plain(double{});
  check_type(uint16_t{}, EELSVAE_FLOAT16, half_of);
}

// Each order of the axes, every direction of each, gaps between elements.
TEST(Interface, TakesArraysHoweverTheyLie) {
  const SpectrumImage counts = film_of_small_counts();
  const api::Handle<eelsvae_session> session = baseline_session("mean", no_regions);
  const Found expected = found_by(session.get(), image_of(counts));
  const int64_t size[3] = {counts.y.size, counts.x.size, counts.energy.size};
  std::array<int, 3> order = {0, 1, 2};  // slowest first
  do {
    for (int directions = 0; directions < 8; ++directions) {
      SCOPED_TRACE(testing::Message() << order[0] << order[1] << order[2] << ", " << directions);
      constexpr int64_t gap = 2;  // every second element is used
      int64_t stride[3], begin = 0, next = gap;
      for (int d = 3; d-- > 0; next *= size[order[d]]) stride[order[d]] = next;
      for (int d = 0; d < 3; ++d)
        if (directions >> d & 1) {
          begin += (size[d] - 1) * stride[d];
          stride[d] = -stride[d];
        }
      std::vector<double> memory(static_cast<size_t>(next), std::nan(""));
      for (int64_t y = 0; y < size[0]; ++y)
        for (int64_t x = 0; x < size[1]; ++x)
          for (int64_t e = 0; e < size[2]; ++e)
            memory[static_cast<size_t>(begin + y * stride[0] + x * stride[1] + e * stride[2])] =
                counts.counts[static_cast<size_t>((y * size[1] + x) * size[2] + e)];
      eelsvae_image image = image_of(counts);
      image.data = memory.data() + begin;
      image.type = EELSVAE_FLOAT64;
      for (int d = 0; d < 3; ++d) image.strides[d] = stride[d] * int64_t{sizeof(double)};
      EXPECT_EQ(found_by(session.get(), image), expected);
    }
  } while (std::ranges::next_permutation(order).found);
}

TEST(Interface, LeavesOutWhatIsExcluded) {
  SpectrumImage counts = film();
  const auto at = [&](int64_t y, int64_t x) { return static_cast<size_t>(y * counts.x.size + x); };
  std::fill_n(counts.spectrum(int64_t(at(5, 7))), counts.energy.size, std::nanf(""));
  std::vector<uint8_t> excluded(2 * counts.counts.size());  // (x, y), every second byte
  excluded[static_cast<size_t>(2 * (7 * counts.y.size + 5))] = 200;
  eelsvae_image image = image_of(counts);
  const api::Handle<eelsvae_session> session =
      baseline_session("mean", R"({"data": {"exclude": [[20, 0, 24, 2]]}})");
  eelsvae_detection* made = nullptr;
  expect_mistake(eelsvae_session_detect(session.get(), &image, &made), "not finite");
  image.excluded = excluded.data();
  image.excluded_strides[0] = 2;
  image.excluded_strides[1] = 2 * counts.y.size;
  const Found found = found_by(session.get(), image);
  for (int64_t y = 0; y < counts.y.size; ++y)
    for (int64_t x = 0; x < counts.x.size; ++x)
      EXPECT_EQ(std::isnan(found.scores[at(y, x)]), (y == 5 && x == 7) || (y >= 20 && x < 2))
          << y << " " << x;
}

TEST(Interface, NamesAnImagesMistake) {
  const SpectrumImage counts = film();
  const api::Handle<eelsvae_session> session = baseline_session("mean");
  const auto refused = [&](const std::function<void(eelsvae_image&)>& change, const std::string& part) {
    eelsvae_image image = image_of(counts);
    change(image);
    auto* made = reinterpret_cast<eelsvae_detection*>(&image);  // must not stay
    expect_mistake(eelsvae_session_detect(session.get(), &image, &made), part);
    EXPECT_EQ(made, nullptr);
  };
  refused([](auto& image) { image.data = nullptr; }, "image: data is NULL");
  refused([](auto& image) { image.type = 0; }, "image: type is 0; give one of EELSVAE_INT8");
  refused([](auto& image) { image.type = 12; }, "image: type is 12");
  refused([](auto& image) { image.shape[1] = 0; }, "image: shape is (24, 0, 64)");
  refused([](auto& image) { image.shape[0] = -1; }, "image: shape is (-1, 24, 64)");
  refused([](auto& image) { image.shape[0] = INT64_MAX; }, "more elements than memory can hold");
  refused([](auto& image) { image.strides[0] = INT64_MAX; }, "reach further than memory can");
  refused([](auto& image) { image.strides[2] = INT64_MIN; }, "reach further than memory can");
  refused([](auto& image) { image.dispersion = 0; }, "dispersion");
  refused([](auto& image) { image.dispersion = -1; }, "dispersion");
  refused([](auto& image) { image.energy_offset = NAN; }, "energy_offset");
  refused([](auto& image) { image.shape[2] = 8; }, "8 channels, and at least 16 are needed");
  refused([](auto& image) { image.reserved = 1; }, "reserved");
  refused([](auto& image) { image.struct_size = 0; }, "image: struct_size is 0");
  refused([](auto& image) { ++image.struct_size; }, "image: struct_size is ");
  expect_mistake(eelsvae_session_detect(session.get(), nullptr, nullptr), "detection is NULL");
  eelsvae_detection* made = nullptr;
  expect_mistake(eelsvae_session_detect(session.get(), nullptr, &made), "image is NULL");
  expect_mistake(eelsvae_session_detect(nullptr, nullptr, &made), "session is NULL");
  expect_mistake(eelsvae_image_init(nullptr, sizeof(eelsvae_image)), "image is NULL");
  expect_mistake(eelsvae_options_init(nullptr, 3), "options: struct_size is 3");
}

// ---- models ----

class Interfaces : public InterfaceTest {
 protected:
  api::Model trained(api::Options options) const {
    return api::Model::train(image_, api::Config(small_network), std::move(options));
  }
};

// Training and detection are those of engine/train/job.h and engine/detect/job.h.
TEST_F(Interfaces, TrainAndDetectAsTheEngineDoes) {
  const Config config = parse_config(small_network, "");
  const BackendOffer offer = find_backend(config.device, config.precision);
  const PreparedImage prepared = prepare(counts_, config.preprocess, config.data.energy_range);
  TrainingJob job(offer, config, prepared.image);
  job.start();
  BestWeights best(job.model());
  job.run(best);
  const TrainedModel by_engine = job.finish(best);
  const ExpectationSource source = [&](const SpectrumImageView& image) {
    return expect_from(*by_engine.model, image, config.detection);
  };

  const std::string content = model().content();
  const SafetensorsFile file(std::as_bytes(std::span(content)), "content");
  for (const Model::State& state : by_engine.model->states()) {
    if (!state.weight) continue;
    std::vector<float> weights;
    by_engine.model->read_state(state, [&](const float* block, int64_t count) {
      weights.insert(weights.end(), block, block + count);
    });
    const TensorView& tensor = file.tensor(state.name);
    ASSERT_EQ(tensor.bytes, weights.size() * sizeof(float));
    EXPECT_EQ(std::memcmp(tensor.data, weights.data(), tensor.bytes), 0) << state.name;
  }
  EXPECT_EQ(model().tile_size(), 8);
  EXPECT_EQ(model().energy().channels, prepared.image.energy.size);
  EXPECT_EQ(model().energy().offset, prepared.image.energy.offset);
  EXPECT_EQ(model().energy().dispersion, prepared.image.energy.scale);
  EXPECT_EQ(model().config(), to_json_text(config));
  const CheckpointInfo info = read_checkpoint_info(file);
  ASSERT_TRUE(info.comparison);
  EXPECT_TRUE(info.comparison->model);
  EXPECT_TRUE(info.comparison->finds);
  EXPECT_FALSE(info.history.empty());

  const SourceDescription description{SourceDescription::Kind::model, config.tiles.image_size,
                                      info.comparison, true};
  const DetectionResult expected =
      run_detection(prepared.image, source, description, config.preprocess, config.detection);
  api::Options options;
  options.keep_spectra = options.on_training_image = true;
  api::Session session(model(), {}, options);
  const api::Detection found = session.detect(image_);
  EXPECT_EQ(found.height(), 24);
  EXPECT_EQ(found.width(), 24);
  EXPECT_EQ(found.scores(), expected.found.scores);
  EXPECT_EQ(found.mask(), expected.found.mask);
  EXPECT_EQ(found.threshold(), expected.found.threshold);
  EXPECT_EQ(found.anomalous_pixels(), expected.found.anomalous_pixels());
  EXPECT_EQ(found.scored_pixels(), 24 * 24);
  const CountArray& spectra = expected.expectation.spectra;
  EXPECT_EQ(found.expected(), std::vector<float>(spectra.begin(), spectra.end()));
  EXPECT_EQ(found.observed(), std::vector<float>(prepared.image.counts.begin(), prepared.image.counts.end()));
  const std::vector<api::Region> regions = found.regions();
  ASSERT_EQ(regions.size(), expected.found.regions.size());
  for (size_t i = 0; i < regions.size(); ++i) {
    EXPECT_EQ(regions[i].y * 24 + regions[i].x, expected.found.regions[i].strongest);
    EXPECT_EQ(regions[i].pixels, std::ssize(expected.found.regions[i].pixels));
  }
  EXPECT_EQ(found.trusted(), expected.found.trusted());
  EXPECT_EQ(found.reasons(), expected.found.doubts);
  DetectionReport report{prepared.image,     expected.expectation, expected.found, config, "",
                         "the trained model"};
  report.comparison = expected.comparison;
  json summary = json::parse(found.summary()), by_report = json::parse(summary_json(report).dump());
  EXPECT_EQ(summary["versions"]["eelsvae"], eelsvae_version());
  for (json* each : {&summary, &by_report})
    for (const char* provenance : {"versions", "inputs", "choices"}) each->erase(provenance);
  EXPECT_EQ(summary, by_report);
}

TEST_F(Interfaces, ModelsGoThroughFilesAndMemory) {
  const std::string path = (folder() / "model.safetensors").string();
  model().save(path);
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(bytes, model().content());
  const Found expected = [&] {
    api::Session session(model());
    const api::Detection found = session.detect(image_);
    return Found{found.scores(), {}, found.mask(), found.threshold()};
  }();
  for (const api::Model& other : {api::Model::open(path), api::Model::open(folder().string()),
                                  api::Model::from_memory(bytes.data(), bytes.size())}) {
    EXPECT_EQ(other.content(), bytes);
    api::Session session(other);
    const api::Detection found = session.detect(image_);
    EXPECT_EQ((Found{found.scores(), {}, found.mask(), found.threshold()}), expected);
  }
  // A name that is not UTF-8 stands in the summary, which is.
  const std::string latin = (folder() / "m\xfc.safetensors").string();
  model().save(latin);
  api::Session session(api::Model::open(latin));
  EXPECT_NE(json::parse(session.detect(image_).summary())["model"].get<std::string>().find("m\u00fc."),
            std::string::npos);
  eelsvae_model* none = nullptr;
  expect_mistake(eelsvae_model_open((folder() / "nothing").c_str(), &none), "nothing");
  expect_mistake(eelsvae_model_from_memory(bytes.data(), bytes.size() - 1, &none), "the model in memory: ");
  expect_mistake(eelsvae_model_from_memory(bytes.data(), 0, &none), "not a safetensors file");
  expect_mistake(eelsvae_model_save(model().get(), (folder() / "no" / "folder").c_str()), "cannot write");
  EXPECT_EQ(none, nullptr);
}

TEST_F(Interfaces, ASessionOutlivesItsModel) {
  std::optional<api::Model> own = api::Model::from_memory(model().content().data(), model().content().size());
  api::Session session(*own);
  own.reset();
  EXPECT_EQ(session.detect(image_).height(), 24);
}

TEST_F(Interfaces, OtherImagesOfTheSpecimenAndOtherSizesFollowEachOther) {
  const SpectrumImage other = film(4);
  const auto alone = [&](const eelsvae_image& image) {
    api::Session session(model());
    return session.detect(image).scores();
  };
  eelsvae_image rows = image_of(other);
  rows.shape[0] = 8;  // so few tiles that the network takes fewer at a time
  api::Session session(model());
  for (const eelsvae_image& image : {image_, rows, image_of(other), rows, image_})
    EXPECT_EQ(session.detect(image).scores(), alone(image));
}

TEST_F(Interfaces, SettingsOfADetectionAreThoseOfThePrograms) {
  const auto refused = [&](const std::string& assignment, const std::string& part) {
    SCOPED_TRACE(assignment);
    const api::Config config = std::move(api::Config().set(assignment));
    eelsvae_session* session = nullptr;
    expect_mistake(eelsvae_session_create(model().get(), config.get(), nullptr, &session), part);
    EXPECT_EQ(session, nullptr);
  };
  refused("preprocess.sigma=1", "configuration preprocess.sigma: belongs to the trained model");
  refused("data.energy_range=700,705", "data.energy_range: belongs to the trained model");
  refused("data.energy_range=700,705", "detection.window says where");
  for (const char* key : {"energy_offset=700", "dispersion=0.3", "dataset=1", "axes=xyE", "swap_axes=true",
                          "frame=0", "data_path=scan.dm4"}) {
    const std::string assignment = std::string("data.") + key;
    refused(assignment, assignment.substr(0, assignment.find('=')) + ": says how a file is read");
  }
  refused("data.exclude_path=mask.npy", "give the mask as `excluded`");
  refused("preprocess.align_path=low.dm4", "preprocess.align_path");
  refused("device=abacus", "device 'abacus' is not in this build");
  api::Session strict(model(), std::move(api::Config().set("detection.threshold=1e6")));
  EXPECT_EQ(strict.detect(image_).anomalous_pixels(), 0);
  api::Session conformal(model(), std::move(api::Config().set("detection.threshold_method=conformal")));
  EXPECT_THROW(conformal.detect(image_), api::Error);
  EXPECT_NE(std::string(eelsvae_last_message()).find("no scores of held-out spectra"), std::string::npos);
  // Other energies than the model's.
  eelsvae_image elsewhere = image_;
  elsewhere.energy_offset += 100;
  api::Session session(model());
  EXPECT_THROW(session.detect(elsewhere), api::Error);
}

TEST_F(Interfaces, AModelTrainedForConformalThresholdsHasThem) {
  const api::Model calibrated = api::Model::train(
      image_, std::move(api::Config(small_network).set("detection.threshold_method=conformal")));
  api::Session session(calibrated);
  EXPECT_EQ(session.detect(image_).height(), 24);
}

// ---- who is told, and who stops ----

struct Told {
  std::vector<std::string> stages, lines;
  std::string stop_at;  // a stage
  int64_t stop_after = 0;

  api::Options options() {
    api::Options options;
    options.log = [this](int32_t, std::string_view text) { lines.emplace_back(text); };
    options.progress = [this](std::string_view stage, int64_t done, int64_t total) {
      EXPECT_LE(done, total);
      if (stages.empty() || stages.back() != stage) stages.emplace_back(stage);
      return !(stage == stop_at && done >= stop_after);
    };
    return options;
  }
};

TEST_F(Interfaces, TrainingTellsAndStops) {
  Told told;
  trained(told.options());
  EXPECT_EQ(told.stages, (std::vector<std::string>{"preparing", "training", "comparing"}));
  EXPECT_EQ(std::ranges::count_if(told.lines, [](auto& line) { return line.starts_with("epoch "); }), 2);
  EXPECT_TRUE(told.lines.back().ends_with("of 4 latent units active")) << told.lines.back();

  // In the first epoch nothing is there yet.
  Told first;
  first.stop_at = "training";
  EXPECT_THROW(trained(first.options()), api::Stopped);
  // After an epoch it is.
  eelsvae_options options;
  ASSERT_EQ(eelsvae_options_init(&options, sizeof options), EELSVAE_OK);
  int64_t asked = 0;
  options.progress_user = &asked;
  options.progress = [](void* user, const char* stage, int64_t done, int64_t total) -> int32_t {
    ++*static_cast<int64_t*>(user);
    return std::string(stage) == "training" && done > total / 2;
  };
  const api::Config config(small_network);
  eelsvae_model* model = nullptr;
  EXPECT_EQ(eelsvae_model_train(&image_, config.get(), &options, &model), EELSVAE_STOPPED);
  EXPECT_STREQ(eelsvae_last_message(), "stopped, as it was asked to");
  ASSERT_NE(model, nullptr);
  eelsvae_model_destroy(model);
  EXPECT_GT(asked, 0);
}

TEST_F(Interfaces, DetectionTellsAndStopsAndGoesOn) {
  Told told;
  api::Session session(model(), {}, told.options());
  const std::vector<float> scores = session.detect(image_).scores();
  ASSERT_GE(told.stages.size(), 3u);
  EXPECT_EQ(std::vector(told.stages.begin(), told.stages.begin() + 3),
            (std::vector<std::string>{"preparing", "reconstructing", "scoring"}));
  EXPECT_FALSE(told.lines.empty());
  for (const char* stage : {"preparing", "reconstructing", "scoring"}) {
    told.stop_at = stage;
    EXPECT_THROW(session.detect(image_), api::Stopped) << stage;
  }
  told.stop_at.clear();
  EXPECT_EQ(session.detect(image_).scores(), scores);
}

TEST_F(Interfaces, ASessionStopsFromAnyThreadAndWorksForOne) {
  struct State {
    eelsvae_session* session = nullptr;
    const eelsvae_image* image = nullptr;
    eelsvae_status second = EELSVAE_OK;
    std::string message;
  } state;
  eelsvae_options options;
  ASSERT_EQ(eelsvae_options_init(&options, sizeof options), EELSVAE_OK);
  options.progress_user = &state;
  options.progress = [](void* user, const char*, int64_t, int64_t) -> int32_t {
    auto* seen = static_cast<State*>(user);
    eelsvae_detection* none = nullptr;
    seen->second = eelsvae_session_detect(seen->session, seen->image, &none);
    seen->message = eelsvae_last_message();
    std::thread([&] { EXPECT_EQ(eelsvae_session_stop(seen->session), EELSVAE_OK); }).join();
    return 0;
  };
  const api::Handle<eelsvae_session> session = baseline_session("mean", nullptr, &options);
  state.session = session.get();
  state.image = &image_;
  eelsvae_detection* found = nullptr;
  EXPECT_EQ(eelsvae_session_detect(session.get(), &image_, &found), EELSVAE_STOPPED);
  EXPECT_EQ(found, nullptr);
  EXPECT_EQ(state.second, EELSVAE_MISTAKE);
  EXPECT_NE(state.message.find("make a session for each thread"), std::string::npos) << state.message;
}

TEST_F(Interfaces, WhatACallbackThrowsComesOutOfTheWrapper) {
  struct Mine {};
  for (const bool in_log : {false, true}) {
    api::Options options;
    if (in_log)
      options.log = [](int32_t, std::string_view) { throw Mine(); };
    else
      options.progress = [](std::string_view, int64_t, int64_t) -> bool { throw Mine(); };
    api::Session session(model(), {}, options);
    EXPECT_THROW(session.detect(image_), Mine);
    EXPECT_THROW(trained(options), Mine);
  }
}

TEST_F(Interfaces, NamesAnOptionsMistake) {
  const auto refused = [&](const std::function<void(eelsvae_options&)>& change, const std::string& part) {
    eelsvae_options options;
    ASSERT_EQ(eelsvae_options_init(&options, sizeof options), EELSVAE_OK);
    change(options);
    eelsvae_session* session = nullptr;
    expect_mistake(eelsvae_session_create_baseline("mean", nullptr, &options, &session), part);
    eelsvae_model* model = nullptr;
    if (part.find("on_training_image") == std::string::npos)
      expect_mistake(eelsvae_model_train(&image_, nullptr, &options, &model), part);
  };
  refused([](auto& options) { options.threads = -1; }, "options: threads is -1; give 1 to 1024");
  refused([](auto& options) { options.threads = 1025; }, "options: threads is 1025");
  refused([](auto& options) { options.struct_size -= 1; }, "options: struct_size");
  refused([](auto& options) { options.reserved = 7; }, "options: reserved");
  refused([](auto& options) { options.on_training_image = 1; }, "options: on_training_image");
  eelsvae_session* session = nullptr;
  expect_mistake(eelsvae_session_create_baseline("median", nullptr, nullptr, &session), "median");
  expect_mistake(eelsvae_session_create_baseline(nullptr, nullptr, nullptr, &session), "baseline is NULL");
  expect_mistake(eelsvae_session_create(nullptr, nullptr, nullptr, &session), "model is NULL");
}

// ---- detections ----

TEST_F(Interfaces, DetectionsGiveWhatThereIsRoomFor) {
  const api::Handle<eelsvae_session> session = baseline_session("pca:auto");
  eelsvae_detection* made = nullptr;
  ASSERT_EQ(eelsvae_session_detect(session.get(), &image_, &made), EELSVAE_OK) << eelsvae_last_message();
  const api::Detection found(made);
  std::vector<float> scores(24 * 24 + 1);
  expect_mistake(eelsvae_detection_scores(made, scores.data(), scores.size()),
                 "scores: there is room for 577 elements, and 576 are there");
  expect_mistake(eelsvae_detection_scores(made, nullptr, 24 * 24), "scores is NULL");
  expect_mistake(eelsvae_detection_expected(made, scores.data(), 1), "set keep_spectra");
  const char* text = nullptr;
  expect_mistake(eelsvae_detection_reason(made, -1, &text), "index -1");
  expect_mistake(eelsvae_detection_reason(made, 1000, &text), "index 1000");
  eelsvae_region region{};
  expect_mistake(eelsvae_detection_region(made, 0, &region), "region: struct_size is 0");
  region.struct_size = sizeof region;
  expect_mistake(eelsvae_detection_region(made, 1 << 20, &region), "regions, counted from 0");
  EXPECT_EQ(eelsvae_detection_size(made, nullptr, nullptr), EELSVAE_OK);
  EXPECT_EQ(found.energy().channels, 64);
  EXPECT_EQ(json::parse(found.summary())["model"].get<std::string>().substr(0, 3), "PCA");
}

TEST_F(Interfaces, BaselinesAreThoseOfTheEngine) {
  const Config config;
  const PreparedImage prepared = prepare(counts_, config.preprocess, std::nullopt);
  for (const char* name : {"mean", "pca:3", "rx:5"}) {
    SCOPED_TRACE(name);
    const Baseline baseline(prepared.image, {}, parse_baseline(name));
    const Detection expected =
        detect(prepared.image, expect_from(baseline, prepared.image), config.preprocess, config.detection);
    const Found found = found_by(baseline_session(name).get(), image_);
    expect_same_bits(found.scores, expected.scores);
    EXPECT_EQ(found.mask, expected.mask);
    EXPECT_EQ(found.threshold, expected.threshold);
  }
}

TEST_F(Interfaces, ABaselineIsFittedToAnotherImage) {
  const SpectrumImage other = film(4);
  const eelsvae_image normal = image_of(other);
  const Config config;
  const PreparedImage prepared = prepare(counts_, config.preprocess, std::nullopt);
  const FittedPreprocess fitted{prepared.image.energy, prepared.scaling, prepared.alignment};
  const PreparedImage of_other = prepare(SpectrumImage(other), config.preprocess, std::nullopt, &fitted);
  api::Session session("pca:2");
  const Detection expected = detect(
      prepared.image, expect_from(Baseline(of_other.image, {}, parse_baseline("pca:2")), prepared.image),
      config.preprocess, config.detection);
  const api::Detection found = session.detect(image_, normal);
  expect_same_bits(found.scores(), expected.scores);
  EXPECT_EQ(found.threshold(), expected.threshold);
  EXPECT_NE(session.detect(image_).scores(), found.scores());
  expect_same_bits(session.detect(image_, normal).scores(), expected.scores);
  // What is excluded and cropped is of the image under test: the normal one is smaller.
  api::Session cropped(
      "mean", api::Config(R"({"preprocess": {"crop_y": [16, 24]}, "data": {"exclude": [[20, 0, 24, 3]]}})"));
  eelsvae_image part = normal;
  part.shape[0] = 12;
  EXPECT_EQ(cropped.detect(image_, part).scored_pixels(), 8 * 24 - 4 * 3);

  eelsvae_detection* none = nullptr;
  eelsvae_session* const by_baseline = baseline_session("mean").release();
  const api::Handle<eelsvae_session> owner(by_baseline);
  expect_mistake(eelsvae_session_detect_fitted(by_baseline, &image_, nullptr, &none), "normal is NULL");
  part.energy_offset += 5;
  expect_mistake(eelsvae_session_detect_fitted(by_baseline, &image_, &part, &none),
                 "fit to one that has all");
  part.struct_size = 3;
  expect_mistake(eelsvae_session_detect_fitted(by_baseline, &image_, &part, &none), "struct_size");
  api::Session with_model(model());
  EXPECT_THROW(with_model.detect(image_, normal), api::Error);
}

TEST_F(Interfaces, AStateScoresAnotherImageAsItsOwn) {
  const SpectrumImage other = film(4);
  const api::State state = api::State::learn(image_of(other), "pca:2");
  const std::string content = state.content();
  const DetectionState read =
      read_detection_state(SafetensorsFile(std::as_bytes(std::span(content)), "state"));
  const PreparedImage prepared = prepare(SpectrumImage(counts_), read.preprocess, std::nullopt, &read.fitted);
  const Detection expected = detect(prepared.image, expect_from(*read.baseline, prepared.image),
                                    read.preprocess, read.detection, {}, {}, &read);
  api::Session session(state);
  const api::Detection found = session.detect(image_);
  expect_same_bits(found.scores(), expected.scores);
  EXPECT_EQ(found.threshold(), expected.threshold);
  EXPECT_EQ(found.mask(), expected.mask);
  EXPECT_NE(api::Session("pca:2").detect(image_).scores(), found.scores());
  EXPECT_EQ(api::state_of(found).content(), content);
  // Other settings of the threshold, and of the image.
  const api::Config settings(R"({"detection": {"fdr": 0.5}, "preprocess": {"crop_y": [4, 24]}})");
  const api::Detection more = api::Session(state, settings).detect(image_);
  EXPECT_LT(more.threshold(), found.threshold());
  EXPECT_EQ(more.height(), 20);

  eelsvae_session* none = nullptr;
  const auto mistake_of = [&](const eelsvae_model* with, const api::State& by, const char* text,
                              const std::string& part, const eelsvae_options* options = nullptr) {
    const api::Config config(text);
    expect_mistake(eelsvae_session_create_with_state(with, by.get(), config.get(), options, &none), part);
    EXPECT_EQ(none, nullptr);
  };
  mistake_of(nullptr, state, R"({"preprocess": {"sigma": 1}})", "belongs to the state");
  mistake_of(nullptr, state, R"({"data": {"dispersion": 1}})", "how a file is read");
  mistake_of(model().get(), state, "{}", "leave the model out");
  expect_mistake(eelsvae_session_create_with_state(nullptr, nullptr, nullptr, nullptr, &none),
                 "state is NULL");
  eelsvae_options options;
  ASSERT_EQ(eelsvae_options_init(&options, sizeof options), EELSVAE_OK);
  options.on_training_image = 1;
  mistake_of(nullptr, state, "{}", "on_training_image", &options);
  eelsvae_detection* nothing = nullptr;
  const api::Handle<eelsvae_session> by_state([&] {
    EXPECT_EQ(eelsvae_session_create_with_state(nullptr, state.get(), nullptr, nullptr, &none), EELSVAE_OK);
    return none;
  }());
  expect_mistake(eelsvae_session_detect_fitted(by_state.get(), &image_, &image_, &nothing), "fitted before");
  eelsvae_image elsewhere = image_;
  elsewhere.energy_offset += 50;
  expect_mistake(eelsvae_session_detect(by_state.get(), &elsewhere, &nothing), "eV");
}

TEST_F(Interfaces, AStateOfAModelNeedsIt) {
  api::Session session(model());
  const api::Detection first = session.detect(image_);
  const api::State state = api::state_of(first);
  expect_same_bits(api::Session(model(), state).detect(image_).scores(), first.scores());
  const SpectrumImage other = film(4);
  const api::Detection by_state = api::Session(model(), state).detect(image_of(other));
  EXPECT_NE(by_state.scores(), session.detect(image_of(other)).scores())
      << "noise and threshold are the first's";
  for (const char* measured : {"location", "scale"})
    EXPECT_EQ(json::parse(by_state.summary())["null"][measured],
              json::parse(first.summary())["null"][measured]);
  EXPECT_THROW(
      {
        try {
          api::Session alone(state);
        } catch (const api::Error& error) {
          EXPECT_NE(std::string(error.what()).find("made with a model"), std::string::npos) << error.what();
          throw;
        }
      },
      api::Error);
}

// ---- threads ----

TEST_F(Interfaces, ThreadsThatShareAModelHaveTheBitsOfEachAlone) {
  const SpectrumImage other = film(4);
  const eelsvae_image images[] = {image_, image_of(other)};
  const auto scores_of = [&](const eelsvae_image& image, int32_t threads) {
    api::Options options;
    options.threads = threads;
    api::Session session(model(), {}, options);
    return session.detect(image).scores();
  };
  const std::vector<float> alone[] = {scores_of(images[0], 0), scores_of(images[1], 0)};
  ASSERT_NE(alone[0], alone[1]);
  for (int round = 0; round < 3; ++round) {
    std::vector<float> beside;
    std::thread thread([&] { beside = scores_of(images[1], 1); });
    EXPECT_EQ(scores_of(images[0], 2), alone[0]);
    thread.join();
    EXPECT_EQ(beside, alone[1]);
  }
}

// ---- states and running scans ----

api::Scan scan_by(const api::State& state, const SpectrumImage& image) {
  return api::Scan(state, api::plan_of(image.y.size, image.x.size, image.energy.size, image.energy.offset,
                                       image.energy.scale));
}

TEST_F(InterfaceTest, ARunningScanEndsWithTheBitsOfADetectionByItsState) {
  const SpectrumImage scan = film(4);
  const api::State state = api::State::learn(image_, "pca:2");
  const std::string content = state.content();
  state.save((folder() / "state.safetensors").string());
  EXPECT_EQ(api::State::open((folder() / "state.safetensors").string()).content(), content);
  EXPECT_EQ(state.energy().channels, 64);
  const DetectionState read =
      read_detection_state(SafetensorsFile(std::as_bytes(std::span(content)), "state"));
  const PreparedImage prepared = prepare(SpectrumImage(scan), read.preprocess, std::nullopt, &read.fitted);
  const Detection wanted = detect(prepared.image, expect_from(*read.baseline, prepared.image),
                                  read.preprocess, read.detection, {}, {}, &read);

  api::Scan running = scan_by(api::State::from_memory(content.data(), content.size()), scan);
  const int64_t width = scan.x.size;
  for (int64_t y = 0; y < scan.y.size; ++y) {
    const eelsvae_rows final = running.push(y * width, width, scan.spectrum(y * width));
    EXPECT_EQ(final.last, running.status().final_rows);
    running.score_provisionally();
    EXPECT_EQ(running.status().scored_rows, y + 1);
  }
  running.finish();
  const eelsvae_scan_status status = running.status();
  EXPECT_TRUE(status.finished);
  EXPECT_FALSE(status.learning);
  EXPECT_EQ(status.received, scan.pixels());
  EXPECT_EQ(status.missing, 0);
  EXPECT_EQ(status.threshold, wanted.threshold);
  expect_same_bits(running.scores({0, scan.y.size}), wanted.scores);
  const api::Detection found = running.detection();
  expect_same_bits(found.scores(), wanted.scores);
  EXPECT_EQ(found.mask(), wanted.mask);
  EXPECT_EQ(found.reasons(), wanted.doubts);
  EXPECT_EQ(found.regions().size(), wanted.regions.size());
  EXPECT_EQ(json::parse(found.summary())["scan"]["received"], scan.pixels());
  EXPECT_EQ(running.state().content(), content);
}

TEST_F(InterfaceTest, ARunningScanLearnsAndTakesAnyType) {
  std::vector<std::string> said;
  api::Options options;
  options.threads = 1;
  const api::Scan* looked_at = nullptr;
  options.log = [&](int32_t, std::string_view text) {
    said.emplace_back(text);
    EXPECT_FALSE(looked_at->status().learning) << "who is told may look";
  };
  const SpectrumImage scan = film(4);
  const eelsvae_plan plan =
      api::plan_of(scan.y.size, scan.x.size, scan.energy.size, scan.energy.offset, scan.energy.scale);
  api::Scan running("mean", 20, plan, api::Config(), options);
  looked_at = &running;
  EXPECT_TRUE(running.status().learning);
  EXPECT_TRUE(std::isinf(running.status().threshold));
  EXPECT_THROW(running.detection(), api::Error);
  EXPECT_THROW(running.state(), api::Error);
  std::vector<double> counts(scan.counts.begin(), scan.counts.end());
  running.push(0, scan.pixels(), counts.data());
  running.finish();
  ASSERT_FALSE(said.empty());
  EXPECT_EQ(said.front(), "learned from 480 spectra: mean spectrum, fitted to 480 spectra");
  api::Scan again = scan_by(running.state(), scan);
  again.push(0, scan.pixels(), scan.counts.data());
  again.finish();
  expect_same_bits(again.scores({0, scan.y.size}), running.scores({0, scan.y.size}));
}

// A display that follows an acquisition.
TEST_F(InterfaceTest, ARunningScanMayBeLookedAtByAnotherThread) {
  const SpectrumImage scan = film(4);
  const api::State state = api::State::learn(image_, "mean");
  api::Scan running = scan_by(state, scan);
  const int64_t width = scan.x.size;
  std::atomic<bool> begun = false;
  int64_t looks = 0;
  std::thread display([&] {
    while (true) {
      const eelsvae_scan_status status = running.status();
      begun = true;
      ++looks;
      if (status.scored_rows > 0) {
        for (const float score : running.scores({0, status.scored_rows})) EXPECT_TRUE(std::isfinite(score));
        EXPECT_GE(running.detection().scores().size(), static_cast<size_t>(width));
        EXPECT_EQ(running.state().content(), state.content());
      }
      if (status.finished) return;
    }
  });
  while (!begun) std::this_thread::yield();
  for (int64_t y = 0; y < scan.y.size; ++y) {
    running.push(y * width, width, scan.spectrum(y * width));
    running.score_provisionally();
  }
  running.finish();
  display.join();
  EXPECT_GT(looks, 5) << "it is not kept waiting until the end";
  api::Scan alone = scan_by(state, scan);
  alone.push(0, scan.pixels(), scan.counts.data());
  alone.finish();
  expect_same_bits(running.scores({0, scan.y.size}), alone.scores({0, scan.y.size}));
}

TEST_F(InterfaceTest, ARunningScanByAModelHasTheBitsOfADetectionByItsState) {
  api::Options options;
  options.threads = 1;
  api::Session session(model(), api::Config(), options);
  const api::State state = api::state_of(session.detect(image_));
  const eelsvae_plan plan = api::plan_of(24, 24, 64, counts_.energy.offset, counts_.energy.scale);
  EXPECT_THROW(api::Scan(state, plan), api::Error) << "the model has to come with it";
  api::Scan running(model(), state, plan, api::Config(), options);
  running.push(0, counts_.pixels(), counts_.counts.data());
  running.finish();
  // In its own image the state finds what was found there.
  expect_same_bits(running.detection().scores(), session.detect(image_).scores());
  EXPECT_EQ(running.state().content(), state.content());
  eelsvae_scan* none = nullptr;
  const api::State other = api::State::learn(image_, "mean");
  expect_mistake(eelsvae_scan_create_with_model(model().get(), other.get(), nullptr, &plan, nullptr, &none),
                 "baseline");
  expect_mistake(
      eelsvae_scan_create_with_model(model().get(), state.get(), api::Config().set("detection.fdr=0.1").get(),
                                     &plan, nullptr, &none),
      "belongs to the state");
}

TEST_F(InterfaceTest, ARunningScanSaysWhatIsWrong) {
  const api::State state = api::State::learn(image_, "mean");
  eelsvae_scan* made = nullptr;
  eelsvae_plan plan = api::plan_of(24, 24, 64, counts_.energy.offset, counts_.energy.scale);
  eelsvae_plan other = plan;
  other.energy_offset += 50;
  expect_mistake(eelsvae_scan_create(state.get(), &other, nullptr, &made), "eV");
  other = plan;
  other.height = int64_t{1} << 40;
  expect_mistake(eelsvae_scan_create(state.get(), &other, nullptr, &made), "no more than");
  other = plan;
  other.patience = 0;
  expect_mistake(eelsvae_scan_create(state.get(), &other, nullptr, &made), "patience");
  expect_mistake(eelsvae_scan_create_learning("mean", 25, nullptr, &plan, nullptr, &made), "first 25");
  expect_mistake(eelsvae_scan_create_learning("mean", 20, api::Config().set("detection.score=joint").get(),
                                              &plan, nullptr, &made),
                 "detection.score");
  eelsvae_state* none = nullptr;
  expect_mistake(eelsvae_state_open("/nowhere", &none), "/nowhere");
  expect_mistake(eelsvae_state_from_memory("{}", 2, &none), "state");
  ASSERT_EQ(eelsvae_scan_create(state.get(), &plan, nullptr, &made), EELSVAE_OK);
  const api::Handle<eelsvae_scan> scan(made);
  const std::vector<float> spectra(2 * 64);
  expect_mistake(eelsvae_scan_push(made, 575, 2, spectra.data(), EELSVAE_FLOAT32, nullptr),
                 "2 pixels from 575 on");
  // No spectrum is looked at: there are not so many.
  for (const int64_t count : {int64_t{577}, int64_t{1} << 40, INT64_MAX})
    expect_mistake(eelsvae_scan_push(made, 0, count, spectra.data(), EELSVAE_FLOAT32, nullptr),
                   "are not in a scan");
  expect_mistake(eelsvae_scan_push(made, 0, -1, spectra.data(), EELSVAE_FLOAT32, nullptr), "count is -1");
  expect_mistake(eelsvae_scan_push(made, 0, 2, nullptr, EELSVAE_FLOAT32, nullptr), "NULL");
  expect_mistake(eelsvae_scan_push(made, 0, 2, spectra.data(), 77, nullptr), "type");
  std::vector<float> scores(24);
  expect_mistake(eelsvae_scan_scores(made, 23, 2, scores.data(), 48), "not in a scan");
  expect_mistake(eelsvae_scan_scores(made, 0, 2, scores.data(), 24), "room for 24");
  eelsvae_scan_status status{};
  expect_mistake(eelsvae_scan_get_status(made, &status), "struct_size");
}

}  // namespace
}  // namespace eelsvae
