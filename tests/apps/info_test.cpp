#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/files/npy.h"
#include "io/files/safetensors.h"
#include "io/formats/hspy.h"
#include "tests/apps/run_program.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class InfoTest : public FileTest {};

TEST_F(InfoTest, MeasuredSpectrumImage) {
  const std::string file = shared_data("CuZn_EELS_mapping.hspy");
  if (file.empty()) GTEST_SKIP() << "shared/data is missing";
  const ProgramResult info = run_app("info", {file, "--json"});
  EXPECT_EQ(info.status, 0) << info.err;
  EXPECT_EQ(info.err, "");
  const json nm = {{"size", 50}, {"offset", 0.0}, {"scale", 0.9213861227035522}, {"units", "nm"}};
  json y = nm, x = nm;
  y["name"] = "y";
  x["name"] = "x";
  x["size"] = 40;
  const json energy = {
      {"name", "Energy loss"}, {"size", 162}, {"offset", 700.0}, {"scale", 8.0}, {"units", "eV"}};
  EXPECT_EQ(json::parse(info.out), (json{{"images",
                                          {{{"title", "EELS Spectrum Image"},
                                            {"signal", "EELS"},
                                            {"kind", "spectrum image"},
                                            {"shape", {50, 40, 162}},
                                            {"dtype", "int16"},
                                            {"axes", {y, x, energy}},
                                            {"notes", json::array()},
                                            {"fault", ""}}}},
                                         {"format", "HyperSpy"}}));
}

TEST_F(InfoTest, TablesSayWhatIsThere) {
  const ProgramResult info = run_app("info", {fixture("hspy/several.hspy")});
  EXPECT_EQ(info.status, 0) << info.err;
  for (const char* text : {"HyperSpy, 6 images", "3  d loss", "EELS spectrum image (2, 3, 4), float32",
                           "EELS line scan (2, 3), float64", "4  e second loss"})
    EXPECT_NE(info.out.find(text), std::string::npos) << text << "\n" << info.out;
}

TEST_F(InfoTest, ReadsHeadersOnly) {
  // 8 PB declared, not a byte of them there.
  const ProgramResult info = run_app("info", {fixture("hspy/bad_huge.hspy"), "--json"});
  EXPECT_EQ(info.status, 0) << info.err;
  EXPECT_EQ(json::parse(info.out)["images"][0]["shape"], (json{1000000, 1000000, 2048}));
}

TEST_F(InfoTest, ModelFile) {
  const auto tensor = [](const std::string& name, int64_t size) {
    return SafetensorsEntry{name, "F32", {size, 2}, [=](const ByteSink& sink) {
                              sink(std::vector<float>(static_cast<size_t>(2 * size)).data(),
                                   static_cast<size_t>(8 * size));
                            }};
  };
  write_safetensors(path("model.safetensors"), {tensor("encoder.0.weight", 3), tensor("encoder.0.bias", 4)},
                    {{"config", R"({"model": {"latent_dim": 48}})"}, {"note", "plain text"}});
  const ProgramResult as_json = run_app("info", {"--json", path("model.safetensors")});
  EXPECT_EQ(as_json.status, 0) << as_json.err;
  const json info = json::parse(as_json.out);
  EXPECT_EQ(info["parameters"], 14);
  EXPECT_EQ(info["tensors"][0], (json{{"name", "encoder.0.weight"}, {"dtype", "F32"}, {"shape", {3, 2}}}));
  EXPECT_EQ(info["metadata"]["config"]["model"]["latent_dim"], 48);
  EXPECT_EQ(info["metadata"]["note"], "plain text");
  const ProgramResult table = run_app("info", {path("model.safetensors")});
  EXPECT_EQ(table.status, 0) << table.err;
  EXPECT_NE(table.out.find("2 tensors, 14 numbers"), std::string::npos) << table.out;
  EXPECT_NE(table.out.find("encoder.0.bias   F32      (4, 2)"), std::string::npos) << table.out;
}

TEST_F(InfoTest, AMistakeIsOneLineAndStatusTwo) {
  const auto expect_error = [](const std::vector<std::string>& arguments, const std::string& message) {
    const ProgramResult info = run_app("info", arguments);
    EXPECT_EQ(info.status, 2);
    EXPECT_EQ(info.out, "");
    EXPECT_EQ(info.err, "eelsvae-info: " + message + "\n");
  };
  expect_error({path("missing.hspy")}, "cannot read " + path("missing.hspy") + ": No such file or directory");
  expect_error({path(".")}, path(".") + ": is a directory; give the file of the spectrum image");
  write_bytes(path("empty"), "");
  expect_error({path("empty")}, path("empty") + ": empty file");
  expect_error({fixture("hspy/bad_axis_missing.hspy"), "--json"},
               fixture("hspy/bad_axis_missing.hspy") + ": image 't', axis-1 is missing");
  EXPECT_EQ(run_app("info", {}).status, 2);
  EXPECT_EQ(run_app("info", {"a", "--jsn"}).status, 2);
}

TEST_F(InfoTest, Help) {
  const ProgramResult help = run_app("info", {"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_NE(help.out.find("Example: eelsvae-info specimen.hspy"), std::string::npos);
  EXPECT_EQ(help.out.rfind("Says what is in a file", 0), 0u);
}

}  // namespace
}  // namespace eelsvae
