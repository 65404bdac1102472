#include <algorithm>
#include <cstdio>
#include <numeric>

#include "engine/image/energy_axis.h"
#include "io/files/atomic_file.h"
#include "io/files/npy.h"
#include "io/formats/spectrum_image_write.h"
#include "io/run/jobs.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

void check_mask_name(const std::string& option, const std::string& name, const std::string& output) {
  if (!name.empty() && !name.ends_with(".npy")) throw UserError(option + " " + name + " must end in .npy");
  if (!name.empty() && name == output)
    throw UserError(option + " and --output name the same file, " + output);
}

// The preset's parameters but those that are given.
SpecimenParameters specimen_of(const SimulationRequest& request) {
  SpecimenParameters chosen = preset_parameters(preset_named(request.preset));
  if ((!chosen.interface && (request.interface_angle_deg || request.interface_position)) ||
      (!chosen.interface && chosen.grain_nm == 0 && request.interface_width_nm))
    throw UserError("preset " + request.preset +
                    " has no interface; interface, hetero and lattice-interface have one, and polycrystal "
                    "has boundaries of "
                    "--interface-width-nm");
  if (chosen.grain_nm == 0 && request.grain_nm)
    throw UserError("preset " + request.preset + " has no grains; polycrystal has");
  const auto set = [](auto& parameter, const auto& given) {
    if (given) parameter = *given;
  };
  set(chosen.interface_angle_deg, request.interface_angle_deg);
  set(chosen.interface_position, request.interface_position);
  set(chosen.interface_width_nm, request.interface_width_nm);
  set(chosen.manganese, request.manganese);
  set(chosen.manganese_direction_deg, request.manganese_direction_deg);
  set(chosen.grain_nm, request.grain_nm);
  set(chosen.drift_ev, request.drift_ev);
  set(chosen.thickness, request.thickness);
  set(chosen.thickness_direction_deg, request.thickness_direction_deg);
  set(chosen.damage, request.damage);
  if (request.manganese_direction_deg && chosen.manganese[0] == chosen.manganese[1])
    throw UserError(
        "--manganese-direction-deg: the share of Mn is the same everywhere; --manganese sets it at both "
        "ends");
  if (request.thickness_direction_deg && chosen.thickness[0] == chosen.thickness[1])
    throw UserError(
        "--thickness-direction-deg: the thickness is the same everywhere; --thickness sets it at both ends");
  return chosen;
}

SimulationSettings settings_of(const SimulationRequest& request) {
  SimulationSettings settings = request.settings;
  settings.height = request.shape[0];
  settings.width = request.shape[1];
  if (request.shape.size() == 3) settings.channels = request.shape[2];
  settings.preset = preset_named(request.preset);
  settings.specimen = specimen_of(request);

  const std::vector<std::string>& defects = request.defects;
  if (!defects.empty() && (request.shift_ev || request.anomaly_radius))
    throw UserError(
        "--shift-ev and --anomaly-radius are short for --defect fe-shift:EV:disc:RADIUS; give either");
  if (request.shift_ev) settings.shift_ev = *request.shift_ev;
  if (request.anomaly_radius) settings.anomaly_radius = *request.anomaly_radius;
  if (defects == std::vector<std::string>{"none"})
    settings = without_defects(settings);
  else
    for (const std::string& defect : defects) {
      if (defect == "none") throw UserError("--defect none stands alone");
      settings.defects.push_back(parse_defect(defect));
    }
  // Whoever wants the answer, or says how far the lines are moved, wants to see them.
  const bool wanted = request.shift_ev || !request.truth.empty() || !request.labels.empty();
  if (settings.defects.empty() && settings.anomalies > 0 && settings.shift_ev > 0 && wanted)
    settings.defects = {
        {DefectKind::fe_shift, settings.shift_ev, DefectShape::disc, settings.anomaly_radius, {}}};
  return settings;
}

}  // namespace

int run_simulation(const SimulationRequest& request) {
  check_image_name("--output", request.output);
  check_mask_name("--truth", request.truth, request.output);
  check_mask_name("--labels", request.labels, request.output);
  if (!request.labels.empty() && request.labels == request.truth)
    throw UserError("--labels and --truth name the same file, " + request.truth);
  const SimulationSettings settings = settings_of(request);
  for (const std::string& file : {request.output, request.truth, request.labels})  // before one is written
    if (!file.empty()) AtomicFile can_be_written(file);
  const SimulatedImage simulated = simulate(settings);
  const SpectrumImage& image = simulated.image;
  write_spectrum_image(request.output, image);
  const std::vector<int64_t> map = {image.y.size, image.x.size};
  if (!request.truth.empty()) write_npy_truth(request.truth, map, {simulated.truth, simulated.faint});
  if (!request.labels.empty()) write_npy_labels(request.labels, map, simulated.labels.data());
  std::printf("%s: %lld x %lld pixels, %s, %d anomalous pixels\n", request.output.c_str(),
              static_cast<long long>(image.y.size), static_cast<long long>(image.x.size),
              describe(image.energy).c_str(),
              std::accumulate(simulated.truth.begin(), simulated.truth.end(), 0));
  for (size_t k = 0; k < settings.defects.size(); ++k)
    std::printf("  label %zu: %s, %lld pixels\n", k + 1, simulated.defect_names[k].c_str(),
                static_cast<long long>(std::count(simulated.labels.begin(), simulated.labels.end(), k + 1)));
  return 0;
}

}  // namespace eelsvae
