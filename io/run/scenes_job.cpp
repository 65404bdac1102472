#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "io/containers/zip_archive.h"
#include "io/files/atomic_file.h"
#include "io/files/mapped_file.h"
#include "io/files/npy.h"
#include "io/files/output_folder.h"
#include "io/formats/image_data.h"
#include "io/run/automatic_job.h"
#include "io/run/job_folder.h"
#include "io/run/scenes_job.h"
#include "io/run/training_run.h"
#include "io/terminal/program.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Scene {
  std::string name, data;
  std::vector<int64_t> size;  // (y, x)
  Truth truth;
  std::vector<std::string> settings;  // that its data are read and searched with
};

// A scene whose arrays belong together and can be worked on with the settings, as far as headers tell. An
// axis that the archive does not have is made up.
Scene check_scene(const fs::path& archive_path, const std::vector<std::string>& settings) {
  const std::string path = archive_path;
  const ZipArchive archive(std::make_shared<const MappedFile>(path));
  const ZipMember* truth = archive.find("truth.npy");
  if (!truth || !archive.find("data.npy"))
    throw UserError(path + ": is no scene; it needs the arrays data (y, x, E) and truth (y, x)");
  Scene scene{archive_path.stem(), path, {}, {}, {}};
  const SpectrumImage plain = open_image_data(path, Config{}, interruption()).image;
  if (plain.energy.units.empty()) scene.settings = {"data.energy_offset=400", "data.dispersion=1"};
  scene.settings.insert(scene.settings.end(), settings.begin(), settings.end());
  scene.size = {plain.y.size, plain.x.size};
  scene.truth = decode_npy_truth(archive.read(*truth, size_t{1} << 30), archive.context(*truth), plain.y.size,
                                 plain.x.size);
  Config config;
  apply_settings(config, path, scene.settings);
  open_image_data(path, config, interruption());
  return scene;
}

json summary_in(const fs::path& folder) {
  std::ifstream file(folder / "summary.json");
  return json::parse(file);
}

// One detection into a folder of its own, unless it is there already.
void detect_once(DetectionRequest request, const Scene& scene, const fs::path& folder) {
  if (fs::exists(folder / "summary.json")) return;
  request.data = scene.data;
  request.truth = folder.parent_path() / "truth.npy";
  request.output = folder;
  if (run_detection(request) == interrupted_status) throw Interrupted();
}

std::string cell(const json& value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", value.is_null() ? std::nan("") : value.get<double>());
  return value.is_null() ? "-" : text;
}

std::string row(const std::string& scene, const std::string& method, const json& s) {
  const auto found = s.at("anomalous_pixels").get<int64_t>();
  const std::string delivered = found == 0 ? "-" : cell(1 - s.at("precision").get<double>());
  return "| " + scene + " | " + method + " | " + cell(s.at("average_precision")) + " | " +
         cell(s.at("roc_auc")) + " | " + cell(s.at("f1")) + " | " + std::to_string(found) + " | " +
         delivered + " | " + (s.at("trusted").get<bool>() ? "yes" : "no") + " |\n";
}

}  // namespace

int run_scenes(const StudyRequest& request) {
  std::vector<fs::path> archives;
  if (!fs::is_directory(request.scenes)) throw UserError(request.scenes + ": no such folder");
  for (const auto& entry : fs::directory_iterator(request.scenes))
    if (entry.path().extension() == ".npz") archives.push_back(entry.path());
  std::ranges::sort(archives);
  if (archives.empty()) throw UserError(request.scenes + ": holds no scene, .npz with data and truth");
  check_minutes(request.minutes);
  std::vector<Scene> scenes;
  for (const fs::path& archive : archives) scenes.push_back(check_scene(archive, request.settings));
  if (request.plan) {
    std::printf(
        "%zu scene%s, readable with these settings; each within %.3g minutes (--minutes) and by every "
        "candidate\n",
        scenes.size(), scenes.size() == 1 ? "" : "s", request.minutes);
    return 0;
  }
  const fs::path output = request.output;
  JobFolder folder_of_all(output, JobFolder::Kind::study);
  if (fs::exists(output / "scenes.md") && !request.resume)
    throw UserError("there are results in " + request.output + "; choose another --output, or --resume");

  folder_of_all.prepare();
  json all = json::array();
  std::string table =
      "| scene | by | average precision | ROC-AUC | F1 | found | false among them | trusted |\n"
      "|---|---|---|---|---|---|---|---|\n";
  for (const Scene& scene : scenes) {
    const fs::path folder = output / scene.name;
    prepare_output_folder(folder);
    write_npy_truth(folder / "truth.npy", scene.size, scene.truth);
    auto note = [&](const std::string& method, const fs::path& found) {
      const json summary = summary_in(found);
      table += row(scene.name, method, summary);
      all.push_back({{"scene", scene.name}, {"by", method}, {"summary", summary}});
    };
    // The model is the one that is trained where everything is chosen, and so is the preparation of all.
    DetectionRequest chosen;
    chosen.settings = scene.settings;
    chosen.minutes = request.minutes;
    detect_once(chosen, scene, folder / "chosen");
    const RunFolder run{folder / "chosen" / "model"};
    if (fs::exists(run.best())) {
      DetectionRequest by_model;
      by_model.model = run.path;
      detect_once(by_model, scene, folder / "model");
      note("model", folder / "model");
    }
    for (const std::string baseline : {"mean", "pca:auto", "rx:auto"}) {
      DetectionRequest by_baseline;
      by_baseline.baseline = baseline;
      by_baseline.config = folder / "chosen" / "config.json";
      const std::string name = baseline.substr(0, baseline.find(':'));
      detect_once(by_baseline, scene, folder / name);
      note(name, folder / name);
    }
    note("chosen", folder / "chosen");
  }
  write_file(output / "scenes.json", all.dump(2) + "\n");
  write_file(output / "scenes.md", table);
  std::printf("%s", table.c_str());
  return 0;
}

}  // namespace eelsvae
