#include "io/formats/spectrum_image_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <numeric>
#include <optional>
#include <system_error>
#include <utility>

#include <sys/stat.h>

#include "engine/image/energy_axis.h"
#include "engine/image/finite.h"
#include "engine/image/units.h"
#include "engine/short_number.h"
#include "io/containers/hdf5.h"
#include "io/files/mapped_file.h"
#include "io/files/message_text.h"
#include "io/files/npy.h"
#include "io/formats/gatan.h"
#include "io/formats/hspy.h"
#include "io/formats/msa.h"
#include "io/formats/ncem.h"
#include "io/formats/nion_h5.h"
#include "io/formats/nion_ndata.h"
#include "io/formats/npy_image.h"
#include "io/formats/npz_image.h"
#include "io/formats/other_hdf5.h"
#include "io/formats/pantarhei.h"
#include "io/formats/ripple.h"
#include "io/formats/velox.h"
#include "io/formats/zspy.h"
#include "kernels/no_room.h"

namespace eelsvae {
namespace {

// A new format joins here, a line for each. HDF5's before other_hdf5_format, Nion's and Panta Rhei's
// archives of .npy files before NumPy's, and Ripple is the last, as it takes any other .raw file.
const ImageFormat* const formats[] = {
    &hspy_format,        //
    &zspy_format,        //
    &velox_format,       //
    &nion_h5_format,     //
    &gatan_hdf5_format,  //
    &ncem_format,        //
    &other_hdf5_format,  //
    &gatan_format,       //
    &npy_format,         //
    &nion_ndata_format,  //
    &pantarhei_format,   //
    &npz_format,         //
    &msa_format,         //
    &ripple_format,
};

const ImageFormat& format_of(const std::string& path) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  std::string start;  // a folder has none
  if (!folder) {
    const MappedFile file(path);
    if (file.size() == 0) throw UserError(path + ": empty file");
    start.assign(reinterpret_cast<const char*>(file.data()), std::min<size_t>(file.size(), 4096));
  }
  std::string known;
  for (const ImageFormat* format : formats) {
    if (format->recognises(path, start)) return *format;
    if (*format->extension == '\0') continue;
    known += std::string(known.empty() ? "" : ", ") + format->name + " (" + format->extension + ")";
  }
  if (folder) throw UserError(path + ": is a directory; give the file of the spectrum image");
  throw UserError(path + ": not in a known format; known are " + known);
}

const std::string default_axes = "yxE";

std::string describe(const ImageInfo& image) {
  const bool vowel =
      !image.kind.empty() && std::string_view("aeiou").find(image.kind[0]) != std::string_view::npos;
  return (vowel ? "an " : "a ") + image.kind + " " + shape_text(image.shape);
}

// "2 'low loss', a spectrum image (4, 3, 5), -20 to 80 eV", for messages.
std::string described(const std::vector<StoredImage>& images, size_t i) {
  const ImageInfo& info = images[i].info;
  std::string text = std::to_string(i) + (info.title.empty() ? "" : " '" + info.title + "'") + ", ";
  if (info.shape.empty()) return text + "damaged";
  text += describe(info) + (info.signal.empty() ? "" : " of " + info.signal);
  if (const Axis& last = info.axes.back(); last.units == "eV")
    text += ", " + short_number(last.offset) + " to " +
            short_number(last.value(static_cast<double>(last.size - 1))) + " eV";
  return text + (info.fault.empty() ? "" : ", unreadable");
}

std::string described(const std::vector<StoredImage>& images, const std::vector<size_t>& which) {
  constexpr size_t most = 4;
  std::string text;
  for (size_t i = 0; i < std::min(which.size(), most); ++i)
    text += (i ? "; " : "") + described(images, which[i]);
  return text + (which.size() > most ? "; ..." : "");
}

// Whether the image can be worked on as the options have it.
bool fits(const ImageInfo& info, const ReadOptions& options) {
  if (options.frame) return info.axes.size() == 4;
  const bool told_nothing = info.kind == image_kind(0, 3);  // HyperSpy's BaseSignal; as cubes of .npy are
  return info.kind == "spectrum image" || info.kind == "line scan" || told_nothing ||
         (options.axes != default_axes && info.axes.size() == 3);
}

// What may be done about an image that does not fit.
std::string remedy(const ImageInfo& info, const ReadOptions& options) {
  if (options.frame) return "a series of spectrum images (t, y, x, E) is needed for data.frame; leave it out";
  const std::string needed = "a spectrum image (y, x, E) or a line scan (x, E) is needed";
  if (info.kind == image_kind(0, 1))
    return needed + "; a spectrum alone has no others to be compared with or aligned to";
  if (info.axes.size() == 3)
    return needed + "; if the first axis listed is energy, give data.axes=Eyx, if another, data.axes too";
  if (info.axes.size() == 4)
    return needed +
           "; if the first axis counts frames, data.frame=0 takes one and data.frame=sum adds them up";
  return needed;
}

// How much of an energy range (eV) an axis holds.
double overlap(const Axis& energy, const std::array<double, 2>& range) {
  if (energy.units != "eV") return 0;
  const double first = energy.offset, last = energy.value(static_cast<double>(energy.size - 1));
  return std::max(std::min(std::max(first, last), range[1]) - std::max(std::min(first, last), range[0]), 0.0);
}

bool is_low_loss(const Axis& energy) {
  constexpr double plasmons_ev = 30;
  return energy.units == "eV" &&
         std::min(energy.offset, energy.value(static_cast<double>(energy.size - 1))) < plasmons_ev;
}

// Of several images of one kind: the one that holds most of the energy range, or else the first that is no
// low loss, or else the first.
size_t best_of(const std::vector<StoredImage>& images, const std::vector<size_t>& candidates,
               const ReadOptions& options) {
  const auto rank = [&](size_t i) {
    const Axis& energy = images[i].info.axes.back();
    return std::pair{options.energy_range ? overlap(energy, *options.energy_range) : 0, !is_low_loss(energy)};
  };
  return *std::max_element(candidates.begin(), candidates.end(),
                           [&](size_t a, size_t b) { return rank(a) < rank(b); });
}

// Index of the image to read. A choice that the user did not make goes into its notes.
size_t choose(const std::string& path, std::vector<StoredImage>& images, const ReadOptions& options) {
  const auto count = static_cast<int64_t>(images.size());
  if (images.empty()) throw UserError(path + ": holds no image");
  if (options.dataset < -1 || options.dataset >= count)
    throw UserError(path + ": has no image " + std::to_string(options.dataset) + ", " +
                    (count == 1 ? "only image 0" : "it holds 0 to " + std::to_string(count - 1)));
  if (options.dataset >= 0) return static_cast<size_t>(options.dataset);
  if (count == 1) return 0;
  // Spectrum images before line scans, those of EELS before those that name no signal.
  std::vector<size_t> candidates, unreadable;
  for (const std::string kind : {"spectrum image", "line scan"}) {
    for (const std::string signal : {"EELS", ""}) {
      if (!candidates.empty()) break;
      for (size_t i = 0; i < images.size(); ++i) {
        const ImageInfo& info = images[i].info;
        if (info.signal == signal && (options.frame ? info.axes.size() == 4 : info.kind == kind))
          (info.fault.empty() ? candidates : unreadable).push_back(i);
      }
    }
  }
  if (candidates.empty() && !unreadable.empty()) return unreadable.front();  // reading says why
  if (candidates.empty()) {
    std::vector<size_t> all(images.size());
    std::iota(all.begin(), all.end(), size_t{0});
    throw UserError(path + ": holds no spectrum image (y, x, E) of EELS (" + described(images, all) +
                    "); choose one by data.dataset");
  }
  const size_t best = best_of(images, candidates, options);
  std::vector<size_t> others;
  for (size_t i = 0; i < images.size(); ++i) {
    const std::string& kind = images[i].info.kind;
    if (i != best && (kind == images[best].info.kind || images[i].info.axes.empty())) others.push_back(i);
  }
  if (!others.empty())
    images[best].info.notes.push_back("Image " + described(images, best) + " is taken; the file also holds " +
                                      described(images, others) + "; data.dataset chooses");
  return best;
}

// Where y, x and E stand among the axes of the file.
std::array<size_t, 3> places(const std::string& axes) {
  const std::array<size_t, 3> place = {axes.find('y'), axes.find('x'), axes.find('E')};
  expect(axes.size() == 3 && place[0] < 3 && place[1] < 3 && place[2] < 3, "axes are an order of y, x and E");
  return place;
}

// Takes the options' energies instead of the file's, of spectra whose energies rise.
void calibrate(const std::string& path, const ReadOptions& options, Axis& energy) {
  const std::optional<double>&offset = options.energy_offset, &dispersion = options.dispersion;
  if (!offset && !dispersion) return;
  expect(!dispersion || *dispersion > 0, "a dispersion is above 0");
  if (energy.units != "eV" && !(offset && dispersion))
    throw UserError(path + ": its energy axis has no calibration in eV, so data." +
                    (offset ? "dispersion" : "energy_offset") + " is needed besides data." +
                    (offset ? "energy_offset" : "dispersion"));
  energy.units = "eV";
  energy.offset = offset.value_or(energy.offset);
  energy.scale = dispersion.value_or(energy.scale);
}

void check_shape(const std::string& path, const std::array<int64_t, 3>& shape, int64_t frames) {
  const char* names[] = {"y", "x", "E"};
  for (size_t i = 0; i < 3; ++i)
    if (shape[i] <= 0)
      throw UserError(path + ": the spectrum image is empty: " + names[i] + " has size " +
                      std::to_string(shape[i]));
  if (element_count(std::array{frames, shape[0], shape[1], shape[2]}, sizeof(float)) < 0)
    throw UserError(path + ": the spectrum image " + shape_text({shape[0], shape[1], shape[2]}) +
                    " is larger than any memory");
}

void check_axis(const std::string& path, const Axis& axis, const char* which) {
  if (std::isfinite(axis.scale) && std::isfinite(axis.offset) && axis.scale != 0) return;
  char text[160];
  std::snprintf(text, sizeof text,
                ": axis %s has offset %g and scale %g; both must be finite and the scale not 0", which,
                axis.offset, axis.scale);
  throw UserError(path + text);
}

void check_energies(const std::string& path, const ReadOptions& options, const Axis& energy) {
  check_axis(path, energy, "E");
  if (!energy.units.empty() && energy.units != "eV")
    throw UserError(
        path + ": the energy axis is in " + energy.units +
        ", which is no energy; if another axis is the energy, give data.axes, if the unit is wrong, "
        "data.energy_offset and data.dispersion in eV");
  if (options.energy_range && energy.units == "eV" && overlap(energy, *options.energy_range) == 0)
    throw UserError(path + ": data.energy_range leaves no channel; the image's axis is " + describe(energy));
}

// The values of an image whose axes are shown in another order: its axis i is axis order[i] of `inner`.
class ReorderedValues : public ImageValues {
 public:
  ReorderedValues(std::shared_ptr<const ImageValues> inner, std::vector<size_t> order)
      : inner_(std::move(inner)), order_(std::move(order)) {}
  bool read(const ArrayPart& part, std::span<const int64_t> out_stride, float* out,
            const StopToken& stop) const override {
    std::vector<int64_t> strides(order_.size());
    ArrayPart inner = part;
    for (size_t i = 0; i < order_.size(); ++i) {
      strides[order_[i]] = out_stride[i];
      inner.first[order_[i]] = part.first[i];
      inner.size[order_[i]] = part.size[i];
    }
    return inner_->read(inner, strides, out, stop);
  }
  std::vector<int64_t> together() const override {
    const std::vector<int64_t> inner = inner_->together();
    std::vector<int64_t> sizes;
    if (!inner.empty())
      for (const size_t axis : order_) sizes.push_back(inner[axis]);
    return sizes;
  }

 private:
  std::shared_ptr<const ImageValues> inner_;
  std::vector<size_t> order_;
};

// A single axis in eV is that of the spectra, wherever a file has it and whatever the file calls a signal.
void put_energy_last(StoredImage& image) {
  ImageInfo& info = image.info;
  const auto in_ev = [](const Axis& axis) { return axis.units == "eV"; };
  if (std::count_if(info.axes.begin(), info.axes.end(), in_ev) != 1 || in_ev(info.axes.back())) return;
  std::vector<size_t> order(info.axes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto energy = std::find_if(info.axes.begin(), info.axes.end(), in_ev) - info.axes.begin();
  std::rotate(order.begin() + energy, order.begin() + energy + 1, order.end());
  if (order.size() == 3 && info.axes[order[0]].name == "x" && info.axes[order[1]].name == "y")
    std::swap(order[0], order[1]);
  const ImageInfo before = info;
  for (size_t i = 0; i < order.size(); ++i) {
    info.axes[i] = before.axes[order[i]];
    info.shape[i] = before.shape[order[i]];
  }
  info.kind = image_kind(order.size() - 1, 1);
  if (image.values) image.values = std::make_shared<ReorderedValues>(image.values, std::move(order));
}

// Files as they were when an image was opened, to tell whether somebody wrote to them since. What replaced a
// file by its name does not matter: the one that was opened is read to its end.
class FileStates {
 public:
  void add(const std::string& file) {
    struct stat state = {};
    if (stat(file.c_str(), &state) == 0 && S_ISREG(state.st_mode)) states_.emplace_back(file, state);
  }
  void check() const {
    for (const auto& [file, before] : states_) {
      struct stat now = {};
      if (stat(file.c_str(), &now) != 0 || now.st_dev != before.st_dev || now.st_ino != before.st_ino)
        continue;
      if (now.st_size != before.st_size || now.st_mtim.tv_sec != before.st_mtim.tv_sec ||
          now.st_mtim.tv_nsec != before.st_mtim.tv_nsec)
        throw UserError(file + ": the file was changed while it was read");
    }
  }

 private:
  std::vector<std::pair<std::string, struct stat>> states_;
};

// The counts of an image, as the file has them and as they are wanted.
struct Counts {
  std::shared_ptr<const ImageValues> values;
  std::string path;
  std::array<size_t, 3> place;       // of y, x and E among the file's axes without frames
  bool line_scan, swapped, falling;  // has no y; y and x are exchanged; energies fall
  std::optional<std::string> frame;  // of so many:
  int64_t frames, channels;

  bool read(const ImagePart& part, CountArray& counts, const StopToken& stop) const;
  std::array<int64_t, 3> together() const;  // of y, x and E
};

int64_t size_of(const std::array<int64_t, 2>& range) {
  return range[1] - range[0];
}

bool Counts::read(const ImagePart& part, CountArray& counts, const StopToken& stop) const {
  const int64_t height = size_of(part.y), width = size_of(part.x), kept = part.energy.size();
  const int64_t size = height * width * kept;
  const bool sum = frame && *frame == "sum";
  const int64_t frames_read = sum ? frames : 1;
  try {
    counts.resize(static_cast<size_t>(frames_read * size));
  } catch (const NoRoom& error) {
    throw UserError(path + ": " + error.what() +
                    "; data.energy_range, preprocess.crop_y and crop_x read less of it, and bin_xy and "
                    "bin_energy keep less");
  }
  const std::vector<int64_t> target = dense_strides(std::vector{height, width, kept});
  const std::array<size_t, 3> at = swapped ? std::array{place[1], place[0], place[2]} : place;
  ArrayPart of_file{std::vector<int64_t>(3), std::vector<int64_t>(3), part.more};
  std::vector<int64_t> strides(3);
  const auto set = [&](size_t axis, int64_t first, int64_t count, int64_t stride) {
    of_file.first[axis] = first;
    of_file.size[axis] = count;
    strides[axis] = stride;
  };
  set(at[0], part.y[0], height, target[0]);
  set(at[1], part.x[0], width, target[1]);
  set(at[2], falling ? channels - part.energy.last : part.energy.first, kept, target[2]);
  if (line_scan)
    for (std::vector<int64_t>* list : {&of_file.first, &of_file.size, &strides}) list->erase(list->begin());
  if (frame) {
    of_file.first.insert(of_file.first.begin(), sum ? 0 : std::stoll(*frame));
    of_file.size.insert(of_file.size.begin(), frames_read);
    strides.insert(strides.begin(), size);
  }
  bool finite = values->read(of_file, strides, counts.data(), stop);
  if (sum) {
    float* first = counts.data();
    bool sums_finite = true;
#pragma omp parallel for schedule(static) reduction(&& : sums_finite)
    for (int64_t i = 0; i < size; ++i) {
      double total = 0;
      for (int64_t t = 0; t < frames; ++t) total += static_cast<double>(first[t * size + i]);
      first[i] = static_cast<float>(total);
      sums_finite = sums_finite && std::isfinite(first[i]);
    }
    finite = sums_finite;
    counts.resize(static_cast<size_t>(size));
  }
  if (falling) {
#pragma omp parallel for schedule(static)
    for (int64_t pixel = 0; pixel < height * width; ++pixel)
      std::reverse(counts.data() + pixel * kept, counts.data() + (pixel + 1) * kept);
  }
  return finite;
}

std::array<int64_t, 3> Counts::together() const {
  std::vector<int64_t> of_file = values->together();
  if (of_file.empty()) return {1, 1, 1};
  // Frames that follow each other are read for every part, however it is cut.
  if (frame && *frame == "sum" && of_file[0] == 1 && of_file[1] == 1) return {1, 1, 1};
  if (frame) of_file.erase(of_file.begin());
  if (line_scan) of_file.insert(of_file.begin(), 1);
  const std::array<size_t, 3> at = swapped ? std::array{place[1], place[0], place[2]} : place;
  return {of_file[at[0]], of_file[at[1]], of_file[at[2]]};
}

}  // namespace

std::vector<StoredImage> open_images(const std::string& path) {
  const auto kept_open = hdf5::open_if_hdf5(path);
  std::vector<StoredImage> images = format_of(path).open(path);
  const bool damaged = !images.empty() && std::ranges::all_of(images, [](const StoredImage& image) {
    return image.info.axes.empty() && !image.info.fault.empty();
  });
  if (damaged) throw UserError(images.front().info.fault);
  for (StoredImage& image : images) {
    ImageInfo& info = image.info;
    info.title = one_line(info.title);
    info.signal = one_line(info.signal);
    info.fault = one_line(info.fault);
    for (Axis& axis : info.axes) {
      axis.name = one_line(axis.name);
      axis.units = one_line(axis.units);
      convert_units(axis);
    }
    put_energy_last(image);
  }
  return images;
}

std::vector<ImageInfo> list_images(const std::string& path) {
  std::vector<ImageInfo> infos;
  for (StoredImage& image : open_images(path)) infos.push_back(std::move(image.info));
  return infos;
}

std::string image_format_name(const std::string& path) {
  const auto kept_open = hdf5::open_if_hdf5(path);
  return format_of(path).name;
}

std::vector<std::string> image_files(const std::string& path) {
  const auto kept_open = hdf5::open_if_hdf5(path);
  const ImageFormat& format = format_of(path);
  return format.files ? format.files(path) : std::vector{path};
}

int64_t low_loss_image(const std::string& path) {
  const std::vector<ImageInfo> images = list_images(path);
  const auto low = std::ranges::find_if(images, [](const ImageInfo& info) {
    return info.fault.empty() && (info.signal == "EELS" || info.signal.empty()) &&
           (info.kind == "spectrum image" || info.kind == "line scan") && is_low_loss(info.axes.back());
  });
  return low == images.end() ? -1 : low - images.begin();
}

ImageToRead open_spectrum_image(const std::string& path, const ReadOptions& options, const StopToken& stop) {
  FileStates states;
  states.add(path);
  std::vector<StoredImage> images = open_images(path);
  for (const std::string& file : image_files(path))
    if (file != path) states.add(file);
  const auto& [info, values, metadata] = images[choose(path, images, options)];
  if (!info.fault.empty()) throw UserError(info.fault);
  if (!fits(info, options))
    throw UserError(path + ": holds " + describe(info) + ", " + remedy(info, options));
  std::vector<Axis> axes = info.axes;
  const int64_t frames = options.frame ? axes.front().size : 1;
  if (options.frame) axes.erase(axes.begin());
  if (options.frame && *options.frame != "sum" && std::stoll(*options.frame) >= frames)
    throw UserError(path + ": has no frame " + *options.frame + ", data.frame is 0 to " +
                    std::to_string(frames - 1) + ", or sum");
  const bool line_scan = axes.size() == 2;
  if (line_scan) axes.insert(axes.begin(), Axis{"y", "", 0, 1, 1});  // one row
  const std::array<size_t, 3> place = places(options.axes);
  check_shape(path, {axes[place[0]].size, axes[place[1]].size, axes[place[2]].size}, frames);
  if (!values)
    throw UserError(
        path + ": the " + info.kind + " holds data of type " + info.dtype +
        ", integers or floats are needed; save the real part, or the field that holds the counts");

  SpectrumImage image;
  image.file = path;
  image.notes = info.notes;
  if (!info.signal.empty() && info.signal != "EELS")
    image.notes.push_back("The file calls this image " + info.signal + ", not EELS");
  image.title = info.title;
  image.y = axes[place[0]];
  image.x = axes[place[1]];
  image.energy = axes[place[2]];
  if (image.energy.units.empty() && !options.energy_offset && options.axes == default_axes &&
      info.notes.empty())
    image.notes.push_back(
        "No energies are known: the last axis is taken for them, by the numbers of its channels; "
        "data.axes=Eyx if it is the "
        "first, data.energy_offset and data.dispersion calibrate it");
  if (options.axes != default_axes) {  // a file that misplaces its axes also misnames them
    image.y.name = "y";
    image.x.name = "x";
    image.energy.name = "Energy loss";
  }
  Axis& energy = image.energy;
  const bool falling = energy.scale < 0;
  if (falling) {  // energies rise with the channel
    energy.offset = energy.value(static_cast<double>(energy.size - 1));
    energy.scale = -energy.scale;
    image.notes.push_back("The energies fall with the channel; the spectra were turned round");
  }
  calibrate(path, options, energy);
  check_axis(path, image.y, "y");
  check_axis(path, image.x, "x");
  check_energies(path, options, energy);
  if (options.swap_axes) {
    std::swap(image.y, image.x);
    std::swap(image.y.name, image.x.name);  // the names tell the axes' places
  }
  image.metadata = readable(metadata()).dump();
  const Counts counts{values,  path,          place,  line_scan,  options.swap_axes,
                      falling, options.frame, frames, energy.size};
  ImageToRead opened(std::move(image), [counts, stop, states](const ImagePart& part, CountArray& to) {
    const bool finite = counts.read(part, to, stop);
    states.check();
    return finite;
  });
  opened.together = [counts] { return counts.together(); };
  return opened;
}

SpectrumImage read_spectrum_image(const std::string& path, const ReadOptions& options, bool* all_finite,
                                  const StopToken& stop) {
  auto [image, read, together] = open_spectrum_image(path, options, stop);
  const bool finite = read({{0, image.y.size}, {0, image.x.size}, {0, image.energy.size}}, image.counts);
  if (all_finite)
    *all_finite = finite;
  else if (!finite)
    throw UserError(path + ": " + not_finite_text(image));
  return image;
}

}  // namespace eelsvae
