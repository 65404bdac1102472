#include "io/simplon/scan_of_series.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "io/files/json_text.h"
#include "io/files/message_text.h"
#include "io/files/number_text.h"

namespace eelsvae {
namespace {

using nlohmann::json;

void check_shape(const std::array<int64_t, 2>& shape) {
  const auto [height, width] = shape;
  if (height < 1 || width < 1 || height > most_detector_scan_pixels ||
      width > most_detector_scan_pixels / height) {
    throw UserError("a scan of " + std::to_string(height) + " x " + std::to_string(width) +
                    " pixels; give height and width, both at least 1, of " +
                    std::to_string(most_detector_scan_pixels) + " pixels at most");
  }
}

void check_energy(double offset, double dispersion) {
  if (!std::isfinite(offset)) throw UserError("the energy offset is not finite");
  if (!std::isfinite(dispersion) || dispersion <= 0) throw UserError("the dispersion has to be above 0 eV");
}

// What user_data say where the options do not. UserError.
ScanOptions completed(ScanOptions options, const json& user_data) {
  json object = user_data;
  if (user_data.is_string()) {
    const std::string text = user_data.get<std::string>();
    if (!text.starts_with('{')) return options;  // somebody's remark
    object = parse_json_object(text, "user_data (header_appendix)");
  }
  if (!object.is_object()) return options;
  if (const auto found = object.find("scan_shape"); found != object.end() && !options.shape) {
    const json& shape = *found;
    const auto size = [&](size_t i) {
      const double value = shape[i].is_number() ? shape[i].get<double>() : 0;
      return value >= 1 && value <= static_cast<double>(most_detector_scan_pixels)
                 ? static_cast<int64_t>(value)
                 : 0;
    };
    if (!shape.is_array() || shape.size() != 2)
      throw UserError("scan_shape of user_data (header_appendix) has to be [height, width]");
    options.shape = {size(0), size(1)};
    check_shape(*options.shape);
  }
  const auto number = [&](const char* key, std::optional<double>& value) {
    const auto found = object.find(key);
    if (found == object.end() || value) return;
    if (!found->is_number())
      throw UserError(std::string(key) + " of user_data (header_appendix) has to be a number, in eV");
    value = found->get<double>();
  };
  number("energy_offset", options.energy_offset);
  number("dispersion", options.dispersion);
  check_energy(options.energy_offset.value_or(0), options.dispersion.value_or(1));
  return options;
}

}  // namespace

Axis energies_of(const ScanOptions& options, const DetectorRegion& region) {
  const double dispersion = options.dispersion.value_or(1);
  const int64_t first = options.dispersion ? region.first_column : 0;
  return {"Energy loss", options.dispersion ? "eV" : "",
          options.energy_offset.value_or(0) + dispersion * static_cast<double>(first), dispersion,
          region.last_column ? *region.last_column - region.first_column : 0};
}

ScanOfSeries::ScanOfSeries(const ScanOptions& options, const DetectorRegion& region, ScanSink& sink)
    : options_(options), region_(region), sink_(sink) {
  if (options_.shape) check_shape(*options_.shape);
  check_energy(options_.energy_offset.value_or(0), options_.dispersion.value_or(1));
  if (options_.block < 1) throw UserError("a block of spectra has at least one");
}

void ScanOfSeries::report_first(Kind kind, const std::string& line) {
  if (reported_.insert(kind).second) sink_.report("series " + std::to_string(scan_.series) + ": " + line);
}

void ScanOfSeries::start(const SeriesStart& series) {
  close(false);
  begin(series, false);
}

// What is known of a series whose first message came, or whose first image.
void ScanOfSeries::begin(const SeriesStart& series, bool joined_late) {
  begun_ = known_ = true;
  usable_ = false;
  frames_ = {};
  images_ = not_taken_ = 0;
  reported_.clear();
  highest_ = -1;
  scan_ = {};
  scan_.series = series.series;
  scan_.images = series.images;
  scan_.frame_time = series.frame_time;
  scan_.joined_late = joined_late;
  not_forwarded(std::exchange(not_forwarded_between_, 0));
  const std::string name = "series " + std::to_string(series.series) + ": ";
  ScanOptions options = options_;
  try {
    options = completed(options_, series.user_data);
    if (!options.shape) {
      throw UserError(joined_late
                          ? "its start was not seen and no scan shape is given; give one to take the rest"
                          : "no scan shape, neither given nor in user_data (header_appendix)");
    }
    if (series.rows && series.columns) region_.check(*series.rows, *series.columns);
  } catch (const UserError& error) {
    sink_.report(name + error.what() + ": its images are not taken");
    return;
  }
  usable_ = true;
  scan_.height = (*options.shape)[0], scan_.width = (*options.shape)[1];
  const int64_t pixels = scan_.height * scan_.width;
  came_.assign(static_cast<size_t>(pixels), false);
  scan_.energy = energies_of(options, region_);
  if (series.images && *series.images != pixels) {
    sink_.report(name + count_text(*series.images) + " images for a scan of " + count_text(pixels) +
                 " pixels (" + std::to_string(scan_.height) + " x " + std::to_string(scan_.width) + ")");
  }
  if (series.rows && series.columns) begin_scan(*series.columns);
}

void ScanOfSeries::begin_scan(int64_t columns) {
  channels_ = region_.last_column.value_or(columns) - region_.first_column;
  scan_.energy.size = channels_;
  block_.resize(static_cast<size_t>(options_.block * channels_));
  waiting_ = 0;
  running_ = true;
  sink_.scan_started(scan_);
}

void ScanOfSeries::image(const SeriesImage& image) {
  if (begun_ && (known_ ? image.series < scan_.series : image.series == scan_.series)) {
    ++not_taken_;
    report_first(of_other_series, "image " + std::to_string(image.index) + " of series " +
                                      std::to_string(image.series) +
                                      " came after the series' end: not taken");
    return;
  }
  if (!known_ || image.series != scan_.series) {
    // One that began before anybody listened, or whose first message was lost.
    close(false);
    SeriesStart start;
    start.series = image.series;
    begin(start, true);
    if (usable_)
      sink_.report("series " + std::to_string(image.series) + ": its start was not seen; the rest is taken");
  }
  ++images_;
  if (!usable_) {
    ++not_taken_;
    return;
  }
  if (!running_) begin_scan(image.columns);
  if (take(image)) {
    if (waiting_ > 0 && image.index != first_ + waiting_) flush();
    if (waiting_ == 0) first_ = image.index;
    std::ranges::copy(image.spectrum, block_.begin() + waiting_ * channels_);
    if (++waiting_ == options_.block) flush();
  }
}

// Whether the image is a pixel's first.
bool ScanOfSeries::take(const SeriesImage& image) {
  const std::string name = "image " + std::to_string(image.index);
  if (static_cast<int64_t>(image.spectrum.size()) != channels_) {
    ++not_taken_;
    report_first(other_size, name + " is of another size than the first: not taken");
    return false;
  }
  if (image.index >= static_cast<int64_t>(came_.size())) {
    ++frames_.beyond_scan;
    report_first(beyond_scan, name + " lies beyond the scan of " + std::to_string(scan_.height) + " x " +
                                  std::to_string(scan_.width) + " pixels: not taken");
    return false;
  }
  const auto pixel = static_cast<size_t>(image.index);
  if (came_[pixel]) {
    ++frames_.repeated;
    report_first(repeated, name + " came again: the first one counts");
    return false;
  }
  if (image.index < highest_) {
    ++frames_.out_of_order;
    report_first(out_of_order, name + " came after image " + std::to_string(highest_));
  } else {
    // What was sent before anybody listened counts as lost, too, but nothing went wrong that could be mended.
    if (image.index > highest_ + 1 && !(scan_.joined_late && highest_ < 0)) {
      report_first(lost,
                   name + " came after image " + std::to_string(highest_) +
                       ": images between them are late or lost; is anybody else connected to the detector?");
    }
    highest_ = image.index;
  }
  if (image.drawn_columns > 0) {
    frames_.drawn_columns = std::max(frames_.drawn_columns, image.drawn_columns);
    report_first(drawn, name + " has " + std::to_string(image.drawn_columns) +
                            " columns without data, drawn between their neighbours");
  }
  came_[pixel] = true;
  ++frames_.received;
  return true;
}

void ScanOfSeries::end(uint64_t series) {
  if (known_ && series == scan_.series) close(true);
}

void ScanOfSeries::stop() {
  close(false);
}

void ScanOfSeries::bad_message(const std::string& line) {
  ++frames_.bad_messages;
  if (known_)
    report_first(bad, line + ": the message is not taken");
  else if (reported_.insert(bad).second)
    sink_.report(line + ": the message is not taken");
}

void ScanOfSeries::not_forwarded(int64_t messages) {
  if (messages == 0) return;
  if (!known_) {
    not_forwarded_between_ += messages;
    return;
  }
  frames_.not_forwarded += messages;
  report_first(unforwarded,
               "nobody takes the forwarded stream, or not fast enough: messages are not forwarded");
}

void ScanOfSeries::flush() {
  const int64_t count = std::exchange(waiting_, 0);
  if (count > 0)
    sink_.spectra(first_, count, std::span(block_).first(static_cast<size_t>(count * channels_)));
}

ScanFrames ScanOfSeries::frames() const {
  ScanFrames frames = frames_;
  if (usable_) {
    frames.lost = highest_ + 1 - frames.received;
    frames.not_sent = scan_.height * scan_.width - (highest_ + 1);
  }
  return frames;
}

void ScanOfSeries::close(bool ended) {
  if (!known_) return;
  known_ = false;
  std::string counts;
  const auto say = [&](int64_t count, const char* what) {
    if (count > 0) counts += (counts.empty() ? "" : ", ") + count_text(count) + " " + what;
  };
  const auto report = [&] {
    say(frames_.not_forwarded, "messages not forwarded");
    if (!counts.empty()) sink_.report("series " + std::to_string(scan_.series) + ": " + counts);
  };
  if (!usable_) {
    say(not_taken_, "images not taken");
    return report();
  }
  frames_ = frames();
  usable_ = false;
  if (!std::exchange(running_, false)) return report();
  flush();
  const ScanFrames frames = frames_;
  say(frames.lost, "lost");
  say(frames.repeated, "repeated");
  say(frames.out_of_order, "out of order");
  say(frames.beyond_scan, "beyond the scan");
  say(not_taken_, "of another size or series");
  say(frames.bad_messages, "messages not understood");
  say(frames.not_sent, "pixels without image behind the last one");
  report();
  sink_.scan_ended(frames, ended);
}

}  // namespace eelsvae
