// eelsvae-convert: any spectrum image in, .hspy, .dm4 or .npy out, with the preprocessing that is asked for.

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "apps/command_line.h"
#include "engine/image/energy_axis.h"
#include "engine/image/excluded.h"
#include "engine/prepare/preprocess.h"
#include "io/config/config.h"
#include "io/files/atomic_file.h"
#include "io/files/npy.h"
#include "io/formats/image_data.h"
#include "io/formats/spectrum_image_file.h"
#include "io/formats/spectrum_image_write.h"
#include "io/terminal/program.h"
#include "io/terminal/run_log.h"
#include "kernels/error.h"

using namespace eelsvae;
using nlohmann::ordered_json;

namespace {

struct Options {
  std::string input, output, report;
  int64_t dataset = -1;
  std::vector<std::string> settings;
};

// A configuration in which no step is on but those that the user names.
Config configuration(const Options& options) {
  Config config;
  config.data.dataset = options.dataset;
  config.preprocess.set_aside = 0;
  config.preprocess.sigma = 0;
  config.preprocess.xy_window = 1;
  config.preprocess.scaling_method = Scaling::none;
  for (const std::string& setting : options.settings) {
    const std::string key = setting.substr(0, setting.find('='));
    if (!key.starts_with("data.") && !key.starts_with("preprocess."))
      throw UserError("--set " + key + ": a conversion can set data.* and preprocess.*");
    set_value(config, setting);
  }
  check_config(config, "--set");
  return config;
}

// columns: of the map of shifts, which is of the image before it was binned.
ordered_json report_of(const Options& options, const ReducedImage& reduced, int64_t columns) {
  ordered_json spikes = ordered_json::array();
  for (const Spike& spike : reduced.spikes)
    spikes.push_back({{"y", spike.y},
                      {"x", spike.x},
                      {"channel", spike.channel},
                      {"energy_ev", spike.energy_ev},
                      {"old_counts", spike.old_counts},
                      {"new_counts", spike.new_counts}});
  ordered_json report = {{"input", options.input},
                         {"output", options.output},
                         {"notes", reduced.notes},
                         {"spikes", std::move(spikes)}};
  if (!reduced.shifts_ev.empty()) {
    ordered_json map = ordered_json::array();
    for (auto row = reduced.shifts_ev.begin(); row != reduced.shifts_ev.end(); row += columns)
      map.push_back(std::vector<double>(row, row + columns));
    report["shifts_ev"] = std::move(map);
  }
  return report;
}

int convert(const Options& options) {
  check_image_name("OUT", options.output);
  std::error_code ignored;
  if (std::filesystem::equivalent(options.input, options.output, ignored))
    throw UserError(options.output + ": is the file to convert; name another one to write");
  if (!options.report.empty() && options.report == options.output)
    throw UserError("--report and OUT name the same file, " + options.output);
  const Config config = configuration(options);
  auto log = make_console_log();

  SpectrumImage image = read_image_data(options.input, config.data, interruption());
  const int64_t excluded = excluded_pixels(image.excluded);
  const auto& crop_x = config.preprocess.crop_x;
  const int64_t columns = crop_x ? (*crop_x)[1] - (*crop_x)[0] : image.x.size;
  ReducedImage reduced = reduce(std::move(image), config.preprocess, config.data.energy_range, nullptr,
                                read_drift_image(config, interruption()));
  smooth_and_scale(reduced.image, config.preprocess);
  if (excluded > 0)
    reduced.notes.push_back(std::to_string(excluded) + " excluded pixels are written as zeros");
  for (const std::string& note : reduced.notes) log->info("{}", note);

  write_spectrum_image(options.output, reduced.image);
  if (!options.report.empty()) {
    const ordered_json report = report_of(options, reduced, columns);
    write_file(options.report, report.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
  }
  const SpectrumImage& written = reduced.image;
  log->info("{}: {} x {} pixels, {}", options.output, written.y.size, written.x.size,
            describe(written.energy));
  if (options.output.ends_with(".npy"))
    log->info(
        ".npy has no place for axes; read it with --set data.energy_offset={:.9g} --set "
        "data.dispersion={:.9g}",
        written.energy.offset, written.energy.scale);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CommandLine app(
      "Converts a spectrum image to .hspy, .dm4 or .npy. Nothing is changed unless a --set asks for it: "
      "crop, despike, align, bin, smooth or scale, in the order of docs/config.md.",
      "eelsvae-convert");
  app.footer(
      "Examples:\n"
      "  eelsvae-convert scan.dm4 scan.hspy\n"
      "  eelsvae-convert scan.dm4 small.hspy --set data.energy_range=500,800 --set preprocess.bin_xy=2 \\\n"
      "    --set preprocess.despike=8 --report replaced.json\n"
      "  eelsvae-convert core.dm4 aligned.hspy --set preprocess.align=zero_loss --set "
      "preprocess.align_path=low.dm4");
  app.add_option("FILE", options.input, "Spectrum image; eelsvae-info tells what is in it").required();
  app.add_option("OUT", options.output, "File to write, .hspy, .dm4 or .npy (float32)").required();
  app.add_option("--dataset", options.dataset,
                 "Which image of the file, as eelsvae-info counts them; -1: its EELS spectrum image")
      .capture_default_str();
  app.add_option("--report", options.report,
                 "Write what was done as JSON: notes, every spike that was replaced, energy shifts");
  app.add_option("--set", options.settings, "Ask for a step: --set preprocess.despike=8 (repeatable)")
      .type_name("KEY=VALUE")
      .one_value_each_time();
  return app.run(argc, argv, [&] { return convert(options); });
}
