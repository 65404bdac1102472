// What a user can do wrong: one line that says what is wrong and what would be right, status 2, and a folder
// that looks as before.

#include <cmath>
#include <limits>

#include "io/files/npy.h"
#include "io/files/safetensors.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class MistakesTest : public ProgramsTest {
 protected:
  void SetUp() override {
    simulate_film();
    write_config();
  }

  // One mistake: what is run, and what the line must hold.
  struct Mistake {
    std::vector<std::string> arguments;
    std::vector<std::string> fragments;
  };

  void expect_no_trace(const std::string& name, const std::vector<Mistake>& mistakes) const {
    const auto before = contents(path("."));
    for (const Mistake& mistake : mistakes) {
      SCOPED_TRACE(testing::PrintToString(mistake.arguments));
      expect_mistake(program(name, mistake.arguments), mistake.fragments);
      ASSERT_EQ(contents(path(".")), before);
    }
  }

  // Trains with one setting changed.
  Mistake setting(const std::string& assignment, const std::vector<std::string>& fragments) const {
    return {train_arguments("run", {"--set", assignment}), fragments};
  }
  Mistake data(const std::string& file, const std::vector<std::string>& fragments) const {
    return {{"tiny.json", "--output", "run", "--data", file}, fragments};
  }
};

TEST_F(MistakesTest, Configuration) {
  auto broken = [&](const std::string& name, const std::string& text) {
    write_bytes(path(name), text);
    return std::vector<std::string>{name, "--data", "film.hspy", "--output", "run"};
  };
  expect_no_trace(
      "train",
      {
          {broken("unknown.json", R"({"training": {"qqqqqq": 3}})"),
           {"unknown.json", "training.qqqqqq", "known"}},
          {broken("mistyped.json", R"({"training": {"learing_rate": 3}})"), {"did you mean learning_rate?"}},
          {broken("group.json", R"({"trainnig": {}})"), {"group.json", "did you mean training?"}},
          {broken("type.json", R"({"model": {"hidden": "wide"}})"),
           {"model.hidden", "whole number", "\"wide\""}},
          {broken("range.json", R"({"model": {"hidden": 0}})"), {"model.hidden", "from 1 to 65536", "0"}},
          {broken("twice.json", R"({"model": {"hidden": 8, "hidden": 9}})"), {"model.hidden", "twice"}},
          {broken("malformed.json", "{\n  \"model\": {\n    \"hidden\": 8,,\n"),
           {"malformed.json", "line 3"}},
          {broken("cut.json", R"({"model": {"hid)"), {"cut.json", "not JSON"}},
          {broken("empty.json", ""), {"empty.json"}},
          {broken("list.json", "[1, 2]"), {"list.json", "object"}},
          {{"film.hspy", "--output", "run"}, {"film.hspy"}},
          {{"missing.json", "--output", "run"}, {"missing.json", "No such file"}},
          {{"tiny.json", "--output", "run"}, {"no data", "--data", "data.data_path"}},
          setting("training.epoch=3", {"did you mean epochs?"}),
          setting("training.epochs=many", {"training.epochs", "whole number", "many"}),
          setting("training.epochs", {"group.key=value"}),
          setting("precision=fp17", {"precision", "fp32", "bf16", "fp17"}),
          setting("precision=tf32", {"precision tf32", "fp32"}),
          setting("device=cuda:99", {"device 'cuda:99'"}),
          setting("device=abacus", {"device 'abacus'", "cpu"}),
          setting("preprocess.scaling_method=zscore", {"preprocess.scaling_method", "cross_entropy"}),
          setting("tiles.image_size=10", {"tiles.image_size", "multiple of 4", "10"}),
          setting("tiles.sliding_window_stride=9", {"tiles.sliding_window_stride", "tiles.image_size"}),
          setting("tiles.anomaly_indices=0,99", {"tiles.anomaly_indices", "99", "30 tiles"}),
          setting("tiles.anomaly_indices=-1", {"tiles.anomaly_indices", "-1"}),
          setting("data.energy_range=100,200", {"data.energy_range", "700 to 718.9 eV"}),
          setting("data.energy_range=705,706", {"data.energy_range", "16"}),
          setting("data.dataset=3", {"film.hspy", "3"}),
          setting("data.exclude=0,0,23,2", {"data.exclude", "[0, 0, 23, 2]", "(22, 26)"}),
          setting("data.exclude=0,0,22,26", {"data.exclude", "none of the image's 572 pixels"}),
          setting("data.exclude=5,5,5,6", {"data.exclude", "y0 < y1"}),
          setting("data.exclude_path=missing.npy", {"missing.npy", "No such file"}),
          setting("data.exclude_path=film.hspy", {"film.hspy", ".npy"}),
      });
}

TEST_F(MistakesTest, AModelThatDoesNotFitIntoMemory) {
  for (const std::string sizes : {"model.latent_dim=65536", "model.channels=8,8,8,4096"}) {
    const auto before = contents(path("."));
    const ProgramResult result = train("run", {"--set", "model.hidden=65536", "--set", sizes});
    expect_mistake(result, {"not enough memory on ", "the plan needs ", " GiB are free", "--plan"});
    double needed = 0, available = 0;
    const size_t numbers = result.err.find("needs ");
    ASSERT_EQ(std::sscanf(result.err.c_str() + numbers, "needs %lf GiB, %lf", &needed, &available), 2);
    EXPECT_GT(needed, available);
    EXPECT_EQ(contents(path(".")), before);
  }
}

TEST_F(MistakesTest, Data) {
  const std::vector<int64_t> shape = {10, 10, 32};
  std::vector<float> counts(3200);
  for (size_t i = 0; i < counts.size(); ++i) counts[i] = static_cast<float>(100 + i % 37);
  write_npy(path("good.npy"), shape, counts.data());
  auto with = [&](const std::string& name, float value) {
    std::vector<float> changed = counts;
    changed[(3 * 10 + 4) * 32 + 5] = value;
    write_npy(path(name), shape, changed.data());
  };
  with("nan.npy", std::numeric_limits<float>::quiet_NaN());
  with("inf.npy", std::numeric_limits<float>::infinity());
  with("negative.npy", -5);
  write_npy(path("flat.npy"), {100, 32}, counts.data());
  write_npy(path("small.npy"), {4, 25, 32}, counts.data());
  write_npy(path("narrow.npy"), {20, 20, 8}, counts.data());
  write_npy(path("constant.npy"), shape, std::vector<float>(3200, 7.0f).data());
  write_npy(path("zero.npy"), shape, std::vector<float>(3200, 0.0f).data());
  write_bytes(path("empty.hspy"), "");
  write_bytes(path("text.dat"), "energy counts\n700 12\n");
  ASSERT_EQ(train("good", {"--data", "good.npy"}).status, 2) << "--data twice";
  const std::string not_finite = "(y, x, channel) = (3, 4, 5)";
  expect_no_trace("train", {
                               data("missing.hspy", {"missing.hspy", "No such file"}),
                               data("empty.hspy", {"empty.hspy", "empty"}),
                               data("text.dat", {"text.dat", "format", ".hspy"}),
                               data(".", {"directory"}),
                               data("nan.npy", {"nan.npy", "not finite", not_finite}),
                               data("inf.npy", {"inf.npy", "not finite", not_finite}),
                               data("constant.npy", {"equal"}),
                               data("zero.npy", {"equal"}),
                               data("flat.npy", {"1 x 100", "8 x 8", "baseline"}),
                               data("small.npy", {"4 x 25", "8 x 8", "tiles.image_size"}),
                               data("narrow.npy", {"8 channels", "16"}),
                               {{"tiny.json", "--output", "run", "--data", "negative.npy", "--set",
                                 "preprocess.scaling_method=none", "--set", "preprocess.sigma=0"},
                                {"-5", "cross_entropy", "mse"}},
                           });
  EXPECT_EQ(program("train", {"tiny.json", "--output", "good", "--data", "good.npy"}).status, 0);
}

TEST_F(MistakesTest, CutOffData) {
  ASSERT_EQ(program("simulate", {"--shape", "22", "26", "64", "--output", "film.npy"}).status, 0);
  std::vector<Mistake> mistakes;
  for (const std::string name : {"film.hspy", "film.npy"}) {
    const std::string bytes = read_bytes(path(name));
    for (size_t length :
         {size_t{1}, size_t{7}, size_t{60}, size_t{500}, bytes.size() / 2, bytes.size() - 1}) {
      const std::string cut = std::to_string(length) + "-" + name;
      write_bytes(path(cut), bytes.substr(0, length));
      mistakes.push_back(data(cut, {cut}));
    }
  }
  expect_no_trace("train", mistakes);
}

TEST_F(MistakesTest, ALineScanIsNoSpectrumImage) {
  const std::string file = shared_data("LSMO_linescan.hspy");
  if (file.empty()) GTEST_SKIP() << "shared/data is missing";
  expect_no_trace("train", {data(file, {"1 x 40", "8 x 8", "baseline"})});
}

TEST_F(MistakesTest, OutputFolder) {
  write_bytes(path("file"), "in the way");
  auto output = [&](const std::string& name, const std::vector<std::string>& fragments) {
    return Mistake{train_arguments(name), fragments};
  };
  expect_no_trace("train",
                  {output("file", {"file", "not a folder"}), output("file/run", {"file/run"}),
                   output("/proc/eelsvae", {"/proc/eelsvae", "cannot create"}), output("", {"empty"})});
  ASSERT_EQ(train("run").status, 0);
  expect_no_trace("detect", {{{"--model", "run", "--output", "file"}, {"file", "not a folder"}},
                             {{"--model", "run", "--output", "/proc/eelsvae"}, {"/proc/eelsvae"}}});
}

TEST_F(MistakesTest, ResumingWhatIsNotThere) {
  expect_no_trace(
      "train", {{train_arguments("nowhere", {"--resume"}),
                 {"there is no folder nowhere with a run to continue", "--output", "leave out --resume"}}});
}

// As a script has it whose variable was never set.
TEST_F(MistakesTest, EmptyOptions) {
  expect_no_trace("detect", {{{"film.hspy", "--expectation", ""}, {"--expectation: is empty"}},
                             {{"film.hspy", "--baseline", ""}, {"--baseline: is empty"}},
                             {{"film.hspy", "--model", ""}, {"--model: is empty"}},
                             {{"film.hspy", "--model=", "--output", "found"}, {"--model: is empty"}},
                             {{""}, {"is empty"}}});
  expect_no_trace("train", {{{"tiny.json", "--data", ""}, {"--data: is empty"}}});
}

TEST_F(MistakesTest, LockedOutputFolder) {
  if (geteuid() == 0) GTEST_SKIP() << "permissions do not bind root";
  using std::filesystem::perms;
  std::filesystem::create_directory(path("locked"));
  std::filesystem::permissions(path("locked"), perms::owner_read | perms::owner_exec);
  expect_no_trace("train", {{train_arguments("locked"), {"locked", "Permission denied"}},
                            {train_arguments("locked/run"), {"locked/run", "Permission denied"}}});
}

TEST_F(MistakesTest, Weights) {
  const std::string foreign = fixture("pytorch_mse.safetensors");
  expect_no_trace(
      "train", {{train_arguments("run", {"--weights", "missing"}), {"missing", "No such file"}},
                {train_arguments("run", {"--weights", "film.hspy"}), {"film.hspy", "not a safetensors file"}},
                {train_arguments("run", {"--weights", foreign}), {"encoder.0.weight", "shape"}}});
}

TEST_F(MistakesTest, Detection) {
  ASSERT_EQ(train("run").status, 0);
  const std::string model = read_bytes(path("run/model.safetensors"));
  write_bytes(path("header.safetensors"), model.substr(0, 1000));
  write_bytes(path("half.safetensors"), model.substr(0, model.size() - 100));
  write_bytes(path("empty.safetensors"), "");
  {
    const SafetensorsFile file(path("run/model.safetensors"));
    const TensorView& bias = file.tensor("encoder.0.bias");
    write_safetensors(path("weights.safetensors"),
                      {{"encoder.0.bias", bias.dtype, bias.shape,
                        [&](const ByteSink& sink) { sink(bias.data, bias.bytes); }}},
                      {});
  }
  std::filesystem::create_directory(path("bare"));
  ASSERT_EQ(program("simulate", {"--shape", "22", "26", "64", "--offset-ev", "690", "--output", "other.hspy"})
                .status,
            0);
  ASSERT_EQ(program("simulate", {"--shape", "6", "26", "64", "--offset-ev", "700", "--output", "small.hspy"})
                .status,
            0);
  write_npy(path("truth34.npy"), {3, 4}, std::vector<uint8_t>(12).data());
  auto model_of = [](const std::string& file, const std::vector<std::string>& fragments) {
    return Mistake{{"--model", file, "--data", "film.hspy", "--output", "found"}, fragments};
  };
  auto with = [](std::vector<std::string> more, const std::vector<std::string>& fragments) {
    more.insert(more.begin(), {"--model", "run", "--output", "found"});
    return Mistake{more, fragments};
  };
  expect_no_trace(
      "detect",
      {
          model_of("missing", {"missing", "no such run folder"}),
          model_of("bare", {"bare", "model.safetensors"}),
          model_of("film.hspy", {"film.hspy", "not a safetensors file"}),
          model_of("header.safetensors", {"header.safetensors", "cut off"}),
          model_of("half.safetensors", {"half.safetensors", "the file has"}),
          model_of("empty.safetensors", {"empty.safetensors"}),
          model_of("weights.safetensors", {"weights.safetensors", "no eelsvae model", "eelsvae-train"}),
          model_of(fixture("pytorch_mse.safetensors"), {"pytorch_mse.safetensors", "eelsvae-train"}),
          with({"--data", "other.hspy"}, {"690 to 708.9 eV", "700 to 718.9 eV"}),
          with({"--data", "small.hspy"}, {"6 x 26", "8 x 8"}),
          with({"--data", "missing.hspy"}, {"missing.hspy"}),
          with({"--truth", "truth34.npy"}, {"truth34.npy", "(3, 4)", "(22, 26)"}),
          with({"--truth", "missing.npy"}, {"missing.npy"}),
          with({"--set", "model.hidden=9"}, {"model.hidden", "trained model", "detection.*"}),
          with({"--set", "tiles.image_size=12"}, {"tiles.image_size", "trained model"}),
          with({"--set", "detection.score=nearness"}, {"detection.score", "nearness", "pearson"}),
          with({"--set", "detection.window=100,200"}, {"100 to 200 eV", "700 to 718.9 eV"}),
          with({"--set", "detection.stride=9"}, {"detection.stride", "tiles.image_size"}),
          with({"--set", "detection.treshold=1"}, {"did you mean threshold?"}),
          with({"--set", "detection.batch_size=0"}, {"detection.batch_size", "from 1"}),
          with({"--set", "device=abacus"}, {"abacus"}),
          with({"--set", "data.exclude=0,0,4,27"}, {"data.exclude", "[0, 0, 4, 27]", "(22, 26)"}),
          with({"--set", "data.exclude_path=truth34.npy"}, {"truth34.npy", "(3, 4)", "(22, 26)"}),
      });
}

TEST_F(MistakesTest, DetectionWithABaseline) {
  auto with = [](std::vector<std::string> more, const std::vector<std::string>& fragments) {
    more.insert(more.begin(), {"--data", "film.hspy", "--output", "found"});
    return Mistake{more, fragments};
  };
  expect_no_trace(
      "detect",
      {
          with({"--fit", "film.hspy"}, {"--fit", "belong to --baseline"}),
          with({"--set", "detection.fdr=2"}, {"detection.fdr", "between 0 and 1"}),
          {{"missing.dm4"}, {"missing.dm4"}},
          {{"film.hspy", "--minutes", "nan"}, {"--minutes", "from 0 to 100000"}},
          with({"--baseline", "mean", "--minutes", "1"}, {"--minutes", "leave it out with --baseline"}),
          with({"--model", "run", "--minutes", "1"}, {"--minutes", "leave it out with --model"}),
          with({"--model", "."}, {"is no run folder", "--output of eelsvae-train", "model.safetensors"}),
          with({"--model", "run", "--baseline", "mean"}, {"one of --model RUN"}),
          with({"--baseline", "median"}, {"median", "mean", "pca", "rx"}),
          with({"--baseline", "pca:none"}, {"pca:none"}),
          with({"--model", "run", "--fit", "film.hspy"}, {"--fit", "belongs to --baseline"}),
          with({"--model", "run", "--config", "tiny.json"}, {"--config", "belongs to --baseline"}),
          with({"--baseline", "mean", "--fit", "missing.hspy"}, {"missing.hspy"}),
          with({"--baseline", "mean", "--config", "missing.json"}, {"missing.json"}),
          with({"--baseline", "mean", "--set", "detection.window=100,200"}, {"100 to 200 eV"}),
          with({"--baseline", "mean", "--set", "detection.score=latent"},
               {"detection.score", "needs a model"}),
          with({"--baseline", "mean", "--set", "detection.threshold_method=conformal"},
               {"detection.threshold_method=conformal", "model"}),
          with({"--baseline", "mean", "--set", "detection.fdr=2"}, {"detection.fdr", "between 0 and 1"}),
          {{"--baseline", "mean", "--output", "found"}, {"no data", "--data FILE"}},
      });
}

TEST_F(MistakesTest, Simulation) {
  auto with = [](std::vector<std::string> more, const std::vector<std::string>& fragments) {
    more.insert(more.begin(), {"--output", "new.hspy"});
    return Mistake{more, fragments};
  };
  expect_no_trace(
      "simulate",
      {
          {{"--output", "new.txt"}, {"new.txt", ".hspy"}},
          {{"--output", "missing/new.hspy", "--shape", "24", "24", "64"}, {"missing/new.hspy"}},
          with({"--truth", "new.hspy"}, {"new.hspy"}),
          with({"--preset", "unobtainium"}, {"unobtainium", "bfo"}),
          with({"--shape", "3"}, {"--shape"}),
          with({"--shape", "0", "3"}, {"0 x 3"}),
          with({"--shape", "1000000", "1000000", "1000"}, {"1000000 x 1000000"}),
          with({"--seed", "one"}, {"--seed", "one"}),
          with({"--dispersion-ev", "0"}, {"dispersion"}),
          with({"--exposure", "-1"}, {"exposure"}),
          with({"--anomalies", "1000000", "--shape", "24", "24", "64"}, {"1000000 anomalies", "24 x 24"}),
      });
}

}  // namespace
}  // namespace eelsvae
