#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace eelsvae {

// Writes folders of Zarr by hand, so that anything in them can be wrong.
class ZarrFolder {
 public:
  ZarrFolder(std::string path, int version) : path_(std::move(path)), version_(version) {
    group("", {{"file_format", "ZSpy"}});
  }

  const std::string& path() const { return path_; }

  void group(const std::string& name, const nlohmann::json& attributes = nlohmann::json::object()) const {
    if (version_ == 3) {
      write(name + "/zarr.json",
            nlohmann::json{{"zarr_format", 3}, {"node_type", "group"}, {"attributes", attributes}}.dump());
      return;
    }
    write(name + "/.zgroup", R"({"zarr_format": 2})");
    if (!attributes.empty()) write(name + "/.zattrs", attributes.dump());
  }

  // Little-endian floats in C order, without compression; `more` overrides what the JSON says.
  void array(const std::string& name, const std::vector<int64_t>& shape, const std::vector<int64_t>& chunk,
             const nlohmann::json& more = nlohmann::json::object()) const {
    nlohmann::json metadata;
    if (version_ == 3)
      metadata = {{"zarr_format", 3},
                  {"node_type", "array"},
                  {"shape", shape},
                  {"data_type", "float32"},
                  {"chunk_grid", {{"name", "regular"}, {"configuration", {{"chunk_shape", chunk}}}}},
                  {"chunk_key_encoding", {{"name", "default"}}},
                  {"fill_value", 0},
                  {"codecs", {{{"name", "bytes"}, {"configuration", {{"endian", "little"}}}}}}};
    else
      metadata = {{"zarr_format", 2},      {"shape", shape},  {"chunks", chunk},    {"dtype", "<f4"},
                  {"compressor", nullptr}, {"fill_value", 0}, {"filters", nullptr}, {"order", "C"}};
    metadata.update(more);
    write(name + (version_ == 3 ? "/zarr.json" : "/.zarray"), metadata.dump());
  }

  // HyperSpy's tree around an image (y, x, E), whose array is to be written as DATA.
  void image(const std::string& title = "a") const {
    const std::string experiment = "Experiments/" + title;
    for (const std::string& name : {std::string("Experiments"), experiment, experiment + "/metadata"})
      group(name);
    group(experiment + "/metadata/Signal", {{"signal_type", "EELS"}});
    for (int i = 0; i < 3; ++i)
      group(experiment + "/axis-" + std::to_string(i),
            {{"name", std::vector<std::string>{"y", "x", "E"}[static_cast<size_t>(i)]},
             {"units", i < 2 ? "nm" : "eV"},
             {"offset", i < 2 ? 0 : 500},
             {"scale", 0.5},
             {"navigate", i < 2}});
  }

  void write(const std::string& name, const std::string& content) const {
    const std::filesystem::path file =
        std::filesystem::path(path_) / (name[0] == '/' ? name.substr(1) : name);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
  }

 private:
  std::string path_;
  int version_;
};

}  // namespace eelsvae
