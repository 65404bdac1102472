#include <cmath>
#include <cstdlib>

#include "io/formats/gatan_image.h"
#include "io/formats/gatan_tags.h"

namespace eelsvae {
namespace {

using nlohmann::json;

struct Quantity {
  const char* tag;  // below ImageTags
  const char* key;  // below metadata.Acquisition_instrument.TEM
  double factor;    // from Gatan's unit to HyperSpy's
};

// HyperSpy's units: keV, mrad, mm, nA, degrees.
constexpr Quantity quantities[] = {
    {"Microscope Info.Voltage", "beam_energy", 1e-3},
    {"Microscope Info.Probe Current (nA)", "beam_current", 1},
    {"Microscope Info.Stage Position.Stage Alpha", "Stage.tilt_alpha", 1},
    {"Microscope Info.Stage Position.Stage Beta", "Stage.tilt_beta", 1},
    {"Microscope Info.Stage Position.Stage X", "Stage.x", 1e-3},
    {"Microscope Info.Stage Position.Stage Y", "Stage.y", 1e-3},
    {"Microscope Info.Stage Position.Stage Z", "Stage.z", 1e-3},
};

constexpr Quantity eels_quantities[] = {
    {"EELS.Experimental Conditions.Convergence semi-angle (mrad)", "convergence_angle", 1},
    {"EELS.Experimental Conditions.Collection semi-angle (mrad)", "Detector.EELS.collection_angle", 1},
    {"EELS.Acquisition.Number of frames", "Detector.EELS.frame_number", 1},
};

// Gatan's magnification is a camera length in diffraction with a broad beam; scanning has a tag for it.
constexpr Quantity magnification = {"Microscope Info.Indicated Magnification", "magnification", 1};
constexpr Quantity diffraction_length = {"Microscope Info.Indicated Magnification", "camera_length", 1};
constexpr Quantity camera_length = {"Microscope Info.STEM Camera Length", "camera_length", 1};

// Sets the member at a path of names with dots between them.
void set(json& tree, std::string_view path, json value) {
  json* node = &tree;
  while (true) {
    const size_t end = path.find('.');
    if (!node->is_object()) *node = json::object();
    node = &(*node)[std::string(path.substr(0, end))];
    if (end == std::string_view::npos) break;
    path.remove_prefix(end + 1);
  }
  *node = std::move(value);
}

std::string text_at(const json& tree, std::string_view path) {
  const json& tag = tag_at(tree, path);
  return tag.is_string() ? tag.get<std::string>() : "";
}

void copy_number(const json& tags, const Quantity& quantity, json& instrument) {
  const json& tag = tag_at(tags, quantity.tag);
  if (!tag.is_number()) return;
  set(instrument, quantity.key, quantity.factor == 1 ? tag : json(tag.get<double>() * quantity.factor));
}

void copy_text(const json& tags, const char* tag, const char* key, json& target) {
  const std::string text = text_at(tags, tag);
  if (!text.empty()) set(target, key, text);
}

std::string illumination(const json& tags) {
  const std::string mode = text_at(tags, "Microscope Info.Illumination Mode");
  if (mode.find("STEM") != std::string::npos) return "STEM";
  if (mode.find("SEM") != std::string::npos) return "SEM";
  return "TEM";
}

// A pixel of a map has an exposure of several frames if no integration time is stated, s.
json exposure(const json& acquisition) {
  const json& whole = tag_at(acquisition, "Integration time (s)");
  if (whole.is_number()) return whole;
  const json& frame = tag_at(acquisition, "Exposure (s)");
  if (!frame.is_number()) return nullptr;
  const json& frames = tag_at(acquisition, "Number of frames");
  return frame.get<double>() * (frames.is_number() ? frames.get<double>() : 1);
}

void add_eels(const json& tags, json& instrument) {
  for (const Quantity& quantity : eels_quantities) copy_number(tags, quantity, instrument);
  const json time = exposure(tag_at(tags, "EELS.Acquisition"));
  const char* key = tag_at(tags, "DigiScan").is_null() ? "exposure" : "dwell_time";
  if (!time.is_null()) set(instrument, std::string("Detector.EELS.") + key, time);
  copy_text(tags, "EELS Spectrometer.Instrument name", "Detector.EELS.spectrometer", instrument);
  const std::string aperture = text_at(tags, "EELS Spectrometer.Aperture label");  // "5 mm"
  char* end = nullptr;
  const double millimetres = std::strtod(aperture.c_str(), &end);
  if (end != aperture.c_str() && std::isfinite(millimetres))
    set(instrument, "Detector.EELS.aperture_size", millimetres);
}

json instrument_metadata(const json& tags, const std::string& signal) {
  json instrument = json::object();
  for (const Quantity& quantity : quantities) copy_number(tags, quantity, instrument);
  if (text_at(tags, "Microscope Info.Illumination Mode") != "TEM") {
    copy_number(tags, camera_length, instrument);
    copy_number(tags, magnification, instrument);
  } else {
    const bool diffraction = text_at(tags, "Microscope Info.Imaging Mode") == "DIFFRACTION";
    copy_number(tags, diffraction ? diffraction_length : magnification, instrument);
  }
  if (tag_at(tags, "Microscope Info.Illumination Mode").is_string())
    instrument["acquisition_mode"] = illumination(tags);
  for (const char* tag : {"Microscope Info.Microscope", "Microscope Info.Name", "Session Info.Microscope"})
    copy_text(tags, tag, "microscope", instrument);  // the last that is there counts
  if (signal == "EELS") add_eels(tags, instrument);
  return instrument;
}

// HyperSpy's name for what the numbers are, and its model of their noise.
void add_intensity(const json& image, const std::string& signal, json& metadata) {
  const json& brightness = tag_at(image, "ImageData.Calibrations.Brightness");
  std::string quantity = signal == "EDS_TEM" ? "X-rays" : "Intensity";
  const std::string units = text_at(brightness, "Units");
  if (units == "e-") {
    quantity = signal == "EDS_TEM" ? "X-rays (Counts)" : "Electrons (Counts)";
  } else if (!units.empty()) {
    quantity += " (" + units + ")";
  }
  set(metadata, "Signal.quantity", quantity);
  const char* model = "Signal.Noise_properties.Variance_linear_model.";
  const std::pair<const char*, const char*> parts[] = {{"Scale", "gain_factor"}, {"Origin", "gain_offset"}};
  for (const auto& [tag, key] : parts) {
    if (tag_at(brightness, tag).is_number()) set(metadata, std::string(model) + key, brightness[tag]);
  }
}

}  // namespace

json gatan_metadata(const json& tags, size_t place, const ImageInfo& info) {
  const json& image = gatan_image_tag(tags, place);
  // Stacks made of single images keep the tags of those.
  const json& source = tag_at(image, "ImageTags.source.Tags at creation");
  const json& image_tags = source.is_object() ? source : tag_at(image, "ImageTags");

  json metadata = json::object();
  set(metadata, "General.title", info.title);
  set(metadata, "Signal.signal_type", info.signal);
  add_intensity(image, info.signal, metadata);
  copy_text(image_tags, "Session Info.Operator", "General.authors", metadata);
  copy_text(image_tags, "Session Info.Specimen", "Sample.description", metadata);
  json instrument = instrument_metadata(image_tags, info.signal);
  const char* microscope = illumination(image_tags) == "SEM" ? "SEM" : "TEM";
  if (!instrument.empty()) metadata["Acquisition_instrument"][microscope] = std::move(instrument);

  json original = tags;
  original["ImageList"] = {{"TagGroup0", image}};
  return {{"metadata", std::move(metadata)}, {"original_metadata", std::move(original)}};
}

json gatan_image_tags(const json& metadata) {
  json tags = tag_at(metadata, "original_metadata.ImageList.TagGroup0.ImageTags");
  if (!tags.is_object()) {
    tags = json::object();
    const json& instrument = tag_at(metadata, "metadata.Acquisition_instrument.TEM");
    const auto copy = [&](const Quantity& quantity) {
      const json& value = tag_at(instrument, quantity.key);
      if (value.is_number()) set(tags, quantity.tag, value.get<double>() / quantity.factor);
    };
    for (const Quantity& quantity : quantities) copy(quantity);
    for (const Quantity& quantity : eels_quantities) copy(quantity);
    copy(magnification);
    copy(camera_length);
    copy_text(instrument, "microscope", "Session Info.Microscope", tags);
    copy_text(instrument, "acquisition_mode", "Microscope Info.Illumination Mode", tags);
    // The names that gatan_metadata() looks for, with and without a scan.
    const json& dwell = tag_at(instrument, "Detector.EELS.dwell_time");
    const json& time = dwell.is_number() ? dwell : tag_at(instrument, "Detector.EELS.exposure");
    if (time.is_number()) set(tags, "EELS.Acquisition.Integration time (s)", time);
    if (dwell.is_number()) tags["DigiScan"] = json::object();
  }
  set(tags, "Meta Data.Format", "Spectrum image");
  set(tags, "Meta Data.Signal", "EELS");
  return tags;
}

}  // namespace eelsvae
