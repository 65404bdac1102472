#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/image/energy_axis.h"
#include "engine/image/excluded.h"
#include "engine/prepare/blocks.h"
#include "engine/prepare/preprocess.h"
#include "io/config/config.h"
#include "io/files/atomic_file.h"
#include "io/formats/image_data.h"
#include "io/formats/input_digest.h"
#include "io/formats/spectrum_image_file.h"
#include "io/formats/spectrum_image_write.h"
#include "io/run/jobs.h"
#include "io/terminal/program.h"
#include "io/terminal/run_log.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::ordered_json;

// A configuration in which no step is on but those that the user names.
Config configuration(const ConversionRequest& request) {
  Config config;
  config.data.dataset = request.dataset;
  config.preprocess.set_aside = 0;
  config.preprocess.sigma = 0;
  config.preprocess.xy_window = 1;
  config.preprocess.scaling_method = Scaling::none;
  for (const std::string& setting : request.settings) {
    const std::string key = setting.substr(0, setting.find('='));
    if (!key.starts_with("data.") && !key.starts_with("preprocess."))
      throw UserError("--set " + key + ": a conversion can set data.* and preprocess.*");
    set_value(config, setting);
  }
  check_config(config, "--set");
  return config;
}

// columns: of the map of shifts, which is of the image before it was binned.
ordered_json report_of(const ConversionRequest& request, const Config& config, const ReducedImage& reduced,
                       int64_t columns) {
  ordered_json spikes = ordered_json::array();
  for (const Spike& spike : reduced.spikes)
    spikes.push_back({{"y", spike.y},
                      {"x", spike.x},
                      {"channel", spike.channel},
                      {"energy_ev", spike.energy_ev},
                      {"old_counts", spike.old_counts},
                      {"new_counts", spike.new_counts}});
  ordered_json report = {{"output", request.output},
                         {"configuration", ordered_json::parse(to_json_text(config))},
                         {"notes", reduced.notes},
                         {"spikes", std::move(spikes)}};
  report.update(to_json(
      Provenance{{{"eelsvae", EELSVAE_VERSION}}, record_inputs(input_files(request.input, config)), {}}));
  if (!reduced.shifts_ev.empty()) {
    ordered_json map = ordered_json::array();
    for (auto row = reduced.shifts_ev.begin(); row != reduced.shifts_ev.end(); row += columns)
      map.push_back(std::vector<double>(row, row + columns));
    report["shifts_ev"] = std::move(map);
  }
  return report;
}

}  // namespace

int run_conversion(const ConversionRequest& request) {
  check_image_name("OUT", request.output);
  if (!request.report.empty() && request.report == request.output)
    throw UserError("--report and OUT name the same file, " + request.output);
  const Config config = configuration(request);
  for (const std::string& file : input_files(request.input, config)) {
    std::error_code ignored;
    if (std::filesystem::equivalent(file, request.output, ignored))
      throw UserError(request.output + ": is read by this conversion; name another file to write");
  }
  for (const std::string& file : {request.output, request.report})  // before one of them is written
    if (!file.empty()) AtomicFile can_be_written(file);
  auto log = make_console_log();

  ImageToRead image = open_image_data(request.input, config, interruption());
  const int64_t excluded = excluded_pixels(image.image.excluded);
  const auto& crop_x = config.preprocess.crop_x;
  const int64_t columns = crop_x ? (*crop_x)[1] - (*crop_x)[0] : image.image.x.size;
  ReducedImage reduced = reduce(std::move(image), config.preprocess, config.data.energy_range, nullptr,
                                open_drift_image(config, interruption()));
  smooth_and_scale(reduced.image, config.preprocess);
  if (excluded > 0)
    reduced.notes.push_back(std::to_string(excluded) + " excluded pixels are written as zeros");
  for (const std::string& note : reduced.notes) log->info("{}", note);
  if (const std::string note = scratch_note(); !note.empty()) log->info("{}", note);

  write_spectrum_image(request.output, reduced.image);
  if (!request.report.empty()) {
    const ordered_json report = report_of(request, config, reduced, columns);
    write_file(request.report, report.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
  }
  const SpectrumImage& written = reduced.image;
  log->info("{}: {} x {} pixels, {}", request.output, written.y.size, written.x.size,
            describe(written.energy));
  if (request.output.ends_with(".npy"))
    log->info(
        ".npy has no place for axes; read it with --set data.energy_offset={:.9g} --set "
        "data.dispersion={:.9g}",
        written.energy.offset, written.energy.scale);
  return 0;
}

}  // namespace eelsvae
