#include "engine/prepare/preprocess.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <span>

#include "engine/image/excluded.h"
#include "engine/image/finite.h"
#include "engine/prepare/binning.h"
#include "engine/prepare/blocks.h"
#include "engine/prepare/filters.h"
#include "engine/prepare/resampling.h"
#include "engine/prepare/set_aside.h"
#include "engine/short_number.h"
#include "kernels/error.h"
#include "kernels/host_memory.h"

namespace eelsvae {
namespace {

ImageShape shape_of(const SpectrumImage& image) {
  return {image.y.size, image.x.size, image.energy.size};
}

void check_pixels_left(const SpectrumImage& image) {
  if (excluded_pixels(image.excluded) == image.pixels())
    throw UserError("every pixel of the image is excluded, so none is left to work on");
}

std::string counted(int64_t n, const char* one, const char* several) {
  return std::to_string(n) + " " + (n == 1 ? one : several);
}

// what: whose counts, " of the energy range", say, for the message; remedy: besides the usual ones.
void check_finite(const SpectrumImage& image, const std::string& what, const std::string& remedy = "") {
  if (const std::string text = not_finite_text(image); !text.empty())
    throw UserError((image.file.empty() ? "" : image.file + ": ") + text + what +
                    "; replace them, or leave the pixels out with data.exclude_path or data.exclude" +
                    remedy);
}

// The longest run of channels that are finite in every pixel.
ChannelWindow longest_run(const std::vector<uint8_t>& finite) {
  ChannelWindow longest, here;
  for (size_t e = 0; e < finite.size(); ++e) {
    here.last = static_cast<int64_t>(e) + 1;
    if (!finite[e]) here.first = here.last;
    if (here.size() > longest.size()) longest = here;
  }
  return longest;
}

// Only the channels that are used need numbers: others, at the ends of spectra that were aligned, say, are
// left out before anything looks at the whole axis.
//
// cropped: the image has no channels but those.
void leave_out_what_is_not_finite(ReducedImage& reduced, const std::optional<std::array<double, 2>>& range,
                                  bool cropped) {
  SpectrumImage& image = reduced.image;
  const std::vector<uint8_t> finite = finite_channels(image);
  if (std::find(finite.begin(), finite.end(), 0) == finite.end()) return;
  ChannelWindow used{0, image.energy.size};
  if (!cropped && range && channels_within(image.energy, *range).size() > 0)
    used = channels_within(image.energy, *range);
  const bool whole = !cropped && used.size() == image.energy.size;
  ChannelWindow kept = used;
  while (kept.first > 0 && finite[static_cast<size_t>(kept.first - 1)]) --kept.first;
  while (kept.last < image.energy.size && finite[static_cast<size_t>(kept.last)]) ++kept.last;
  const auto energy_at = [&](int64_t channel) {
    return short_number(image.energy.value(static_cast<double>(channel)), 8);
  };
  const ChannelWindow run = longest_run(finite);
  const std::string remedy = run.size() < channel_multiple
                                 ? ""
                                 : "; every pixel is finite in data.energy_range=" + energy_at(run.first) +
                                       "," + energy_at(run.last - 1);
  const int64_t before = image.energy.size;
  crop_energy(image, kept);
  check_finite(image, whole ? "" : " of the energy range", remedy);
  reduced.notes.push_back(counted(before - kept.size(), "channel", "channels") +
                          " outside of the energies used left out, for some pixels are not finite there");
}

// ---- the steps that yield counts ----

std::string describe(const Spike& spike) {
  return "y " + std::to_string(spike.y) + ", x " + std::to_string(spike.x) + " at " +
         short_number(spike.energy_ev, 6) + " eV (" + short_number(static_cast<double>(spike.old_counts), 4) +
         " counts, now " + short_number(static_cast<double>(spike.new_counts), 4) + ")";
}

std::string spikes_note(const std::vector<Spike>& spikes, int64_t pixels) {
  if (spikes.empty()) return "despike: no spike found";
  size_t spectra = 0;
  for (size_t i = 0; i < spikes.size(); ++i)
    spectra += i == 0 || spikes[i].y != spikes[i - 1].y || spikes[i].x != spikes[i - 1].x;
  constexpr size_t named = 3;
  std::string text = "despike: " + counted(std::ssize(spikes), "channel", "channels") + " replaced in " +
                     std::to_string(spectra) + " of " + std::to_string(pixels) + " spectra: ";
  for (size_t i = 0; i < std::min(named, spikes.size()); ++i)
    text += (i == 0 ? "" : "; ") + describe(spikes[i]);
  return text + (spikes.size() > named ? "; ..." : "");
}

void check_same_scan(const SpectrumImage& image, const SpectrumImage& drift_image) {
  if (image.y.size == drift_image.y.size && image.x.size == drift_image.x.size) return;
  auto size = [](const SpectrumImage& i) {
    return std::to_string(i.y.size) + " x " + std::to_string(i.x.size);
  };
  throw UserError("preprocess.align_path has " + size(drift_image) + " pixels and the image " + size(image) +
                  "; both must come from the same scan");
}

std::string shifts_note(const EnergyShifts& shifts, const PreprocessConfig& config, const Axis& energy,
                        RepeatedChannels repeated) {
  std::vector<double> sorted = shifts.ev;
  std::sort(sorted.begin(), sorted.end());
  std::string text = std::string("align: spectra shifted by ") + short_number(sorted[sorted.size() / 2], 4) +
                     " eV (median), " + short_number(sorted.front(), 4) + " to " +
                     short_number(sorted.back(), 4) + " eV";
  if (shifts.uncertainty_ev > 0) text += ", each known to " + short_number(shifts.uncertainty_ev, 4) + " eV";
  if (shifts.uncertainty_ev > 0.5 * energy.scale && config.align_by == AlignBy::pixel)
    text += " (more than half a channel: preprocess.align_by=row would be safer)";
  if (shifts.unclear > 0)
    text += "; " + std::to_string(shifts.unclear) + " of " + std::to_string(shifts.spectra) + " " +
            (config.align_by == AlignBy::row ? "scan lines" : "spectra") +
            " show nothing to align and got the others' median shift";
  if (repeated.low + repeated.high > 0)
    text += "; up to " + std::to_string(repeated.low) + " channels at the low-energy end and " +
            std::to_string(repeated.high) +
            " at the high-energy end repeat the end value, for want of counts";
  return text;
}

// `drift_image`: null if the drift is measured in the image itself.
void align(ReducedImage& reduced, const PreprocessConfig& config, const AlignmentReference* fitted,
           const SpectrumImage* drift_image) {
  SpectrumImage& image = reduced.image;
  EnergyShifts shifts = measure_shifts(drift_image ? *drift_image : image, config, fitted);
  if (config.align == Align::zero_loss && !drift_image) {
    // Calibrate: the channel nearest to the peak becomes 0 eV for the whole image.
    Axis& axis = image.energy;
    const AlignmentReference& found = shifts.reference;
    const double channel = std::round(axis.index(found.energy_ev));
    const double zero_ev = axis.value(channel), rest_ev = zero_ev - found.energy_ev;
    for (double& shift : shifts.ev) shift += rest_ev;
    axis.offset = -channel * axis.scale;
    reduced.notes.push_back("align: zero-loss peak found at " + short_number(found.energy_ev, 4) +
                            " eV (median); the energy axis now starts at " + short_number(axis.offset, 6) +
                            " eV");
    shifts.reference.energy_ev = 0;
  }
  const RepeatedChannels repeated = move_spectra(image, shifts.ev);
  reduced.notes.push_back(shifts_note(shifts, config, image.energy, repeated));
  reduced.shifts_ev = std::move(shifts.ev);
  reduced.alignment = std::move(shifts.reference);
}

// The channels that are left in the end.
// A range that the axis holds only a part of gets a note.
ChannelWindow channels_used(const SpectrumImage& image, const Axis* of_model,
                            const std::optional<std::array<double, 2>>& energy_range,
                            std::vector<std::string>& notes) {
  if (of_model) return channels_of_model(image.energy, *of_model);
  if (!energy_range) return {0, image.energy.size};
  const ChannelWindow window = channels_within(image.energy, *energy_range);
  if (window.size() == 0)
    throw UserError((image.file.empty() ? "" : image.file + ": ") +
                    "data.energy_range leaves no channel; the image's axis is " + describe(image.energy));
  constexpr double half = 0.5;  // a channel
  if (image.energy.index((*energy_range)[0]) < -half ||
      image.energy.index((*energy_range)[1]) > static_cast<double>(image.energy.size - 1) + half)
    notes.push_back("data.energy_range, " + short_number((*energy_range)[0]) + " to " +
                    short_number((*energy_range)[1]) + " eV, reaches beyond the image's axis, " +
                    describe(image.energy) + "; what lies within is used");
  return window;
}

const SetAsideLevels* levels_of(const FittedPreprocess* fitted) {
  return fitted && fitted->set_aside ? &*fitted->set_aside : nullptr;
}

// Of an image that is not cropped yet, only nearly the channels that are left in the end, for it may still be
// aligned. Nothing where the range misses the axis, which the crop will tell.
void set_aside_with_note(ReducedImage& reduced, const PreprocessConfig& config,
                         const std::optional<std::array<double, 2>>& energy_range,
                         const FittedPreprocess* fitted) {
  if (config.set_aside == 0) return;
  SpectrumImage& image = reduced.image;
  ChannelWindow window{0, image.energy.size};
  if (energy_range) window = channels_within(image.energy, *energy_range);
  if (window.size() == 0) return;
  const SetAside found =
      set_aside_pixels(image, window, config.set_aside, levels_of(fitted), &reduced.set_aside.emplace());
  if (found.all() == 0) return;
  fill_excluded(image.excluded, image.counts, 0);
  reduced.notes.push_back(set_aside_note(found, config.set_aside));
}

// rows, columns, channels: before.
std::string bin_note(const SpectrumImage& image, const PreprocessConfig& config, int64_t rows,
                     int64_t columns, int64_t channels) {
  std::string text = "binned to " + std::to_string(image.y.size) + " x " + std::to_string(image.x.size) +
                     " pixels and " + describe(image.energy);
  const int64_t surplus_rows = rows % config.bin_xy, surplus_columns = columns % config.bin_xy,
                surplus_channels = channels % config.bin_energy;
  if (surplus_rows > 0) text += "; " + counted(surplus_rows, "row", "rows") + " at the bottom left out";
  if (surplus_columns > 0)
    text += "; " + counted(surplus_columns, "column", "columns") + " on the right left out";
  if (surplus_channels > 0)
    text += "; " + counted(surplus_channels, "channel", "channels") + " at the high-energy end left out";
  return text;
}

bool bins(const PreprocessConfig& config) {
  return config.bin_xy > 1 || config.bin_energy > 1;
}

void bin_with_note(ReducedImage& reduced, const PreprocessConfig& config) {
  SpectrumImage& image = reduced.image;
  if (!bins(config)) return;
  const int64_t rows = image.y.size, columns = image.x.size, channels = image.energy.size;
  bin(image, config.bin_xy, config.bin_energy);
  fill_excluded(image.excluded, image.counts, 0);  // a bin with an excluded pixel holds the others
  reduced.notes.push_back(bin_note(image, config, rows, columns, channels));
}

// How a part is to be read so that it need not be there as a whole: in one block, unless it would go to a
// scratch file.
std::vector<ImagePart> blocks_to_bin(const ImageToRead& given, const ImagePart& part,
                                     const PreprocessConfig& config) {
  constexpr size_t blocks = 4;  // in what may lie in memory, as other steps need some, too
  const int64_t pixels = (part.y[1] - part.y[0]) * (part.x[1] - part.x[0]);
  const size_t limit = largest_in_memory();
  if (static_cast<size_t>(pixels * part.energy.size()) * sizeof(float) <= limit) return {part};
  return blocks_of(part, given.together ? given.together() : std::array<int64_t, 3>{1, 1, 1},
                   {config.bin_xy, config.bin_xy, config.bin_energy}, limit / blocks);
}

// Steps 1, 2 and 6 of a part that is read and binned block by block. The same bits as without: a bin that
// holds a pixel which turns out to be set aside is left out anyway. False, and nothing is done, if the part
// has to be there after all, to name what in it is not finite.
bool reduce_by_blocks(ReducedImage& reduced, const ImageToRead& given, const ImagePart& part,
                      const std::vector<ImagePart>& blocks, const PreprocessConfig& config,
                      const FittedPreprocess* fitted) {
  const int64_t rows = part.y[1] - part.y[0], columns = part.x[1] - part.x[0], bin_xy = config.bin_xy;
  ImageToRead source = given;
  source.image.metadata.clear();
  SpectrumImage image = given.image;
  crop_axes(image, part);
  check_pixels_left(image);
  const int64_t width = columns / bin_xy, channels = part.energy.size() / config.bin_energy;
  image.counts.resize(static_cast<size_t>(rows / bin_xy * width * channels));
  std::vector<SpectrumTraits> traits(static_cast<size_t>(config.set_aside > 0 ? rows * columns : 0));
  for (const ImagePart& block : blocks) {
    bool finite = false;
    SpectrumImage piece = take_part(source, block, finite);
    fill_excluded(piece.excluded, piece.counts, 0);
    if (!finite && !not_finite_text(piece).empty()) return false;
    const int64_t y = block.y[0] - part.y[0], x = block.x[0] - part.x[0];
    if (config.set_aside > 0) add_traits(traits, piece, y * columns + x, columns, {0, piece.energy.size});
    // What is left over at an end makes no bin.
    if (std::min(piece.y.size, piece.x.size) < bin_xy || piece.energy.size < config.bin_energy) continue;
    bin(piece, bin_xy, config.bin_energy);
    float* first = image.counts.data() + (y / bin_xy * width + x / bin_xy) * channels +
                   (block.energy.first - part.energy.first) / config.bin_energy;
#pragma omp parallel for schedule(static)
    for (int64_t pixel = 0; pixel < piece.pixels(); ++pixel)
      std::copy_n(piece.spectrum(pixel), piece.energy.size,
                  first + (pixel / piece.x.size * width + pixel % piece.x.size) * channels);
  }
  const SetAside found = config.set_aside > 0
                             ? set_aside_pixels(image.excluded, traits, config.set_aside, levels_of(fitted),
                                                &reduced.set_aside.emplace())
                             : SetAside{};
  if (found.all() > 0) reduced.notes.push_back(set_aside_note(found, config.set_aside));
  bin_axes(image, bin_xy, config.bin_energy);
  fill_excluded(image.excluded, image.counts, 0);
  reduced.notes.push_back(bin_note(image, config, rows, columns, part.energy.size()));
  reduced.image = std::move(image);
  return true;
}

// ---- the published steps ----

// whole: the image's axis before it was cropped.
void narrow(SpectrumImage& image, const Axis& whole, bool cropped, std::vector<std::string>& notes) {
  ChannelWindow window{0, image.energy.size};
  if (window.size() < channel_multiple)
    throw UserError((cropped ? "data.energy_range leaves " : "the energy axis has ") +
                    std::to_string(window.size()) + " channels, and at least " +
                    std::to_string(channel_multiple) + " are needed; the image's axis is " + describe(whole));
  const int64_t surplus = window.size() % channel_multiple;
  if (surplus == 0) return;
  window.first += surplus / 2;
  window.last -= surplus - surplus / 2;
  crop_energy(image, window);
  notes.push_back("energy range narrowed by " + std::to_string(surplus) + " channels to " +
                  describe(image.energy) + ", a multiple of " + std::to_string(channel_multiple));
}

// The backend, or null, with a note, if its device lacks the memory for the published steps.
Backend* with_room(Backend* backend, const SpectrumImage& image, std::vector<std::string>& notes) {
  if (!backend) return nullptr;
  const size_t needed = backend->image_bytes(shape_of(image)), available = backend->memory().available;
  if (needed <= available) return backend;
  auto gib = [](size_t bytes) { return short_number(static_cast<double>(bytes) / (1 << 30), 3) + " GiB"; };
  notes.push_back("preprocessed on the host: the image takes " + gib(needed) + " of memory on " +
                  backend->device() + ", " + gib(available) + " are free");
  return nullptr;
}

}  // namespace

Axis unbinned(Axis axis, int64_t bin) {
  axis.scale /= static_cast<double>(bin);
  axis.offset = axis.value(-0.5 * static_cast<double>(bin - 1));
  axis.size *= bin;
  return axis;
}

ReducedImage reduce(ImageToRead given, const PreprocessConfig& config,
                    const std::optional<std::array<double, 2>>& energy_range, const FittedPreprocess* fitted,
                    std::optional<ImageToRead> drift_image) {
  const SpectrumImage& whole = given.image;
  expect((given.read || std::ssize(whole.counts) == whole.pixels() * whole.energy.size) && whole.pixels() > 0,
         "a spectrum image's counts do not match its axes");
  expect(whole.excluded.empty() || std::ssize(whole.excluded) == whole.pixels(),
         "a spectrum image's mask of excluded pixels does not match its axes");
  const std::array<int64_t, 2> y = checked_range(config.crop_y, whole.y.size, "crop_y"),
                               x = checked_range(config.crop_x, whole.x.size, "crop_x");
  if (drift_image) check_same_scan(whole, drift_image->image);
  const Axis left = fitted ? unbinned(fitted->energy, config.bin_energy) : Axis{};
  const Axis* of_model = fitted ? &left : nullptr;
  // Spikes are looked for, and spectra shifted, over the whole axis.
  const bool crop_first = config.despike == 0 && config.align == Align::none;
  ReducedImage reduced;
  reduced.notes = whole.notes;
  const ChannelWindow all{0, whole.energy.size},
      kept = crop_first ? channels_used(whole, of_model, energy_range, reduced.notes) : all;
  const ImagePart part{y, x, kept};
  if (crop_first && given.read && bins(config) && std::min(y[1] - y[0], x[1] - x[0]) >= config.bin_xy &&
      kept.size() >= config.bin_energy) {
    const std::vector<ImagePart> blocks = blocks_to_bin(given, part, config);
    if (blocks.size() > 1 && reduce_by_blocks(reduced, given, part, blocks, config, fitted)) return reduced;
  }
  bool finite = false;
  reduced.image = take_part(std::move(given), part, finite);
  fill_excluded(reduced.image.excluded, reduced.image.counts, 0);
  check_pixels_left(reduced.image);
  std::optional<std::array<double, 2>> used;  // of what is there still
  if (!crop_first)
    used = fitted ? std::array{left.value(0), left.value(static_cast<double>(left.size - 1))} : energy_range;
  if (!finite) leave_out_what_is_not_finite(reduced, used, kept.size() < all.size());
  set_aside_with_note(reduced, config, used, fitted);
  if (config.despike > 0) {
    reduced.spikes = remove_spikes(reduced.image, config.despike);
    for (Spike& spike : reduced.spikes) {
      spike.y += y[0];
      spike.x += x[0];
    }
    reduced.notes.push_back(spikes_note(reduced.spikes, reduced.image.pixels()));
  }
  if (config.align != Align::none) {
    expect(!fitted || fitted->alignment, "a model that aligns carries no reference");
    std::optional<SpectrumImage> drift;
    if (drift_image) {
      const ChannelWindow channels{0, drift_image->image.energy.size};
      drift = take_part(std::move(*drift_image), {y, x, channels}, finite);
      if (!finite) check_finite(*drift, " of preprocess.align_path");
    }
    align(reduced, config, fitted ? &*fitted->alignment : nullptr, drift ? &*drift : nullptr);
  }
  if (!crop_first)
    crop_energy(reduced.image, channels_used(reduced.image, of_model, energy_range, reduced.notes));
  bin_with_note(reduced, config);
  return reduced;
}

std::vector<uint8_t> reduce_mask(const std::vector<uint8_t>& mask, int64_t height, int64_t width,
                                 const PreprocessConfig& config) {
  const std::array<int64_t, 2> y = checked_range(config.crop_y, height, "crop_y"),
                               x = checked_range(config.crop_x, width, "crop_x");
  return bin_mask(crop_mask(mask, width, y, x), y[1] - y[0], x[1] - x[0], config.bin_xy);
}

std::vector<uint8_t> full_mask(const std::vector<uint8_t>& mask, int64_t height, int64_t width,
                               const PreprocessConfig& config) {
  if (mask.empty()) return {};
  const std::array<int64_t, 2> y = checked_range(config.crop_y, height, "crop_y"),
                               x = checked_range(config.crop_x, width, "crop_x");
  const int64_t bin = config.bin_xy, columns = (x[1] - x[0]) / bin, rows = (y[1] - y[0]) / bin;
  std::vector<uint8_t> full(static_cast<size_t>(height * width));
  for (int64_t row = 0; row < rows * bin; ++row)
    for (int64_t column = 0; column < columns * bin; ++column)
      full[static_cast<size_t>((y[0] + row) * width + x[0] + column)] =
          mask[static_cast<size_t>(row / bin * columns + column / bin)];
  return full;
}

ScalingParameters smooth_and_scale(SpectrumImage& image, const PreprocessConfig& config,
                                   const ScalingParameters* fitted, Backend* backend) {
  const std::unique_ptr<Backend> processor = backend ? nullptr : make_backend("cpu", "fp32");
  const std::vector<float> gaussian = gaussian_weights(config.sigma), mean = mean_weights(config.xy_window);
  const std::unique_ptr<DeviceImage> device =
      (backend ? backend : processor.get())
          ->take_image(shape_of(image), image.counts.data(),
                       image.excluded.empty() ? nullptr : image.excluded.data());
  if (config.sigma > 0) device->filter(gaussian, gaussian, std::nullopt);
  const ScalingParameters scaling = fitted ? *fitted : ScalingParameters::fit(*device, config);
  const std::optional<LinearMap> linear = scaling.linear();
  if (!linear) device->map_to_shares(scaling.quantiles);
  device->filter(mean, {}, linear);
  device->finish();
  fill_excluded(image.excluded, image.counts, 0);
  return scaling;
}

PreparedImage prepare(ImageToRead image, const PreprocessConfig& config,
                      const std::optional<std::array<double, 2>>& energy_range,
                      const FittedPreprocess* fitted, std::optional<ImageToRead> drift_image,
                      Backend* backend) {
  const Axis whole = image.image.energy;
  ReducedImage reduced = reduce(std::move(image), config, energy_range, fitted, std::move(drift_image));
  PreparedImage prepared{std::move(reduced.image),
                         {},
                         std::move(reduced.alignment),
                         std::move(reduced.notes),
                         reduced.set_aside};
  narrow(prepared.image, whole, energy_range.has_value(), prepared.notes);
  prepared.scaling = smooth_and_scale(prepared.image, config, fitted ? &fitted->scaling : nullptr,
                                      with_room(backend, prepared.image, prepared.notes));
  if (const std::string note = scratch_note(); !note.empty()) prepared.notes.push_back(note);
  return prepared;
}

void check_non_negative(const SpectrumImageView& prepared, ReconstructionLoss loss) {
  if (loss == ReconstructionLoss::mse) return;
  float lowest = 0;
  const auto count = static_cast<int64_t>(prepared.counts.size());
#pragma omp parallel for simd schedule(static) reduction(min : lowest)
  for (int64_t i = 0; i < count; ++i) lowest = std::min(lowest, prepared.counts[static_cast<size_t>(i)]);
  if (lowest >= 0) return;
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", static_cast<double>(lowest));
  throw UserError(
      std::string("preprocessed counts go down to ") + text + ", and loss.reconstruction " + name_of(loss) +
      " needs them >= 0; set preprocess.scaling_method to robust_minmax, or loss.reconstruction to "
      "mse");
}

}  // namespace eelsvae
