#include "io/model/checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/network/model_probe.h"
#include "io/config/config.h"
#include "tests/engine/network/test_model.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr double infinity = std::numeric_limits<double>::infinity();

template <class T>
SafetensorsEntry entry(const std::string& name, const std::string& dtype, std::vector<int64_t> shape,
                       std::vector<T> values) {
  return {name, dtype, std::move(shape),
          [=](const ByteSink& sink) { sink(values.data(), values.size() * sizeof(T)); }};
}

SafetensorsEntry entry(const std::string& name, const TensorView& tensor) {
  return {name, tensor.dtype, tensor.shape, [=](const ByteSink& sink) { sink(tensor.data, tensor.bytes); }};
}

class CheckpointTest : public FileTest {
 protected:
  CheckpointTest() {
    info_.config.data.data_path = "a \"film\".dm3";
    info_.config.tiles.image_size = shape_.image_size;
    info_.config.model = {shape_.channels, shape_.hidden, shape_.latent};
    info_.config.detection.window = {{693.3, 730.5}};
    info_.energy = {"Energy loss", "eV", 423.3, 0.3, shape_.energy};
    info_.scaling = {Scaling::quantile, 0.1, 200 / 3.0, {-1e-3, 0.25, 1 / 3.0, 75}};
    info_.config.preprocess.align = Align::feature;
    info_.config.preprocess.align_window = {{525, 560}};
    info_.alignment = {519.3, 0.3, 2, {1, 1 / 3.0, -2, 0, 5e-300, 1, 1e9, 0.1, 7, 8, 9, 3}};
    EpochRecord first{1, 64, {1e3 / 3, 300.5, 0.1}, std::nullopt, std::nullopt, 1e-4, 0.5, 3.53, 7, 12.25};
    EpochRecord second = first;
    second.epoch = 2;
    second.validation = EpochLoss{1e-300, 2.0 / 3, 1e17};
    second.deviance = 1 + 1.0 / 3;
    info_.history = {first, second};
    info_.normal_scores = {-1.5f, 1e-30f, 1.0f / 3, 7};
    info_.provenance = {{{"device", "cpu"}, {"eelsvae", "0.1.0"}},
                        {{"scan.dm4", 1'000'000'000'000, std::string(64, 'a')}},
                        {"the first image was taken"}};
  }

  TrainingState training_state() const {
    TrainingState state;
    state.epoch = 2;
    state.batch = 3;
    state.step = uint64_t{1} << 40;
    state.schedule.learning_rate = 1e-4 / 3;
    state.schedule.epochs_without_progress = 4;
    state.reconstruction_sum = 0.1;
    state.kl_sum = 1.0 / 7;
    state.norm_sum = 1e9 + 0.1;
    state.mean_sum = {0.1, -0.2, 1e-20};
    state.mean_square_sum = {0.3, 1.0 / 3, 0};
    state.history = info_.history;
    return state;
  }

  // After two steps, so that neither weights nor moments are zero.
  std::unique_ptr<AllocatedModel> trained_model(Backend& backend) const {
    auto model = std::make_unique<AllocatedModel>(backend, shape_, ReconstructionLoss::cross_entropy, 2,
                                                  Purpose::training);
    model->initialize(1);
    for (uint64_t step = 0; step < 2; ++step) {
      model->load_tiles(random_tiles(shape_, 2, step).data());
      ModelProbe(*model).forward_backward({}, 1, step);
      ModelProbe(*model).update(1e-2, 0);
    }
    return model;
  }

  // A checkpoint of ours, with moments if asked.
  std::string write_ours(bool with_moments = false) {
    CheckpointInfo info = info_;
    if (with_moments) info.training = training_state();
    const std::string file = path("ours.safetensors");
    write_checkpoint(file, *trained_model(*backend_), info);
    return file;
  }

  using Tensors = std::map<std::string, SafetensorsEntry>;
  using Metadata = std::map<std::string, std::string>;
  // A copy of our checkpoint with changes.
  std::string changed(const std::function<void(Tensors&, Metadata&)>& change, bool with_moments = false) {
    const SafetensorsFile ours(write_ours(with_moments));
    Tensors tensors;
    for (const std::string& name : ours.names()) tensors[name] = entry(name, ours.tensor(name));
    Metadata metadata = ours.metadata();
    change(tensors, metadata);
    std::vector<SafetensorsEntry> entries;
    for (const auto& [name, tensor] : tensors) entries.push_back(tensor);
    const std::string file = path("changed.safetensors");
    write_safetensors(file, entries, metadata);
    return file;
  }

  // What load_checkpoint says of a file, without the file's name, which must come first.
  std::string load_error(const std::string& file, bool moments = false) {
    AllocatedModel model(*backend_, shape_, ReconstructionLoss::cross_entropy, 2, Purpose::training);
    return after_path(file, user_error([&] { load_checkpoint(SafetensorsFile(file), model, moments); }));
  }
  std::string info_error(const std::string& file) {
    return after_path(file, user_error([&] { read_checkpoint_info(SafetensorsFile(file)); }));
  }
  static std::string after_path(const std::string& file, const std::string& error) {
    if (error.empty()) return "";
    EXPECT_EQ(error.rfind(file, 0), 0u) << error;
    return error.substr(std::min(error.size(), file.size() + 2));
  }

  const std::unique_ptr<Backend> backend_ = make_backend("cpu", "fp32");
  const ModelShape shape_ = small_shape();
  CheckpointInfo info_;
};

// Every number to the last bit; NaN nowhere.
Values numbers_of(const EpochRecord& r) {
  Values values = {static_cast<double>(r.epoch),
                   static_cast<double>(r.steps),
                   r.training.loss,
                   r.training.reconstruction,
                   r.training.kl,
                   static_cast<double>(r.validation.has_value()),
                   r.deviance.value_or(-1),
                   r.learning_rate,
                   r.kl_weight,
                   r.gradient_norm,
                   static_cast<double>(r.active_latent_units),
                   r.seconds};
  if (r.validation)
    values.insert(values.end(), {r.validation->loss, r.validation->reconstruction, r.validation->kl});
  return values;
}

void expect_equal(const std::vector<EpochRecord>& actual, const std::vector<EpochRecord>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_EQ(numbers_of(actual[i]), numbers_of(expected[i]));
}

void expect_equal(const TrainingState& actual, const TrainingState& expected) {
  EXPECT_EQ(actual.epoch, expected.epoch);
  EXPECT_EQ(actual.batch, expected.batch);
  EXPECT_EQ(actual.step, expected.step);
  EXPECT_EQ(actual.schedule.learning_rate, expected.schedule.learning_rate);
  EXPECT_EQ(actual.schedule.best, expected.schedule.best);
  EXPECT_EQ(actual.schedule.epochs_without_progress, expected.schedule.epochs_without_progress);
  EXPECT_EQ(actual.best, expected.best);
  EXPECT_EQ(actual.reconstruction_sum, expected.reconstruction_sum);
  EXPECT_EQ(actual.kl_sum, expected.kl_sum);
  EXPECT_EQ(actual.norm_sum, expected.norm_sum);
  EXPECT_EQ(actual.mean_sum, expected.mean_sum);
  EXPECT_EQ(actual.mean_square_sum, expected.mean_square_sum);
  expect_equal(actual.history, expected.history);
}

TEST_F(CheckpointTest, RestoresEveryBitOfATrainingRun) {
  for (const char* precision : {"fp32", "bf16"}) {
    SCOPED_TRACE(precision);
    std::unique_ptr<Backend> backend;
    try {
      backend = make_backend("cpu", precision);
    } catch (const UserError& error) {
      std::printf("skipped: %s\n", error.what());
      continue;
    }
    const auto model = trained_model(*backend);
    for (double best : {infinity, 1e3 / 3}) {
      info_.training = training_state();
      info_.training->best = info_.training->schedule.best = best;
      const std::string file = path("last.safetensors");
      write_checkpoint(file, *model, info_);
      EXPECT_LE(std::filesystem::file_size(file), checkpoint_bytes(shape_, true));
      EXPECT_EQ(files_in_folder(), 1u);
      const std::vector<std::byte> content = checkpoint_content(*model, info_);  // without a file
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(content.data()), content.size()), read_bytes(file));

      const SafetensorsFile opened(file);
      const CheckpointInfo info = read_checkpoint_info(opened);
      EXPECT_EQ(to_json_text(info.config), to_json_text(info_.config));
      EXPECT_EQ(info.energy, info_.energy);
      EXPECT_EQ(info.scaling, info_.scaling);
      EXPECT_EQ(info.alignment, info_.alignment);
      EXPECT_EQ(info.normal_scores, info_.normal_scores);
      EXPECT_EQ(info.provenance, info_.provenance);
      expect_equal(info.history, info_.history);
      ASSERT_TRUE(info.training);
      expect_equal(*info.training, *info_.training);

      AllocatedModel loaded(*backend, shape_, ReconstructionLoss::cross_entropy, 2, Purpose::training);
      load_checkpoint(opened, loaded, true);
      for (size_t i = 0; i < model->states().size(); ++i) {
        const Values values = values_of(*model, model->states()[i]);
        EXPECT_TRUE(equal(values_of(loaded, loaded.states()[i]), values)) << model->states()[i].name;
        EXPECT_GT(norm_of(values), 0) << model->states()[i].name << ": nothing to compare";
      }
      // What is derived from the weights is remade, too.
      const std::vector<float> tiles = random_tiles(shape_, 2, 9);
      loaded.load_tiles(tiles.data());
      model->load_tiles(tiles.data());
      EXPECT_EQ(loaded.evaluate()[0].reconstruction, model->evaluate()[0].reconstruction);
    }
  }
}

TEST_F(CheckpointTest, OfAFinishedModelHoldsWeightsOnly) {
  const std::string file = write_ours();
  const SafetensorsFile opened(file);
  EXPECT_EQ(opened.names().size(), shape_.parameters().size());
  EXPECT_FALSE(read_checkpoint_info(opened).training);
  EXPECT_LE(std::filesystem::file_size(file), checkpoint_bytes(shape_, false));
  EXPECT_EQ(load_error(file, false), "");
  EXPECT_EQ(load_error(file, true), "has no tensor optimizer.m.encoder.0.weight");

  // Moments are left alone where only weights are wanted, and by a model without any.
  const std::string with_moments = write_ours(true);
  AllocatedModel training(*backend_, shape_, ReconstructionLoss::cross_entropy, 1, Purpose::training);
  load_checkpoint(SafetensorsFile(with_moments), training, false);
  for (const Model::State& state : training.states()) {
    if (state.weight) continue;
    EXPECT_EQ(norm_of(values_of(training, state)), 0) << state.name;
  }
  AllocatedModel inference(*backend_, shape_, ReconstructionLoss::cross_entropy, 1, Purpose::inference);
  load_checkpoint(SafetensorsFile(with_moments), inference, false);
  for (size_t i = 0; i < inference.states().size(); ++i)
    EXPECT_TRUE(
        equal(values_of(inference, inference.states()[i]), values_of(training, training.states()[i])));
}

TEST_F(CheckpointTest, NamesTheTensorThatDoesNotFit) {
  EXPECT_EQ(load_error(changed([](Tensors&, Metadata&) {})), "");
  EXPECT_EQ(load_error(changed([](Tensors& t, Metadata&) { t.erase("decoder.7.bias"); })),
            "has no tensor decoder.7.bias");
  EXPECT_EQ(load_error(changed([](Tensors& t, Metadata&) {
              t["encoder.12.bias"] = entry<float>("encoder.12.bias", "F32", {2}, {1, 2});
            })),
            "has a tensor \"encoder.12.bias\" that the model does not know");
  EXPECT_EQ(load_error(changed([](Tensors& t, Metadata&) {
              t["a"] = entry<float>("a\nb" + std::string(5000, 'c'), "F32", {1}, {1});
            })).substr(0, 20),
            "has a tensor \"a\\nbcc");
  EXPECT_EQ(load_error(changed([](Tensors& t, Metadata&) {
              t["decoder.0.bias"] = entry<float>("decoder.0.bias", "F32", {7}, std::vector<float>(7));
            })),
            "decoder.0.bias has shape [7], the configured model needs [6]");
  // As many elements in another shape are as wrong.
  EXPECT_EQ(load_error(changed([](Tensors& t, Metadata&) {
              t["decoder.0.weight"] = entry<float>("decoder.0.weight", "F32", {3, 6}, std::vector<float>(18));
            })),
            "decoder.0.weight has shape [3,6], the configured model needs [6,3]");
  EXPECT_EQ(load_error(changed([](Tensors& t, Metadata&) {
              t["decoder.0.bias"] = entry<int32_t>("decoder.0.bias", "I32", {6}, {1, 2, 3, 4, 5, 6});
            })),
            "decoder.0.bias is of type I32, not a floating-point type");
  EXPECT_EQ(load_error(changed(
                           [](Tensors& t, Metadata&) {
                             t["optimizer.v.encoder.0.bias"] =
                                 entry<float>("optimizer.v.encoder.0.bias", "F32", {3}, {1, 2, 3});
                           },
                           true),
                       true),
            "optimizer.v.encoder.0.bias has shape [3], the configured model needs [2]");
}

TEST_F(CheckpointTest, TruncatedFilesAreRefused) {
  const std::string whole = read_bytes(write_ours(true)), file = path("cut.safetensors");
  for (size_t size : {size_t{0}, size_t{5}, size_t{8}, size_t{2000}, whole.size() / 2, whole.size() - 1}) {
    write_bytes(file, whole.substr(0, size));
    EXPECT_NE(load_error(file, true), "") << size << " bytes";
  }
  write_bytes(file, whole);
  EXPECT_EQ(load_error(file, true), "");
}

// Checkpoints from before there was alignment have neither its keys nor its reference.
TEST_F(CheckpointTest, OlderCheckpointsLoadWithoutAlignment) {
  const std::string older = changed([](Tensors&, Metadata& metadata) {
    json config = json::parse(metadata.at("config"));
    for (const char* key : {"crop_y", "crop_x", "despike", "align", "align_by", "align_window", "align_path",
                            "align_dataset", "bin_xy", "bin_energy"})
      config["preprocess"].erase(key);
    metadata["config"] = config.dump();
    metadata.erase("alignment");
    metadata.erase("provenance");
    metadata.erase("normal_scores");
  });
  const CheckpointInfo info = read_checkpoint_info(SafetensorsFile(older));
  EXPECT_FALSE(info.alignment);
  EXPECT_EQ(info.provenance, Provenance{});
  EXPECT_TRUE(info.normal_scores.empty());
  EXPECT_EQ(info.config.preprocess.align, Align::none);
  const std::string lost = changed([](Tensors&, Metadata& metadata) { metadata.erase("alignment"); });
  EXPECT_NE(info_error(lost).find("the alignment's reference is missing"), std::string::npos);
}

TEST_F(CheckpointTest, DamagedMetadataAreAUsersErrorThatNamesTheFile) {
  const auto error = [&](const std::string& key, const std::function<void(json&)>& change) {
    return info_error(changed(
        [&](Tensors&, Metadata& metadata) {
          json value = json::parse(metadata.at(key));
          change(value);
          metadata[key] = value.dump();
        },
        true));
  };
  const std::string damaged = "the model description in the metadata is damaged: ";
  const std::string advice = "; give a run folder or a checkpoint that eelsvae-train wrote";
  EXPECT_EQ(error("scaling", [](json&) {}), "");
  EXPECT_EQ(error("scaling", [](json& j) { j["method"] = "sqrt"; }),
            damaged + "unknown scaling method" + advice);
  EXPECT_EQ(error("scaling", [](json& j) { j["quantiles"] = {1.0}; }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("scaling", [](json& j) { j["quantiles"] = {1.0, 3.0, 2.0}; }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("scaling", [](json& j) { j["range"] = 0; }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("alignment",
                  [](json& j) {
                    j["spectrum"] = {1.0, 2.0};
                  }),
            damaged + "the alignment has no usable reference spectrum" + advice);
  EXPECT_EQ(error("alignment", [](json& j) { j["margin"] = 65; }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("alignment", [](json& j) { j["dispersion_ev"] = -0.3; }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("alignment", [](json& j) { j.erase("energy_ev"); }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("energy", [](json& j) { j.erase("scale"); }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("energy", [](json& j) { j["scale"] = json(); }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("energy", [](json& j) { j = {1, 2}; }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("energy", [](json& j) { j["size"] = -16; }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("history", [](json& j) { j[0]["training"].erase("kl"); }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("history", [](json& j) { j = "none"; }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("training",
                  [](json& j) {
                    j["mean_sum"] = {0.5, 1.0};
                  }),
            damaged + "sums over 2 latent units, the model has 3" + advice);
  EXPECT_EQ(error("training", [](json& j) { j["mean_square_sum"].push_back(1); }),
            damaged + "sums over 4 latent units, the model has 3" + advice);
  EXPECT_EQ(error("training", [](json& j) { j["batch"] = -1; }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("training", [](json& j) { j["epoch"] = -1; }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("provenance", [](json& j) { j["inputs"] = {{{"path", 3}}}; }).rfind(damaged, 0), 0u);
  EXPECT_EQ(error("normal_scores",
                  [](json& j) {
                    j = {2.0, 1.0};
                  }),
            damaged + "the scores of held-out spectra do not ascend" + advice);
  EXPECT_NE(error("config", [](json& j) { j["model"]["latent_dim"] = 0; }), "");
  EXPECT_NE(error("config", [](json& j) { j["model"]["depth"] = 3; }), "");

  for (const char* key : {"config", "energy", "scaling", "history", "training"})
    for (const std::string& text :
         {std::string("{\"a\": [1, "), std::string(), std::string("\n\n"), std::string(9000, 'x')})
      EXPECT_NE(info_error(changed([&](Tensors&, Metadata& metadata) { metadata[key] = text; }, true)), "")
          << key;
  for (const char* key : {"config", "energy", "scaling", "history"})
    EXPECT_EQ(info_error(changed([&](Tensors&, Metadata& metadata) { metadata.erase(key); })),
              std::string("holds no eelsvae model: its metadata have no '") + key +
                  "'; give a run folder or a checkpoint that eelsvae-train wrote");
}

TEST_F(CheckpointTest, LoadsOtherFloatingPointTypes) {
  // Half-precision patterns: zeros, normal and subnormal numbers, the ends of the range.
  const std::vector<std::pair<uint16_t, float>> halves = {
      {0x0000, 0.0f},     {0x8000, -0.0f},    {0x3c00, 1.0f},          {0xc000, -2.0f},
      {0x7bff, 65504.0f}, {0x0001, 0x1p-24f}, {0x83ff, -0x1.ff8p-15f}, {0x3555, 0.333251953125f}};
  const std::string file = changed([&](Tensors& tensors, Metadata&) {
    std::vector<uint16_t> half;
    std::vector<double> wide;
    std::vector<bfloat16> brain;
    for (size_t i = 0; i < 15; ++i) half.push_back(halves[i % halves.size()].first);
    for (int i = 0; i < 18; ++i) wide.push_back(1.0 / (i + 3));
    for (int i = 0; i < 36; ++i) brain.push_back(bfloat16(static_cast<float>(i - 7) / 4));
    tensors["encoder.0.weight"] = entry("encoder.0.weight", "F16", {2, 1, 1, 1, 7},
                                        std::vector<uint16_t>(half.begin(), half.begin() + 14));
    tensors["decoder.0.weight"] = entry("decoder.0.weight", "F64", {6, 3}, wide);
    tensors["encoder.11.weight"] = entry("encoder.11.weight", "BF16", {6, 6}, brain);
  });
  AllocatedModel model(*backend_, shape_, ReconstructionLoss::mse, 1, Purpose::training);
  load_checkpoint(SafetensorsFile(file), model, false);
  for (const Model::State& state : model.states()) {
    const Values values = values_of(model, state);
    Values expected;
    for (size_t i = 0; i < values.size(); ++i) {
      const double n = static_cast<double>(i);
      if (state.name == "encoder.0.weight") expected.push_back(halves[i % halves.size()].second);
      if (state.name == "decoder.0.weight") expected.push_back(static_cast<float>(1 / (n + 3)));
      if (state.name == "encoder.11.weight") expected.push_back((n - 7) / 4);
    }
    if (expected.empty()) continue;
    EXPECT_TRUE(equal(values, expected)) << state.name;
  }
}

// The parameters of a fixture, in the very bytes that PyTorch's tensors had.
TEST_F(CheckpointTest, LoadsWhatPyTorchWrote) {
  const SafetensorsFile written(fixture("pytorch_mse.safetensors"));
  const Config config = parse_config(written.metadata().at("config"), "fixture");
  const ModelShape shape = model_shape(config.tiles, config.model, 48);
  std::vector<SafetensorsEntry> parameters;
  for (const std::string& name : written.names())
    if (name.starts_with("encoder.") || name.starts_with("decoder."))
      parameters.push_back(entry(name, written.tensor(name)));
  EXPECT_EQ(parameters.size(), 24u);
  write_safetensors(path("pytorch.safetensors"), parameters, {});

  AllocatedModel model(*backend_, shape, ReconstructionLoss::mse, 1, Purpose::training);
  load_checkpoint(SafetensorsFile(path("pytorch.safetensors")), model, false);
  for (const Model::State& state : model.states()) {
    if (!state.weight) continue;
    const TensorView& tensor = written.tensor(state.name);
    std::vector<float> expected(static_cast<size_t>(tensor.elements()));
    std::memcpy(expected.data(), tensor.data, tensor.bytes);
    EXPECT_TRUE(equal(values_of(model, state), {expected.begin(), expected.end()})) << state.name;
  }
  EXPECT_EQ(info_error(path("pytorch.safetensors")),
            "holds no eelsvae model: its metadata have no 'config'; give a run folder or a checkpoint that "
            "eelsvae-train wrote");
}

// PyTorch loads our file into the published module and computes what we compute.
TEST_F(CheckpointTest, PyTorchLoadsOursAndComputesTheSame) {
  const auto model = trained_model(*backend_);
  info_.training = training_state();
  write_checkpoint(path("model.safetensors"), *model, info_);

  const std::vector<float> tiles = random_tiles(shape_, 2, 5);
  model->load_tiles(tiles.data());
  model->evaluate();
  std::vector<float> mean, logits;
  const Values posterior = ModelProbe(*model).posterior();
  for (size_t i = 0; i < posterior.size(); ++i)
    if (i % 6 < 3) mean.push_back(static_cast<float>(posterior[i]));
  for (double logit : ModelProbe(*model).logits()) logits.push_back(static_cast<float>(logit));
  const std::vector<int64_t> cube = {2, 1, shape_.image_size, shape_.image_size, shape_.energy};
  const std::string outputs = path("outputs.safetensors");
  write_safetensors(outputs,
                    {entry("input", "F32", cube, tiles), entry("mu", "F32", {2, 3}, mean),
                     entry("mean_logits", "F32", cube, logits)},
                    {});

  const ProgramResult result =
      run_python("../fixtures/check_checkpoint.py", {path("model.safetensors"), "--outputs", outputs});
  if (result.status == 77 || result.err.find("No module named") != std::string::npos)
    GTEST_SKIP() << "needs /usr/bin/python3 with python3-torch and python3-numpy";
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_NE(result.out.find(std::to_string(shape_.parameter_count() / 1000)), std::string::npos)
      << result.out;
}

TEST(Metrics, OfAnEpochAreItsRecord) {
  EpochRecord record{3, 192, {10, 9, 1}, std::nullopt, 1e-4, 1, 2.5, 4, 60};
  const json line = metrics_of(record);
  EXPECT_EQ(line["epoch"], 3);
  EXPECT_EQ(line["training"]["loss"], 10);
  EXPECT_TRUE(line["validation"].is_null());
  record.validation = EpochLoss{11, 10, 1};
  EXPECT_EQ(metrics_of(record)["validation"]["reconstruction"], 10);
}

}  // namespace
}  // namespace eelsvae
