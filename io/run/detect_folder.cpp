#include "io/run/detect_folder.h"

#include <nlohmann/json.hpp>
#include <system_error>

#include "io/config/config.h"
#include "io/config/detection_json.h"
#include "io/files/atomic_file.h"
#include "io/files/npy.h"
#include "io/formats/hspy.h"
#include "io/model/detection_state_file.h"
#include "io/reports/detection_findings.h"
#include "io/reports/score_pictures.h"
#include "kernels/error.h"

namespace eelsvae {

uint64_t detect_folder_bytes(const SpectrumImage& prepared, bool save_reconstruction) {
  const uint64_t pixels = static_cast<uint64_t>(prepared.pixels());
  const uint64_t cube = pixels * static_cast<uint64_t>(prepared.energy.size) * sizeof(float);
  constexpr uint64_t report = 16 << 20;
  return report + pixels * 16 + (save_reconstruction ? cube : 0);
}

void write_detect_folder(const std::filesystem::path& folder, const DetectionReport& o,
                         bool save_reconstruction, const DetectionState* state) {
  const std::vector<int64_t> shape = {o.prepared.y.size, o.prepared.x.size};
  const nlohmann::ordered_json summary = summary_json(o);
  // What an earlier detection left is replaced as a set: without a summary it is none any more.
  for (const char* file : {"summary.json", "reconstruction.npy", detection_state_name}) {
    std::error_code error;
    std::filesystem::remove(folder / file, error);
    if (error) throw UserError("cannot replace " + (folder / file).string() + ": " + error.message());
  }
  Config config = o.config;
  config.data.data_path = o.data_file;
  write_file(folder / "config.json", to_json_text(config));
  write_npy(folder / "scores.npy", shape, o.detection.scores.data());
  write_npy(folder / "mask.npy", shape, o.detection.mask.data());
  if (save_reconstruction)
    write_npy(folder / "reconstruction.npy", {shape[0], shape[1], o.prepared.energy.size},
              o.expectation.spectra.data());
  write_hspy_map(folder / "scores.hspy", "eelsvae scores of " + o.prepared.title, o.prepared.y, o.prepared.x,
                 o.detection.scores.data(), nlohmann::json({{"eelsvae", summary}}).dump());
  write_score_map(folder / "scores.png", o.prepared, o.detection);
  write_score_histogram(folder / "histogram.png", o.detection);
  write_file(folder / "regions.csv", regions_csv(o.detection, o.prepared, o.config.detection.elements));
  if (state) write_detection_state((folder / detection_state_name).string(), *state);
  write_file(folder / "report.html", render_report(o));
  // Last: whoever sees the summary may rely on the rest.
  write_file(folder / "summary.json", summary.dump(2) + "\n");
}

}  // namespace eelsvae
