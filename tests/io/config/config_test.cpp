#include "io/config/config.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "engine/study/study_plan.h"
#include "io/config/config_fields.h"
#include "io/config/study_config.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

const fs::path source_folder = EELSVAE_SOURCE_DIR;

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The message of the UserError that the action throws; every one has to be a single line.
template <typename Action>
std::string mistake(Action action) {
  try {
    action();
  } catch (const UserError& error) {
    std::string message = error.what();
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 400u) << message;
    return message;
  }
  return "no error";
}

std::string mistake_in(const std::string& text) {
  return mistake([&] { parse_config(text, "run.json"); });
}

std::string mistake_of_set(const std::string& assignment) {
  Config config;
  const std::string before = to_json_text(config);
  std::string message = mistake([&] { set_value(config, assignment); });
  EXPECT_EQ(to_json_text(config), before) << "a refused value was kept";
  return message;
}

// ---- what is right ----

TEST(Config, LeftOutKeysKeepTheirDefaults) {
  EXPECT_EQ(to_json_text(parse_config("{}", "run.json")), to_json_text(Config{}));
  Config config = parse_config(R"({"training": {"epochs": 7}})", "run.json");
  EXPECT_EQ(config.training.epochs, 7);
  EXPECT_EQ(config.training.batch_size, Config{}.training.batch_size);
}

// One value, none of them the default, for every key.
constexpr const char* every_key = R"({
  "data": {
    "data_path": "a \"b\" ü.dm4",
    "energy_range": [423.3, 816.6],
    "dataset": 2,
    "frame": "sum",
    "axes": "Eyx",
    "swap_axes": true,
    "energy_offset": 420.0,
    "dispersion": 0.3,
    "exclude_path": "dead, hot.npy",
    "exclude": [[0, 0, 2, 26], [5, 3, 6, 4]]
  },
  "preprocess": {
    "crop_y": [3, 40],
    "crop_x": [0, 64],
    "set_aside": 0.25,
    "despike": 8.5,
    "align": "feature",
    "align_by": "row",
    "align_window": [525.0, 560.0],
    "align_path": "low loss.dm4",
    "align_dataset": 0,
    "bin_xy": 2,
    "bin_energy": 4,
    "sigma": 0.1,
    "scaling_method": "quantile",
    "percentiles": [0.5, 99.5],
    "xy_window": 5
  },
  "tiles": {
    "image_size": 16,
    "sliding_window_stride": 7,
    "anomaly_indices": [18, 3]
  },
  "model": {
    "channels": [8, 16, 24, 40],
    "hidden": 100,
    "latent": "cell",
    "latent_dim": 11,
    "blind": 4
  },
  "loss": {
    "reconstruction": "mse",
    "dose": 30.0,
    "kl_weight": 1.2,
    "kl_warmup_epochs": 4
  },
  "training": {
    "epochs": 9,
    "batch_size": 3,
    "learning_rate": 0.0003,
    "clip_value": 1.7976931348623157e+308,
    "lr_patience": 2,
    "lr_factor": 0.30000000000000004,
    "augment": true,
    "seed": 18446744073709551615,
    "validation_fraction": 0.125,
    "patience": 7
  },
  "detection": {
    "score": "pearson_background",
    "window": [693.3, 730.5],
    "context": 15,
    "pooling": 1.5,
    "threshold_method": "conformal",
    "fdr": 0.01,
    "threshold": -0.25,
    "stride": 5,
    "blend": "uniform",
    "passes": 16,
    "batch_size": 3,
    "elements": ["Fe", "O"]
  },
  "device": "cuda:1",
  "precision": "bf16"
}
)";

TEST(Config, EveryKeyIsReadAndWritten) {
  Config config = parse_config(every_key, "run.json");
  EXPECT_EQ(to_json_text(config), every_key);

  EXPECT_EQ(config.data.data_path, "a \"b\" ü.dm4");
  EXPECT_EQ(*config.data.energy_range, (std::array{423.3, 816.6}));
  EXPECT_EQ(*config.preprocess.crop_y, (std::array<int64_t, 2>{3, 40}));
  EXPECT_EQ(config.preprocess.align, Align::feature);
  EXPECT_EQ(config.preprocess.align_by, AlignBy::row);
  EXPECT_EQ(*config.preprocess.align_path, "low loss.dm4");
  EXPECT_EQ(config.preprocess.scaling_method, Scaling::quantile);
  EXPECT_EQ(config.tiles.anomaly_indices, (std::vector<int64_t>{18, 3}));
  EXPECT_EQ(config.model.channels, (std::array<int64_t, 4>{8, 16, 24, 40}));
  EXPECT_EQ(config.loss.reconstruction, ReconstructionLoss::mse);
  EXPECT_EQ(config.training.lr_factor, 0.1 + 0.2);
  EXPECT_EQ(config.training.seed, UINT64_MAX);
  EXPECT_EQ(config.detection.threshold, -0.25);
  EXPECT_EQ(config.detection.blend, Blend::uniform);
  EXPECT_EQ(config.detection.batch_size, 3);
  EXPECT_EQ(config.detection.elements, (std::vector<std::string>{"Fe", "O"}));
  EXPECT_EQ(config.device, "cuda:1");

  // The text above leaves no default in place, so that a key that is forgotten anywhere shows.
  auto ours = nlohmann::json::parse(every_key).flatten();
  auto defaults = nlohmann::json::parse(to_json_text(Config{})).flatten();
  for (const auto& [key, value] : ours.items()) {
    if (defaults.contains(key)) {
      EXPECT_NE(value, defaults[key]) << key;
    }
  }
}

TEST(Config, ItsKeysAreAssignments) {
  for (const std::string& text : {std::string(every_key), to_json_text(Config{}), std::string("{}")}) {
    Config config;
    for (const std::string& assignment : assignments_of(text, "run.json")) set_value(config, assignment);
    EXPECT_EQ(to_json_text(config), to_json_text(parse_config(text, "run.json")));
  }
  // What does not go with the defaults may go with a model's configuration.
  EXPECT_EQ(assignments_of(R"({"detection": {"stride": 32}})", "run.json"),
            std::vector<std::string>{"detection.stride=32"});
  EXPECT_EQ(assignments_of(R"({"detection": {"window": [1, 2]}, "device": "cpu"})", "run.json"),
            (std::vector<std::string>{"detection.window=[1,2]", "device=\"cpu\""}));
}

TEST(Config, NumbersSurviveWritingToTheLastBit) {
  uint64_t state = 12345;
  for (int i = 0; i < 500; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    double value = std::ldexp(static_cast<double>(state >> 11) + 1, static_cast<int>(state % 900) - 500);
    Config config;
    config.training.learning_rate = value;
    EXPECT_EQ(parse_config(to_json_text(config), "run.json").training.learning_rate, value);
  }
}

TEST(Config, NullMeansAbsent) {
  Config config = parse_config(R"({"data": {"energy_range": null}, "detection": {"threshold": null}})",
                               "run.json", {"detection.window=1,2", "detection.window=null"});
  EXPECT_FALSE(config.data.energy_range);
  EXPECT_FALSE(config.detection.threshold);
  EXPECT_FALSE(config.detection.window);
}

TEST(Config, WholeNumbersServeAsNumbers) {
  EXPECT_EQ(parse_config(R"({"loss": {"dose": 30}})", "run.json").loss.dose, 30.0);
}

TEST(ConfigSet, ReadsEveryKindOfValue) {
  Config config;
  set_value(config, "training.epochs=5");
  set_value(config, "training.learning_rate=1e-3");
  set_value(config, "training.augment=true");
  set_value(config, "model.channels=8,16,32,64");
  set_value(config, "data.energy_range=[420, 800.5]");
  set_value(config, "tiles.anomaly_indices=18");
  set_value(config, "preprocess.scaling_method=minmax");
  set_value(config, "data.data_path=a=b.dm3");
  set_value(config, "device=cpu");
  set_value(config, "precision=\"bf16\"");
  EXPECT_EQ(config.training.epochs, 5);
  EXPECT_EQ(config.training.learning_rate, 1e-3);
  EXPECT_TRUE(config.training.augment);
  EXPECT_EQ(config.model.channels, (std::array<int64_t, 4>{8, 16, 32, 64}));
  EXPECT_EQ(*config.data.energy_range, (std::array{420.0, 800.5}));
  EXPECT_EQ(config.tiles.anomaly_indices, std::vector<int64_t>{18});
  EXPECT_EQ(config.preprocess.scaling_method, Scaling::minmax);
  EXPECT_EQ(config.data.data_path, "a=b.dm3");
  EXPECT_EQ(config.device, "cpu");
  EXPECT_EQ(config.precision, "bf16");
  set_value(config, "tiles.anomaly_indices=");
  EXPECT_TRUE(config.tiles.anomaly_indices.empty());
  set_value(config, "data.data_path=12");
  EXPECT_EQ(config.data.data_path, "12");
  using Rectangles = std::vector<std::array<int64_t, 4>>;
  for (const char* one : {"0,1,2,26", "[0,1,2,26]", "[[0, 1, 2, 26]]"}) {
    set_value(config, std::string("data.exclude=") + one);
    EXPECT_EQ(config.data.exclude, (Rectangles{{0, 1, 2, 26}})) << one;
  }
  for (const char* two : {"[0,1,2,26],[3,4,5,6]", "[[0,1,2,26],[3,4,5,6]]"}) {
    set_value(config, std::string("data.exclude=") + two);
    EXPECT_EQ(config.data.exclude, (Rectangles{{0, 1, 2, 26}, {3, 4, 5, 6}})) << two;
  }
  set_value(config, "data.exclude=");
  EXPECT_TRUE(config.data.exclude.empty());
  set_value(config, "data.exclude_path=masks/dead pixels.npy");
  EXPECT_EQ(config.data.exclude_path, "masks/dead pixels.npy");
  set_value(config, "data.exclude_path=null");
  EXPECT_FALSE(config.data.exclude_path);
}

TEST(ConfigSet, IsJudgedTogetherOnlyAtTheEnd) {
  Config config =
      parse_config("{}", "run.json", {"preprocess.scaling_method=zscore", "loss.reconstruction=mse"});
  EXPECT_EQ(config.preprocess.scaling_method, Scaling::zscore);
}

TEST(ConfigSet, NamesTheMistake) {
  EXPECT_EQ(mistake_of_set("training.epochs"),
            "--set training.epochs: expected group.key=value, such as training.epochs=5");
  EXPECT_EQ(mistake_of_set("training=5"),
            "--set training: is a group; expected group.key=value, such as training.epochs=5");
  EXPECT_EQ(mistake_of_set("training.epochs=ten"),
            "--set training.epochs: expected a whole number, got \"ten\"");
  EXPECT_EQ(mistake_of_set("training.epochs="), "--set training.epochs: expected a whole number, got \"\"");
  EXPECT_EQ(mistake_of_set("training.epochs=5 6"),
            "--set training.epochs: expected a whole number, got \"5 6\"");
  EXPECT_EQ(mistake_of_set("training.learning_rate=nan"),
            "--set training.learning_rate: expected a number, got \"nan\"");
  EXPECT_EQ(mistake_of_set("training.learning_rate=1e400"),
            "--set training.learning_rate: expected a number, got \"1e400\"");
  EXPECT_EQ(mistake_of_set("training.epoch=5"), "--set training.epoch: unknown key; did you mean epochs?");
  EXPECT_EQ(mistake_of_set("trainig.epochs=5"), "--set trainig.epochs: unknown key; did you mean training?");
  EXPECT_EQ(mistake_of_set("epochs=5"), "--set epochs: unknown key; did you mean training.epochs?");
  EXPECT_EQ(mistake_of_set("devise=cpu"), "--set devise: unknown key; did you mean device?");
  EXPECT_EQ(
      mistake_of_set(".device=cpu"),
      "--set .device: unknown key; known here are data, preprocess, tiles, model, loss, training, detection, "
      "device and precision");
  EXPECT_EQ(mistake_of_set("data.energy_range=5"),
            "--set data.energy_range: expected two numbers [low, high] or null, got [5]");
  EXPECT_EQ(mistake_of_set("two\nlines.x=5").find("--set \"two\\nlines.x\": unknown key"), 0u);
}

// ---- what is wrong: names ----

TEST(ConfigMistakes, UnknownKeyNamesTheNearest) {
  EXPECT_EQ(mistake_in(R"({"training": {"learing_rate": 1}})"),
            "run.json: training.learing_rate: unknown key; did you mean learning_rate?");
}

TEST(ConfigMistakes, UnknownGroupNamesTheNearest) {
  EXPECT_EQ(mistake_in(R"({"trainning": {"epochs": 1}})"),
            "run.json: trainning: unknown key; did you mean training?");
}

TEST(ConfigMistakes, KeyInTheWrongGroupNamesTheRightOne) {
  EXPECT_EQ(mistake_in(R"({"training": {"latent_dim": 1}})"),
            "run.json: training.latent_dim: unknown key; did you mean model.latent_dim?");
  EXPECT_EQ(mistake_in(R"({"sigma": 1})"), "run.json: sigma: unknown key; did you mean preprocess.sigma?");
}

TEST(ConfigMistakes, UnknownKeyWithoutANeighbourListsWhatIsKnown) {
  EXPECT_EQ(mistake_in(R"({"model": {"qqqqqqqqqq": 1}})"),
            "run.json: model.qqqqqqqqqq: unknown key; known here are channels, hidden, latent, latent_dim "
            "and blind");
}

TEST(ConfigMistakes, HostileKeysStayShortAndOnOneLine) {
  EXPECT_EQ(mistake_in(R"({"model": {"a\nb": 1}})").find(R"(run.json: model."a\nb": unknown key)"), 0u);
  EXPECT_EQ(mistake_in(R"({"": 1})").find(R"(run.json: "": unknown key)"), 0u);
  EXPECT_EQ(mistake_in("{\"" + std::string(100000, 'x') + "\": 1}").find("run.json: \"xxx"), 0u);
}

TEST(ConfigMistakes, DuplicateKey) {
  EXPECT_EQ(mistake_in(R"({"training": {"epochs": 1, "epochs": 2}})"),
            "run.json: training.epochs: appears twice");
  EXPECT_EQ(mistake_in(R"({"model": {}, "training": {}, "model": {}})"), "run.json: model: appears twice");
}

// ---- what is wrong: the JSON itself ----

TEST(ConfigMistakes, MalformedJsonNamesLineAndColumn) {
  EXPECT_EQ(
      mistake_in("{\n  \"training\": {\n    epochs: 5}}").find("run.json: not JSON: line 3, column 5: "), 0u);
  EXPECT_EQ(mistake_in("").find("run.json: not JSON: line 1, column 1: "), 0u);
  EXPECT_EQ(mistake_in(R"({"training": {"epochs": 5})").find("run.json: not JSON: line 1, column 27: "), 0u);
  EXPECT_EQ(mistake_in(R"({"training": {"epochs": 5,}})").find("run.json: not JSON: line 1, column 27: "),
            0u);
  EXPECT_EQ(mistake_in("{} {}").find("run.json: not JSON: line 1, column 4: "), 0u);
  EXPECT_EQ(mistake_in("{\"loss\": {\"dose\": NaN}}").find("run.json: not JSON: line 1, column 19: "), 0u);
}

TEST(ConfigMistakes, CommentsAreNotJson) {
  EXPECT_EQ(mistake_in("{\n// epochs\n}").find("run.json: not JSON: line 2, column 1: "), 0u);
  EXPECT_EQ(mistake_in("{/* epochs */}").find("run.json: not JSON: line 1, column 2: "), 0u);
}

TEST(ConfigMistakes, BinaryDataAndDeepNestingAreRefused) {
  EXPECT_EQ(
      mistake_in(std::string("\x89HDF\r\n\x1a\n\0\0", 10)).find("run.json: not JSON: line 1, column 1: "),
      0u);
  EXPECT_EQ(mistake_in("{\"\xff\xfe\": 1}").find("run.json: not JSON: line 1, column 3: "), 0u);
  EXPECT_EQ(mistake_in(std::string(100000, '[')).find("run.json: not JSON: "), 0u);
  std::string nested = std::string(100000, '[') + std::string(100000, ']');
  EXPECT_EQ(mistake_in("{\"loss\": {\"dose\": " + nested + "}}"),
            "run.json: loss.dose: expected a number, got a list of 1");
}

TEST(ConfigMistakes, NotAnObject) {
  EXPECT_EQ(mistake_in("[1, 2]"), "run.json: expected an object { ... }, got [1,2]");
  EXPECT_EQ(mistake_in(R"({"training": 5})"), "run.json: training: expected an object { ... }, got 5");
}

// ---- what is wrong: a value ----

struct BadValue {
  const char* group;
  const char* key;
  const char* value;
  const char* message;  // after "run.json: group.key: "
};

void PrintTo(const BadValue& bad, std::ostream* out) {
  *out << bad.group << "." << bad.key << "=" << bad.value;
}

class BadValues : public testing::TestWithParam<BadValue> {};

TEST_P(BadValues, AreRefusedByFileAndKey) {
  const BadValue& bad = GetParam();
  std::string group = bad.group, setting = std::string("\"") + bad.key + "\": " + bad.value;
  std::string text = group.empty() ? "{" + setting + "}" : "{\"" + group + "\": {" + setting + "}}";
  std::string name = (group.empty() ? "" : group + ".") + bad.key;
  EXPECT_EQ(mistake_in(text), "run.json: " + name + ": " + bad.message);
}

INSTANTIATE_TEST_SUITE_P(
    Types, BadValues,
    testing::ValuesIn(std::vector<BadValue>{
        {"training", "epochs", "\"ten\"", "expected a whole number, got \"ten\""},
        {"training", "epochs", "3.5", "expected a whole number, got 3.5"},
        {"training", "epochs", "5.0", "expected a whole number, got 5.0"},
        {"training", "epochs", "null", "expected a whole number, got null"},
        {"training", "epochs", "true", "expected a whole number, got true"},
        {"training", "epochs", "9223372036854775808", "expected a whole number, got 9223372036854775808"},
        {"training", "seed", "-1", "expected a whole number from 0 to 18446744073709551615, got -1"},
        {"training", "seed", "18446744073709551616",
         "expected a whole number from 0 to 18446744073709551615, got 1.8446744073709552e+19"},
        {"training", "learning_rate", "1e400", "number too large: '1e400'"},
        {"training", "learning_rate", "\"1e-3\"", "expected a number, got \"1e-3\""},
        {"training", "augment", "1", "expected true or false, got 1"},
        {"data", "data_path", "5", "expected text, got 5"},
        {"data", "energy_range", "[1, 2, 3]", "expected two numbers [low, high] or null, got [1,2,3]"},
        {"data", "energy_range", "[1, \"2\"]", "expected two numbers [low, high] or null, got [1,\"2\"]"},
        {"data", "exclude_path", "5", "expected text or null, got 5"},
        {"data", "exclude", "[0, 0, 2, 26]",
         "expected a list of rectangles [y0, x0, y1, x1] in whole numbers, got [0,0,2,26]"},
        {"data", "exclude", "[[0, 0, 2]]",
         "expected a list of rectangles [y0, x0, y1, x1] in whole numbers, got a list of 1"},
        {"preprocess", "percentiles", "null", "expected two numbers [low, high], got null"},
        {"preprocess", "scaling_method", "\"zscor\"",
         "expected robust_minmax, minmax, zscore, quantile or none, got \"zscor\""},
        {"loss", "reconstruction", "{}", "expected cross_entropy, poisson or mse, got an object"},
        {"tiles", "anomaly_indices", "18", "expected a list of whole numbers, got 18"},
        {"tiles", "anomaly_indices", "[1.5]", "expected a list of whole numbers, got [1.5]"},
        {"tiles", "anomaly_indices", "[0,1,2,3,4,5,6,\"7\"]",
         "expected a list of whole numbers, got a list of 8"},
        {"model", "channels", "[8, 16, 32]", "expected four whole numbers, got [8,16,32]"},
        {"model", "channels", "[8, 16, 32, 64, 128]", "expected four whole numbers, got [8,16,32,64,128]"},
        {"", "device", "0", "expected text, got 0"}}));

INSTANTIATE_TEST_SUITE_P(
    Ranges, BadValues,
    testing::ValuesIn(std::vector<BadValue>{
        {"data", "energy_range", "[800, 420]", "must be ascending, got [800,420]"},
        {"data", "energy_range", "[420, 420]", "must be ascending, got [420,420]"},
        {"data", "dataset", "-2", "must be -1 or more, got -2"},
        {"data", "exclude", "[[0, 0, 2, 26], [3, 3, 3, 5]]",
         "must be each with 0 <= y0 < y1 and 0 <= x0 < x1, got a list of 2"},
        {"data", "exclude", "[[0, -1, 2, 26]]",
         "must be each with 0 <= y0 < y1 and 0 <= x0 < x1, got a list of 1"},
        {"preprocess", "crop_y", "[10, 10]", "must be ascending from 0, got [10,10]"},
        {"preprocess", "crop_x", "[-1, 10]", "must be ascending from 0, got [-1,10]"},
        {"preprocess", "despike", "2.5", "must be 0 or from 3 to 1000, got 2.5"},
        {"preprocess", "despike", "-8", "must be 0 or from 3 to 1000, got -8"},
        {"preprocess", "align_window", "[5, -5]", "must be ascending, got [5,-5]"},
        {"preprocess", "align_path", "\"\"", "must be not empty, got \"\""},
        {"preprocess", "align_dataset", "-2", "must be -1 or more, got -2"},
        {"preprocess", "bin_xy", "0", "must be from 1 to 65536, got 0"},
        {"preprocess", "bin_energy", "-4", "must be from 1 to 65536, got -4"},
        {"preprocess", "sigma", "-0.5", "must be from 0 to 100, got -0.5"},
        {"preprocess", "sigma", "1e30", "must be from 0 to 100, got 1e+30"},
        {"preprocess", "percentiles", "[99, 1]", "must be ascending and within 0 and 100, got [99,1]"},
        {"preprocess", "percentiles", "[-1, 99]", "must be ascending and within 0 and 100, got [-1,99]"},
        {"preprocess", "percentiles", "[1, 100.5]", "must be ascending and within 0 and 100, got [1,100.5]"},
        {"preprocess", "xy_window", "4", "must be odd, from 1 to 99, got 4"},
        {"preprocess", "xy_window", "-3", "must be odd, from 1 to 99, got -3"},
        {"tiles", "image_size", "25", "must be a multiple of 4 from 4 to 1024, got 25"},
        {"tiles", "image_size", "0", "must be a multiple of 4 from 4 to 1024, got 0"},
        {"tiles", "image_size", "4611686018427387904",
         "must be a multiple of 4 from 4 to 1024, got 4611686018427387904"},
        {"tiles", "sliding_window_stride", "0", "must be 1 or more, got 0"},
        {"tiles", "anomaly_indices", "[3, -1]", "must be each 0 or more, got [3,-1]"},
        {"model", "channels", "[8, 16, 0, 64]", "must be each from 1 to 4096, got [8,16,0,64]"},
        {"model", "hidden", "0", "must be from 1 to 65536, got 0"},
        {"model", "latent_dim", "0", "must be from 1 to 65536, got 0"},
        {"loss", "dose", "0", "must be greater than 0, got 0"},
        {"loss", "kl_weight", "-1", "must be 0 or more, got -1"},
        {"loss", "kl_warmup_epochs", "-1", "must be 0 or more, got -1"},
        {"training", "epochs", "0", "must be from 1 to 1000000, got 0"},
        {"training", "batch_size", "0", "must be from 1 to 4096, got 0"},
        {"training", "learning_rate", "0", "must be greater than 0, got 0"},
        {"training", "clip_value", "-1", "must be 0 or more, got -1"},
        {"training", "lr_patience", "-1", "must be 0 or more, got -1"},
        {"training", "lr_factor", "1", "must be between 0 and 1, got 1"},
        {"training", "lr_factor", "0", "must be between 0 and 1, got 0"},
        {"training", "validation_fraction", "1", "must be 0 or more and below 1, got 1"},
        {"training", "validation_fraction", "-0.1", "must be 0 or more and below 1, got -0.1"},
        {"detection", "score", "\"\"",
         "expected joint, learned, whitened, amounts, combined, deviance, pearson, pearson_background or "
         "latent, got "
         "\"\""},
        {"detection", "window", "[730.5, 693.3]", "must be ascending, got [730.5,693.3]"},
        {"detection", "context", "3", "must be 0 or odd, from 5 to 99, got 3"},
        {"detection", "context", "8", "must be 0 or odd, from 5 to 99, got 8"},
        {"detection", "pooling", "-1", "must be from 0 to 20, got -1"},
        {"detection", "threshold_method", "\"bh\"", "expected fdr, otsu or conformal, got \"bh\""},
        {"detection", "fdr", "0", "must be between 0 and 1, got 0"},
        {"detection", "fdr", "1", "must be between 0 and 1, got 1"},
        {"detection", "stride", "-1", "must be 0 or more, got -1"},
        {"detection", "batch_size", "0", "must be from 1 to 4096, got 0"},
        {"", "device", "\"cuda:one\"", "must be auto, cpu, cuda or cuda:N, got \"cuda:one\""},
        {"", "device", "\"\"", "must be auto, cpu, cuda or cuda:N, got \"\""},
        {"", "precision", "\"fp16\"", "must be auto, fp32, tf32, bf16 or fp64, got \"fp16\""}}));

// ---- what is wrong: values together ----

TEST(ConfigMistakes, CrossEntropyNeedsTargetsOfZeroOrMore) {
  EXPECT_EQ(
      mistake_in(R"({"preprocess": {"scaling_method": "zscore"}})"),
      "run.json: preprocess.scaling_method: zscore makes negative targets, and "
      "loss.reconstruction=cross_entropy or poisson needs targets of 0 or more; use robust_minmax, minmax or "
      "quantile, or "
      "loss.reconstruction=mse");
}

TEST(ConfigMistakes, AlignmentNeedsToKnowAtWhat) {
  EXPECT_EQ(mistake_in(R"({"preprocess": {"align": "feature"}})"),
            "run.json: preprocess.align_window: is needed by preprocess.align=feature");
  for (const char* unused : {R"("align_window": [-5, 5])", R"("align_path": "low.dm4")"})
    EXPECT_EQ(mistake_in(std::string(R"({"preprocess": {)") + unused + "}}")
                  .find("run.json: preprocess.align: is none, so preprocess.align_window and"),
              0u);
  EXPECT_EQ(mistake_in(R"({"preprocess": {"align": "zero_loss"}})"), "no error");
}

TEST(ConfigMistakes, CellsHaveNoLatentScoreAndSeeTheirSurroundings) {
  EXPECT_EQ(
      mistake_in(R"({"model": {"latent": "cell"}, "detection": {"score": "latent"}})"),
      "run.json: detection.score: is latent, which needs the latent vector of a tile, and model.latent is "
      "cell");
  EXPECT_EQ(mistake_in(R"({"model": {"latent": "cell", "blind": 9}, "tiles": {"image_size": 16}})")
                .find("run.json: model.blind: must not exceed half of tiles.image_size"),
            0u);
  EXPECT_EQ(mistake_in(R"({"model": {"blind": 9}, "tiles": {"image_size": 16}})"), "no error");
}

TEST(ConfigMistakes, ScoredTilesLeaveNoGaps) {
  EXPECT_EQ(
      mistake_in(R"({"tiles": {"image_size": 16}, "detection": {"stride": 17}})"),
      "run.json: detection.stride: must not exceed tiles.image_size, or pixels between the tiles would have "
      "no score");
  EXPECT_EQ(mistake_in(R"({"tiles": {"image_size": 16}, "detection": {"stride": 16}})"), "no error");
}

TEST(ConfigMistakes, TextThatJsonCannotHold) {
  Config config;
  config.data.data_path = "Fe\xff.dm3";
  EXPECT_NE(mistake([&] { to_json_text(config); }).find("data.data_path: "), std::string::npos);
}

// ---- files ----

TEST(ConfigFile, MissingFolderOrHugeFileIsNamed) {
  const fs::path folder = fs::path(testing::TempDir()) / "config_test";
  fs::create_directories(folder);
  std::string missing = (folder / "none.json").string();
  EXPECT_EQ(mistake([&] { read_config(missing); }), "cannot read " + missing + ": No such file or directory");
  EXPECT_EQ(mistake([&] { read_config(folder); }), "cannot read " + folder.string() + ": Is a directory");
  std::string huge = (folder / "huge.json").string();
  std::ofstream(huge) << "{";
  fs::resize_file(huge, 1 << 30);
  EXPECT_EQ(mistake([&] { read_config(huge); }), huge + ": larger than 4 MiB, so not a configuration");
  fs::remove_all(folder);
}

TEST(ConfigFile, EveryShippedConfigurationIsRight) {
  int files = 0;
  for (const auto& entry : fs::directory_iterator(source_folder / "configs")) {
    SCOPED_TRACE(entry.path());
    ASSERT_EQ(entry.path().extension(), ".json");
    ++files;
    if (entry.path().filename().string().starts_with("evaluate-")) {
      Study study;
      EXPECT_EQ(mistake([&] { study = read_study(entry.path()); }), "no error");
      EXPECT_EQ(mistake([&] { plan_study(study); }), "no error");
      continue;
    }
    Config config;
    EXPECT_EQ(mistake([&] { config = read_config(entry.path()); }), "no error");
    const std::string resolved = to_json_text(config);
    EXPECT_EQ(to_json_text(parse_config(resolved, "resolved")), resolved);
  }
  EXPECT_GE(files, 3);
}

TEST(ConfigFile, BfoPaperIsTheReleasedSetting) {
  Config config = read_config(source_folder / "configs/bfo-paper.json");
  EXPECT_EQ(config.model.channels, (std::array<int64_t, 4>{32, 64, 128, 256}));
  EXPECT_EQ(config.model.hidden, 512);
  EXPECT_EQ(config.model.latent_dim, 48);
  EXPECT_EQ(config.loss.kl_weight, 1);
  EXPECT_EQ(config.loss.dose, 1);
  EXPECT_EQ(config.training.learning_rate, 1e-4);
  EXPECT_EQ(config.training.batch_size, 1);
  EXPECT_EQ(config.training.epochs, 300);
  EXPECT_EQ(config.training.clip_value, 3.53);
  EXPECT_EQ(config.training.lr_patience, 10);
  EXPECT_EQ(config.training.lr_factor, 0.5);
  EXPECT_EQ(*config.data.energy_range, (std::array{423.3, 816.6}));
  EXPECT_EQ(config.tiles.anomaly_indices, std::vector<int64_t>{20});
  EXPECT_EQ(*config.detection.window, (std::array{693.3, 730.5}));
  EXPECT_EQ(config.detection.score, Score::pearson);
  EXPECT_EQ(config.detection.threshold_method, ThresholdMethod::otsu);
}

// After a change of the table: EELSVAE_REGENERATE=1 build/release/tests/io_test
// --gtest_filter='ConfigReference.*'
TEST(ConfigReference, DocsConfigMdIsUpToDate) {
  const fs::path path = source_folder / "docs/config.md";
  const std::string expected = config_reference_markdown();
  const char* regenerate = std::getenv("EELSVAE_REGENERATE");
  if (regenerate && std::string(regenerate) == "1") std::ofstream(path) << expected;
  EXPECT_EQ(text_of(path), expected)
      << "docs/config.md differs from the table in io/config/config_fields.h; write it anew "
         "with EELSVAE_REGENERATE=1 build/release/tests/io_test";
}

// A field of the configuration that the table of keys forgets could not be set by anyone. Fields that are
// listed lie side by side in memory, with no more between them than alignment asks for, so another one shows
// as a hole.
TEST(ConfigFields, EveryFieldHasAKey) {
  struct Place {
    size_t begin, end;
    std::string key;
  };
  Config config;
  std::vector<Place> places;
  visit_fields(config, [&](const Field& field, auto& member, const auto&) {
    const size_t begin =
        static_cast<size_t>(reinterpret_cast<std::byte*>(&member) - reinterpret_cast<std::byte*>(&config));
    places.push_back({begin, begin + sizeof member, std::string(field.group) + "." + field.key});
  });
  std::ranges::sort(places, {}, &Place::begin);
  places.push_back({sizeof config, sizeof config, "the end"});
  size_t end = 0;
  std::string before = "the beginning";
  for (const Place& place : places) {
    ASSERT_GE(place.begin, end) << place.key << " and " << before << " are one field";
    // A group may end with padding of its own.
    EXPECT_LT(place.begin - end, alignof(Config))
        << "a field without a key between " << before << " and " << place.key;
    end = place.end;
    before = place.key;
  }
}

}  // namespace
}  // namespace eelsvae
