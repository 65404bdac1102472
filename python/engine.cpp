// eelsvae._engine: what the package's Python code (python/eelsvae) calls. Arrays go in and come out without a
// copy: what comes out lies in the object that it is an attribute of.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/image/units.h"
#include "engine/specimen/simulate.h"
#include "interface/caller_image.h"
#include "interface/model_in_memory.h"
#include "interface/scan.h"
#include "interface/session.h"
#include "io/config/config.h"
#include "io/config/scan_choice.h"
#include "io/files/atomic_file.h"
#include "io/files/message_text.h"
#include "io/formats/image_data.h"
#include "io/formats/input_digest.h"
#include "io/formats/spectrum_image_file.h"
#include "io/model/detection_state_file.h"
#include "io/reports/map_style.h"
#include "python/work.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace eelsvae {
namespace {

constexpr const char* from_python = "configuration";  // what messages call it

using Counts = nb::ndarray<nb::ro, nb::device::cpu, nb::ndim<3>>;
using Mask = nb::ndarray<const uint8_t, nb::device::cpu, nb::ndim<2>>;
using CountsOut = nb::ndarray<nb::numpy, float, nb::ndim<3>>;
using CubeOut = nb::ndarray<nb::numpy, const float, nb::ndim<3>>;
using MapOut = nb::ndarray<nb::numpy, const float, nb::ndim<2>>;
using MaskOut = nb::ndarray<nb::numpy, const uint8_t, nb::ndim<2>>;
using BytesOut = nb::ndarray<nb::numpy, const uint8_t, nb::ndim<1>>;
// name, units, offset, scale
using AxisOut = std::tuple<std::string, std::string, double, double>;

AxisOut axis_of(const Axis& axis) {
  return {axis.name, axis.units, axis.offset, axis.scale};
}

int32_t type_of(nb::dlpack::dtype type) {
  using nb::dlpack::dtype_code;
  const auto is = [&](dtype_code code, uint8_t bits) {
    return type.code == static_cast<uint8_t>(code) && type.bits == bits && type.lanes == 1;
  };
  if (is(dtype_code::Int, 8)) return EELSVAE_INT8;
  if (is(dtype_code::UInt, 8)) return EELSVAE_UINT8;
  if (is(dtype_code::Int, 16)) return EELSVAE_INT16;
  if (is(dtype_code::UInt, 16)) return EELSVAE_UINT16;
  if (is(dtype_code::Int, 32)) return EELSVAE_INT32;
  if (is(dtype_code::UInt, 32)) return EELSVAE_UINT32;
  if (is(dtype_code::Int, 64)) return EELSVAE_INT64;
  if (is(dtype_code::UInt, 64)) return EELSVAE_UINT64;
  if (is(dtype_code::Float, 16)) return EELSVAE_FLOAT16;
  if (is(dtype_code::Float, 32)) return EELSVAE_FLOAT32;
  if (is(dtype_code::Float, 64)) return EELSVAE_FLOAT64;
  throw UserError("counts: give integers, or floats of 16, 32 or 64 bits");
}

// A spectrum image in Python's memory, which stays while this lives.
struct GivenImage {
  Counts counts;
  double energy_offset, dispersion;
  std::optional<Mask> excluded;

  eelsvae_image description() const {
    eelsvae_image image = no_image();
    image.data = counts.data();
    image.type = type_of(counts.dtype());
    for (size_t d = 0; d < 3; ++d) {
      image.shape[d] = static_cast<int64_t>(counts.shape(d));
      image.strides[d] = counts.stride(d) * static_cast<int64_t>(counts.itemsize());
    }
    image.energy_offset = energy_offset;
    image.dispersion = dispersion;
    if (excluded) {
      for (size_t d = 0; d < 2; ++d) {
        if (excluded->shape(d) != counts.shape(d))
          throw UserError("excluded: has not the shape (y, x) of the image");
        image.excluded_strides[d] = excluded->stride(d);
      }
      image.excluded = excluded->data();
    }
    return image;
  }
};

// A spectrum image that was read or simulated.
struct ReadImage {
  SpectrumImage image;
  std::vector<uint8_t> truth = {};
};

size_t size(int64_t count) {
  return static_cast<size_t>(count);
}

MaskOut mask_of(const std::vector<uint8_t>& mask, const SpectrumImage& image) {
  return MaskOut(mask.data(), {size(image.y.size), size(image.x.size)});
}

ReadImage read_image(const std::string& path, const std::string& json, const Listener& listener) {
  const Config config = parse_config(json, from_python);
  std::atomic<bool> stopped = false;
  Told told;
  return work_for(
      listener, told, [&] { stopped = true; },
      [&] {
        ImageToRead there = open_image_data(path, config, StopToken(stopped));
        SpectrumImage& image = there.image;
        if (there.read)
          there.read({{0, image.y.size}, {0, image.x.size}, {0, image.energy.size}}, image.counts);
        return ReadImage{std::move(image)};
      });
}

ReadImage simulated(SimulationSettings settings, const std::string& preset,
                    const std::tuple<int64_t, int64_t, int64_t>& shape,
                    const std::optional<std::vector<std::string>>& defects) {
  settings.preset = preset_named(preset);
  std::tie(settings.height, settings.width, settings.channels) = shape;
  if (!defects)  // a kind that may not be out of sight, for its truth is asked for
    settings.defects = {
        {DefectKind::fe_shift, settings.shift_ev, DefectShape::disc, settings.anomaly_radius, {}}};
  else if (defects->empty())
    settings = without_defects(settings);
  else
    for (const std::string& defect : *defects) settings.defects.push_back(parse_defect(defect));
  Told told;
  return work_for(
      {nb::none(), nb::none()}, told, [] {},
      [&] {
        SimulatedImage made = simulate(settings);
        return ReadImage{std::move(made.image), std::move(made.truth)};
      });
}

// As the engine has axes: energies in eV, lengths in nm. UserError for an axis of energies in another unit.
AxisOut convert_axis(const AxisOut& given, bool energies) {
  Axis axis{std::get<0>(given), std::get<1>(given), std::get<2>(given), std::get<3>(given), 0};
  if (energies && !axis.units.empty() && !electronvolts(axis.units))
    throw UserError("the energy axis '" + axis.name + "' is in '" + axis.units +
                    "', which is no unit of energy; give eV or keV");
  convert_units(axis);
  return axis_of(axis);
}

struct ModelForPython {
  std::shared_ptr<const ModelInMemory> model;
  std::vector<InputFile> file = {};  // that it was opened from
};

ModelForPython open_for_python(const std::string& path) {
  std::shared_ptr<const ModelInMemory> model = open_model(path);
  std::vector<InputFile> file = record_inputs({model->file.path()});
  return {std::move(model), std::move(file)};
}

ModelForPython model_from(nb::bytes content) {
  const auto* first = static_cast<const std::byte*>(content.data());
  return {std::make_shared<ModelInMemory>(std::vector(first, first + content.size()), "the model in memory")};
}

// Absent if no epoch was complete.
std::optional<ModelForPython> train(const GivenImage& given, const std::string& json, int32_t threads,
                                    std::optional<double> minutes, const Listener& listener) {
  if (minutes && !(*minutes >= 0 && *minutes <= 1e5)) throw UserError("minutes: must be from 0 to 100000");
  const Config config = parse_config(json, from_python);
  const eelsvae_image image = given.description();
  Told told;
  const eelsvae_options options = told.options(threads);
  Caller caller(&options);
  bool stopped = false;
  auto model = work_for(
      listener, told, [&] { caller.stop(); },
      [&] { return train_model(&image, config, caller, stopped, minutes); });
  if (!model) return std::nullopt;
  return ModelForPython{std::move(model)};
}

void save(const ModelForPython& model, const std::string& path) {
  AtomicFile file(path);
  file.write(model.model->content.data(), model.model->content.size());
  file.commit();
}

struct Found {
  std::shared_ptr<const FoundForCaller> result;
  const SpectrumImage& image() const { return result->prepared.image; }
  // The map of the scores as the reports show it, (y, x, 3) bytes of red, green and blue; excluded pixels are
  // grey.
  nb::bytes colours() const {
    const Detection& found = result->found;
    const auto [low, high] = map_limits(found.scores, found.mask, found.threshold);
    std::string bytes;
    for (const float score : found.scores) {
      const double place = std::clamp((static_cast<double>(score) - low) / (high - low), 0.0, 1.0);
      const Colour colour = std::isfinite(score) ? viridis()[static_cast<size_t>(std::lround(255 * place))]
                                                 : Colour{128, 128, 128};
      bytes.append(colour.begin(), colour.end());
    }
    return nb::bytes(bytes.data(), bytes.size());
  }
  CubeOut cube(const CountArray& spectra) const {
    if (spectra.empty()) throw UserError("the detection kept no spectra; ask for them by keep_spectra=True");
    return CubeOut(spectra.data(), {size(image().y.size), size(image().x.size), size(image().energy.size)});
  }
};

struct StateForPython {
  std::shared_ptr<const StateInMemory> state;
  std::vector<InputFile> file = {};  // that it was opened from
};

// A Session of the C interface, for one thread at a time.
class PythonSession {
 public:
  // normal: what a baseline is fitted to, if not the image under test; normal_file: "": of no file.
  PythonSession(const ModelForPython* model, const StateForPython* state, const std::string& baseline,
                const std::string& json, int32_t threads, bool on_training_image, bool keep_spectra,
                std::optional<GivenImage> normal, const std::string& normal_file)
      : normal_(std::move(normal)) {
    eelsvae_options options = told_.options(threads);
    options.on_training_image = on_training_image;
    options.keep_spectra = keep_spectra;
    if (state)
      session_.emplace(model ? model->model : nullptr, state->state, assignments_of(json, from_python),
                       &options);
    else if (model)
      session_.emplace(model->model, assignments_of(json, from_python), &options);
    else
      session_.emplace(baseline, parse_config(json, from_python), &options);
    if (!normal_file.empty()) normal_records_.emplace(image_files(normal_file));
    if (model) inputs_.insert(inputs_.end(), model->file.begin(), model->file.end());
    if (state) inputs_.insert(inputs_.end(), state->file.begin(), state->file.end());
  }

  Found detect(const GivenImage& given, const Listener& listener) {
    const eelsvae_image image = given.description();
    return found_by(listener, {}, [&](const eelsvae_image* normal, const RecordInputs& records) {
      return session_->detect(&image, normal, records);
    });
  }

  // Of a file nothing is kept but what is worked on. json: how it is to be taken, of the group data, where a
  // model's own image was not taken so already.
  Found detect_file(const std::string& path, const std::string& json, const Listener& listener) {
    Config config = session_->config();
    for (const std::string& setting : assignments_of(json, from_python)) set_value(config, setting);
    const ImageFile file{path, config.data,
                         [&](const StopToken& stop) { return open_image_data(path, config, stop); }};
    return found_by(listener, input_files(path, config),
                    [&](const eelsvae_image* normal, const RecordInputs& records) {
                      return session_->detect(file, normal, records);
                    });
  }

 private:
  template <class Work>
  Found found_by(const Listener& listener, std::vector<std::string> files, const Work& work) {
    // Asked and set under Python's lock.
    if (at_work_) throw UserError("session: another thread works with it; make a session for each");
    const eelsvae_image normal = normal_ ? normal_->description() : no_image();
    at_work_ = true;
    struct Release {
      bool& flag;
      ~Release() { flag = false; }
    } release{at_work_};
    return {work_for(
        listener, told_, [&] { session_->stop(); },
        [&] {
          InputRecords records(std::move(files));
          return work(normal_ ? &normal : nullptr, [&](const StopToken& stop) {
            std::vector<InputFile> inputs = records.get(stop);
            if (normal_records_) {
              const std::vector<InputFile> of_normal = normal_records_->get(stop);
              inputs_.insert(inputs_.begin(), of_normal.begin(), of_normal.end());
              normal_records_.reset();
            }
            inputs.insert(inputs.end(), inputs_.begin(), inputs_.end());
            return inputs;
          });
        })};
  }

  Told told_;
  std::optional<GivenImage> normal_;
  std::vector<InputFile> inputs_;  // behind every detection, and
  std::optional<InputRecords> normal_records_;
  std::optional<Session> session_;
  bool at_work_ = false;
};

// Spectra (count, channels) of a running scan.
using Spectra = nb::ndarray<nb::ro, nb::device::cpu, nb::ndim<2>>;
using ScoresOut = nb::ndarray<nb::numpy, float, nb::ndim<2>>;
using RowsOut = std::pair<int64_t, int64_t>;

// A running scan, for one thread at a time.
class PythonScan {
 public:
  PythonScan(const ModelForPython* model, const StateForPython* state, const std::string& baseline,
             int64_t learn_rows, const std::string& json, const std::tuple<int64_t, int64_t, int64_t>& shape,
             double energy_offset, double dispersion, const std::optional<Mask>& excluded, int64_t patience,
             int32_t threads) {
    eelsvae_plan plan = no_plan();
    std::tie(plan.height, plan.width, plan.channels) = shape;
    plan.energy_offset = energy_offset;
    plan.dispersion = dispersion;
    plan.patience = patience;
    std::vector<uint8_t> mask;
    if (excluded) {
      if (static_cast<int64_t>(excluded->shape(0)) != plan.height ||
          static_cast<int64_t>(excluded->shape(1)) != plan.width)
        throw UserError("excluded: has not the shape (y, x) of the scan");
      for (int64_t y = 0; y < plan.height; ++y)
        for (int64_t x = 0; x < plan.width; ++x)
          mask.push_back(excluded->data()[y * excluded->stride(0) + x * excluded->stride(1)]);
      plan.excluded = mask.data();
    }
    height_ = plan.height;
    width_ = plan.width;
    channels_ = plan.channels;
    const eelsvae_options options = told_.options(threads);
    if (model)
      scan_.emplace(*model->model, state->state, assignments_of(json, from_python), &plan, &options);
    else if (state)
      scan_.emplace(state->state, &plan, &options);
    else
      scan_.emplace(baseline, learn_rows, parse_config(json, from_python), &plan, &options);
  }

  RowsOut push(int64_t first, const Spectra& spectra, const Listener& listener) {
    if (static_cast<int64_t>(spectra.shape(1)) != channels_)
      throw UserError("spectra: have " + std::to_string(spectra.shape(1)) + " channels, and the scan has " +
                      std::to_string(channels_));
    const auto bytes = static_cast<int64_t>(spectra.itemsize());
    const int32_t type = type_of(spectra.dtype());
    return work(listener, [&](ScanForCaller& scan) {
      return scan.push(first, static_cast<int64_t>(spectra.shape(0)), spectra.data(), type,
                       spectra.stride(0) * bytes, spectra.stride(1) * bytes);
    });
  }
  RowsOut score_provisionally(const Listener& listener) {
    return work(listener, [](ScanForCaller& scan) { return scan.score_provisionally(); });
  }
  RowsOut finish(const Listener& listener) {
    return work(listener, [](ScanForCaller& scan) { return scan.finish(); });
  }
  std::pair<size_t, size_t> shape() const {
    return {static_cast<size_t>(height_), static_cast<size_t>(width_)};
  }
  // What `look` makes of it, without Python's lock: a push may be at work, whose end this waits for.
  template <class Look>
  auto look_at(const Look& look) const {
    const nb::gil_scoped_release released;
    return scan_->look_at(look);
  }
  Found found() const {
    const nb::gil_scoped_release released;
    return {scan_->found()};
  }
  StateForPython state() const {
    const nb::gil_scoped_release released;
    return {scan_->state()};
  }

 private:
  template <class Work>
  RowsOut work(const Listener& listener, const Work& call) {
    // Asked and set under Python's lock.
    if (at_work_) throw UserError("scan: another thread works with it; make a scan for each");
    at_work_ = true;
    struct Release {
      bool& flag;
      ~Release() { flag = false; }
    } release{at_work_};
    const Rows rows = work_for(
        listener, told_, [] {}, [&] { return call(*scan_); });
    told_.pass_on(listener);
    return {rows.first, rows.last};
  }

  Told told_;
  std::optional<ScanForCaller> scan_;
  int64_t height_ = 0, width_ = 0, channels_ = 0;
  bool at_work_ = false;
};

// The configuration as JSON, why there is to be no model ("": there is), the reasons, and how many pixels are
// used.
std::tuple<std::string, std::string, std::vector<std::string>, int64_t> choose(const GivenImage& given,
                                                                               const std::string& json) {
  const Config config = parse_config(json, from_python);
  const std::vector<std::string> settings = assignments_of(json, from_python);
  const eelsvae_image image = given.description();
  Told told;
  const ScanChoice scan = work_for(
      {nb::none(), nb::none()}, told, [] {},
      [&] { return choose_for_image(image_of_caller(&image, config.data), settings); });
  const AutomaticChoice& choice = scan.choice;
  const Config complete = parse_config(to_json_text(choice.config), from_python, settings);
  return {to_json_text(complete), choice.no_model, choice.reasons, scan.pixels};
}

// The baseline that predicts held-out spectra better than the model ("": none does), and why.
std::pair<std::string, std::vector<std::string>> best(const ModelForPython* model, const std::string& json,
                                                      int64_t pixels) {
  const DetectionConfig wanted = parse_config(json, from_python).detection;
  const std::optional<Comparison> comparison = model ? model->model->info.comparison : std::nullopt;
  const Winner winner = best_of(comparison, pixels, wanted);
  std::vector<std::string> reasons;
  if (comparison) reasons.push_back(describe(*comparison));
  reasons.push_back(winner.reason);
  return {winner.baseline, std::move(reasons)};
}

}  // namespace
}  // namespace eelsvae

using namespace eelsvae;

NB_MODULE(_engine, m) {
  m.doc() = "The engine. Use the functions and classes of eelsvae, which check and describe what they take.";
  nb::set_leak_warnings(false);  // a script that an error ends keeps objects to the last, which is no leak
  m.attr("version") = EELSVAE_VERSION;
  m.attr("share_of_training") = share_of_training;

  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    const auto raise = [](const std::string& text) {
      PyErr_SetString(nb::module_::import_("eelsvae._error").attr("Error").ptr(), text.c_str());
    };
    try {
      std::rethrow_exception(thrown);
    } catch (const UserError& mistake) {
      raise(one_line(mistake.what()));
    } catch (const Interrupted&) {
      raise("stopped, as the progress function asked for");
    }
  });

  nb::class_<Listener>(m, "Listener", "Who is told how the work goes on.")
      .def(nb::init<nb::object, nb::object>(), "progress"_a.none(), "log"_a.none());

  nb::class_<GivenImage>(m, "GivenImage", "Counts (y, x, E) that stay where they are; energies in eV.")
      .def(
          "__init__",
          [](GivenImage* self, Counts counts, double energy_offset, double dispersion,
             std::optional<Mask> excluded) {
            new (self) GivenImage{std::move(counts), energy_offset, dispersion, std::move(excluded)};
          },
          "counts"_a.noconvert(), "energy_offset"_a, "dispersion"_a, "excluded"_a.noconvert().none());

  nb::class_<ReadImage>(m, "ReadImage", "A spectrum image of the engine's.")
      .def_prop_ro("counts",
                   [](ReadImage& self) {
                     SpectrumImage& image = self.image;
                     return CountsOut(image.counts.data(),
                                      {size(image.y.size), size(image.x.size), size(image.energy.size)});
                   })
      .def_prop_ro(
          "axes",
          [](const ReadImage& self) {
            return std::tuple{axis_of(self.image.y), axis_of(self.image.x), axis_of(self.image.energy)};
          })
      .def_prop_ro("excluded",
                   [](const ReadImage& self) -> std::optional<MaskOut> {
                     if (self.image.excluded.empty()) return std::nullopt;
                     return mask_of(self.image.excluded, self.image);
                   })
      .def_prop_ro("truth", [](const ReadImage& self) { return mask_of(self.truth, self.image); })
      .def_prop_ro("title", [](const ReadImage& self) { return self.image.title; })
      .def_prop_ro("metadata", [](const ReadImage& self) { return self.image.metadata; })
      .def_prop_ro("notes", [](const ReadImage& self) { return self.image.notes; });
  m.def("convert_axis", &convert_axis, "axis"_a, "energies"_a);
  m.def("read", &read_image, "path"_a, "json"_a, "listener"_a);
  m.def(
      "simulate",
      [](const std::string& preset, const std::tuple<int64_t, int64_t, int64_t>& shape,
         const std::optional<std::vector<std::string>>& defects, uint64_t seed,
         std::optional<uint64_t> noise_seed, double energy_offset, double dispersion, double exposure,
         double anomalies) {
        SimulationSettings settings;
        settings.seed = seed;
        settings.noise_seed = noise_seed;
        settings.energy_offset_ev = energy_offset;
        settings.dispersion_ev = dispersion;
        settings.exposure = exposure;
        settings.anomalies = anomalies;
        return simulated(settings, preset, shape, defects);
      },
      "preset"_a, "shape"_a, "defects"_a.none(), "seed"_a, "noise_seed"_a.none(), "energy_offset"_a,
      "dispersion"_a, "exposure"_a, "anomalies"_a);

  nb::class_<ModelForPython>(m, "Model", "A checkpoint in memory.")
      .def_static("open", &open_for_python, "path"_a)
      .def_static("from_bytes", &model_from, "content"_a)
      .def("save", &save, "path"_a)
      .def_prop_ro("content",
                   [](const ModelForPython& self) {
                     const std::vector<std::byte>& content = self.model->content;
                     return BytesOut(content.data(), {content.size()});
                   })
      .def_prop_ro("config", [](const ModelForPython& self) { return self.model->config_text; })
      .def_prop_ro("tile_size",
                   [](const ModelForPython& self) { return self.model->info.config.tiles.image_size; })
      .def_prop_ro("energy", [](const ModelForPython& self) {
        const Axis& energy = self.model->info.energy;
        return std::tuple{energy.offset, energy.scale, energy.size};
      });
  m.def("train", &train, "image"_a, "json"_a, "threads"_a, "minutes"_a.none(), "listener"_a);
  m.def("choose", &choose, "image"_a, "json"_a);
  m.def("best", &best, "model"_a.none(), "json"_a, "pixels"_a);

  nb::class_<PythonSession>(m, "Session", "Looks for anomalies, one thread at a time.")
      .def(nb::init<const ModelForPython*, const StateForPython*, const std::string&, const std::string&,
                    int32_t, bool, bool, std::optional<GivenImage>, const std::string&>(),
           "model"_a.none(), "state"_a.none(), "baseline"_a, "json"_a, "threads"_a, "on_training_image"_a,
           "keep_spectra"_a, "normal"_a.none(), "normal_file"_a)
      .def("detect", &PythonSession::detect, "image"_a, "listener"_a)
      .def("detect_file", &PythonSession::detect_file, "path"_a, "json"_a, "listener"_a);

  nb::class_<Found>(m, "Found", "What was found.")
      .def_prop_ro("scores",
                   [](const Found& self) {
                     return MapOut(self.result->found.scores.data(),
                                   {size(self.image().y.size), size(self.image().x.size)});
                   })
      .def_prop_ro("mask", [](const Found& self) { return mask_of(self.result->found.mask, self.image()); })
      .def_prop_ro("colours", &Found::colours)
      .def_prop_ro("kept", [](const Found& self) { return !self.image().counts.empty(); })
      .def_prop_ro("observed", [](const Found& self) { return self.cube(self.image().counts); })
      .def_prop_ro("expected", [](const Found& self) { return self.cube(self.result->expected); })
      .def_prop_ro(
          "axes",
          [](const Found& self) {
            return std::tuple{axis_of(self.image().y), axis_of(self.image().x), axis_of(self.image().energy)};
          })
      .def_prop_ro("title", [](const Found& self) { return self.image().title; })
      .def_prop_ro("channels", [](const Found& self) { return self.image().energy.size; })
      .def_prop_ro("threshold", [](const Found& self) { return self.result->found.threshold; })
      .def_prop_ro("reasons", [](const Found& self) { return self.result->found.doubts; })
      .def_prop_ro("summary", [](const Found& self) { return self.result->summary; })
      .def_prop_ro(
          "state",
          [](const Found& self) {
            if (!self.result->state)
              throw UserError(
                  "the detection has no state that could be kept: detection.score whitened or learned, "
                  "threshold_method fdr, no pooling, despiking, aligning nor binning of pixels have one");
            return StateForPython{self.result->state};
          })
      .def_prop_ro("regions", [](const Found& self) {
        // pixels, y and x of the highest score, that, and what changed
        std::vector<std::tuple<int64_t, int64_t, int64_t, double, std::string>> regions;
        const std::vector<Region>& found = self.result->found.regions;
        const int64_t width = self.image().x.size;
        for (size_t i = 0; i < found.size(); ++i)
          regions.emplace_back(std::ssize(found[i].pixels), found[i].strongest / width,
                               found[i].strongest % width, found[i].highest_score,
                               self.result->explanations[i]);
        return regions;
      });

  nb::class_<StateForPython>(m, "State", "What a detection measured in an image.")
      .def_static(
          "open",
          [](const std::string& path) {
            return StateForPython{open_state(path), record_inputs({state_file(path)})};
          },
          "path"_a)
      .def_static(
          "from_bytes",
          [](nb::bytes content) { return StateForPython{state_from(content.data(), content.size())}; },
          "content"_a)
      .def_static(
          "learn",
          [](const GivenImage& given, const std::string& baseline, const std::string& json) {
            const Config config = parse_config(json, from_python);
            const eelsvae_image image = given.description();
            Told told;
            return work_for(
                {nb::none(), nb::none()}, told, [] {},
                [&] { return StateForPython{learn_state_of(&image, baseline, config)}; });
          },
          "image"_a, "baseline"_a, "json"_a)
      .def(
          "save",
          [](const StateForPython& self, const std::string& path) {
            AtomicFile file(path);
            file.write(self.state->content.data(), self.state->content.size());
            file.commit();
          },
          "path"_a)
      .def_prop_ro("content",
                   [](const StateForPython& self) {
                     const std::vector<std::byte>& content = self.state->content;
                     return nb::bytes(content.data(), content.size());
                   })
      .def_prop_ro("source",
                   [](const StateForPython& self) {
                     const std::optional<Baseline>& baseline = self.state->state->baseline;
                     return baseline ? baseline->describe() : "a model";
                   })
      .def_prop_ro("spectra", [](const StateForPython& self) { return self.state->state->spectra; })
      .def_prop_ro("reasons", [](const StateForPython& self) { return self.state->state->doubts; })
      .def_prop_ro("energy", [](const StateForPython& self) {
        const Axis& energy = self.state->state->fitted.energy;
        return std::tuple{energy.offset, energy.scale, energy.size};
      });

  nb::class_<PythonScan>(m, "Scan", "A scan that is still running.")
      .def(nb::init<const ModelForPython*, const StateForPython*, const std::string&, int64_t,
                    const std::string&, const std::tuple<int64_t, int64_t, int64_t>&, double, double,
                    const std::optional<Mask>&, int64_t, int32_t>(),
           "model"_a.none(), "state"_a.none(), "baseline"_a, "learn_rows"_a, "json"_a, "shape"_a,
           "energy_offset"_a, "dispersion"_a, "excluded"_a.noconvert().none(), "patience"_a, "threads"_a)
      .def("push", &PythonScan::push, "first"_a, "spectra"_a.noconvert(), "listener"_a)
      .def("score_provisionally", &PythonScan::score_provisionally, "listener"_a)
      .def("finish", &PythonScan::finish, "listener"_a)
      .def("scores",
           [](const PythonScan& self) {
             auto scores = std::make_unique<std::vector<float>>(self.look_at([](const RowSession& session) {
               return std::vector<float>(session.scores().begin(), session.scores().end());
             }));
             float* const first = scores->data();
             const nb::capsule owner(
                 scores.release(), [](void* all) noexcept { delete static_cast<std::vector<float>*>(all); });
             return ScoresOut(first, {self.shape().first, self.shape().second}, owner);
           })
      .def_prop_ro("shape", &PythonScan::shape)
      .def_prop_ro("rows",
                   [](const PythonScan& self) {  // complete, scored, final, reach
                     return self.look_at([](const RowSession& session) {
                       return std::tuple{session.complete_rows(), session.scored_rows(), session.final_rows(),
                                         session.reach()};
                     });
                   })
      .def_prop_ro("counts",
                   [](const PythonScan& self) {
                     const ScanCounts counts =
                         self.look_at([](const RowSession& session) { return session.counts(); });
                     return std::tuple{counts.received, counts.repeated, counts.late, counts.missing};
                   })
      .def_prop_ro("threshold",
                   [](const PythonScan& self) {
                     return self.look_at([](const RowSession& session) { return session.threshold(); });
                   })
      .def_prop_ro("finished",
                   [](const PythonScan& self) {
                     return self.look_at([](const RowSession& session) { return session.finished(); });
                   })
      .def_prop_ro("learning",
                   [](const PythonScan& self) {
                     return self.look_at([](const RowSession& session) { return !session.state(); });
                   })
      .def(
          "worst",
          [](const PythonScan& self, int64_t most) {
            // pixel, score, whether that is final, observed, expected
            std::vector<std::tuple<int64_t, float, bool, std::vector<float>, std::vector<float>>> spectra;
            for (AnomalousSpectrum& one :
                 self.look_at([&](const RowSession& session) { return session.worst(most); }))
              spectra.emplace_back(one.pixel, one.score, one.final, std::move(one.observed),
                                   std::move(one.expected));
            return spectra;
          },
          "most"_a)
      .def("found", &PythonScan::found)
      .def_prop_ro("state", &PythonScan::state);
}
