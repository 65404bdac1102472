#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/image/spectrum_image.h"
#include "io/simplon/series.h"

namespace eelsvae {

// What a detector does not know of a scan. What is not given is taken from `user_data` of the series' start
// (header_appendix), a JSON object or the text of one, with the keys scan_shape [height, width],
// energy_offset and dispersion.
struct ScanOptions {
  std::optional<std::array<int64_t, 2>> shape;  // height, width
  std::optional<double> energy_offset;          // eV, of the detector's first column, not the region's
  std::optional<double> dispersion;             // eV, from a column to the next one; not negative, not 0
  int64_t block = 256;                          // spectra that are handed on together, at most
};

// The largest scan, in pixels.
constexpr int64_t most_detector_scan_pixels = int64_t{1} << 26;

// Of spectra of the region's columns; the units are "" where no dispersion is given, and the size is 0 where
// the region has no last column.
Axis energies_of(const ScanOptions& options, const DetectorRegion& region);

// A scan, as of its first message.
struct DetectorScan {
  uint64_t series = 0;
  int64_t height = 0, width = 0;
  Axis energy;                       // of the spectra; units "" where no dispersion is known
  std::optional<int64_t> images;     // that the detector has been armed for
  std::optional<double> frame_time;  // s
  bool joined_late = false;          // its start was not seen: shape and energies are those of the options
};

// What became of the images of a series. One that came is in one of received, repeated and beyond_scan, or in
// none of them where it was of another size than the first.
struct ScanFrames {
  int64_t received = 0;       // each pixel once; the first image counts
  int64_t repeated = 0;       // that came again: not handed on
  int64_t out_of_order = 0;   // of the received ones: after one that is behind it in the scan
  int64_t beyond_scan = 0;    // whose number is not one of the scan's pixels: not handed on
  int64_t lost = 0;           // that did not come though a later one did
  int64_t not_sent = 0;       // pixels behind the last one that came
  int64_t bad_messages = 0;   // that came while the scan was running and were not understood
  int64_t not_forwarded = 0;  // messages that the next receiver did not take
  int64_t drawn_columns = 0;  // the most columns of a spectrum that had no data (frame_sum.h)
};

// Who takes the spectra of one scan after the other. Exceptions come out of who calls.
class ScanSink {
 public:
  virtual ~ScanSink() = default;
  virtual void scan_started(const DetectorScan& scan) = 0;
  // Spectra (count, channels) of the pixels first, first + 1, ... in the order y * width + x.
  virtual void spectra(int64_t first, int64_t count, std::span<const float> spectra) = 0;
  // `ended`: the detector said so; else another series began, or who listens stopped.
  virtual void scan_ended(const ScanFrames& frames, bool ended) = 0;
  // A line about what is not as it should be. Of each kind the first of a series is reported; at its end it
  // is said how many there were.
  virtual void report(const std::string& line) = 0;
};

// Makes scans of the series of a detector: places images, counts what is lost, repeated or out of order, and
// hands spectra on in blocks.
//
// Memory: a bit for each pixel, and a block.
class ScanOfSeries final : public SeriesEvents {
 public:
  // UserError where options cannot be.
  ScanOfSeries(const ScanOptions& options, const DetectorRegion& region, ScanSink& sink);

  void start(const SeriesStart& series) override;
  void image(const SeriesImage& image) override;
  void end(uint64_t series) override;

  // A message was not understood; `line` says why.
  void bad_message(const std::string& line);
  // Messages were not forwarded. Those between two series count as the next one's.
  void not_forwarded(int64_t messages);
  // Hands on what is waiting for a block to be full.
  void flush();
  // No more messages will come.
  void stop();

  bool running() const { return running_; }
  // Spectra that wait for a block to be full.
  int64_t waiting() const { return waiting_; }
  // That came of the series, taken or not.
  int64_t images() const { return images_; }
  // Of the scan that is running, or of the last one; `lost` and `not_sent` so far.
  ScanFrames frames() const;

 private:
  enum Kind {
    repeated,
    out_of_order,
    beyond_scan,
    lost,
    bad,
    of_other_series,
    other_size,
    drawn,
    unforwarded
  };

  void begin(const SeriesStart& series, bool joined_late);
  void begin_scan(int64_t columns);
  void close(bool ended);
  bool take(const SeriesImage& image);
  void report_first(Kind kind, const std::string& line);

  ScanOptions options_;
  DetectorRegion region_;
  ScanSink& sink_;

  bool begun_ = false;    // there has been a series
  bool known_ = false;    // and it has not ended
  bool usable_ = false;   // and its scan is known
  bool running_ = false;  // and was begun at the sink
  DetectorScan scan_;
  int64_t channels_ = 0;
  std::vector<bool> came_;  // (y, x)
  int64_t highest_ = -1;    // pixel that came
  ScanFrames frames_;
  int64_t images_ = 0, not_taken_ = 0;
  int64_t not_forwarded_between_ = 0;  // series
  std::set<Kind> reported_;

  std::vector<float> block_;
  int64_t first_ = 0, waiting_ = 0;
};

}  // namespace eelsvae
