#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/live/scan_rows.h"

namespace eelsvae {

// The spectra of a running scan on disk, as they come: its first rows in a file that a training can read, the
// others without a name, gone when this is. One thread writes; another may replay rows that were complete
// before it was told of them.
class RecordedScan {
 public:
  // rows: so many of the first, 0 or more, go to folder/scan.npy, float32 (rows, width, channels), 0 where
  // nothing has come. UserError "cannot write ...".
  RecordedScan(const std::string& folder, const ScanPlan& plan, int64_t rows);
  ~RecordedScan();
  RecordedScan(const RecordedScan&) = delete;
  RecordedScan& operator=(const RecordedScan&) = delete;

  const ScanPlan& plan() const { return plan_; }
  const std::string& path() const { return path_; }

  // Spectra (count, channels) of the pixels from `first` on; what is there already is replaced. UserError
  // "cannot write ...", where the disk is full, say.
  void write(int64_t first, int64_t count, std::span<const float> spectra);
  // Hands on what has come of the pixels [first, last), in order, a row or a part of one at a time. UserError
  // "cannot read ...".
  void replay(
      int64_t first, int64_t last,
      const std::function<void(int64_t first, int64_t count, std::span<const float> spectra)>& take) const;
  // The share of the pixels of path() that has come.
  double share_there() const;
  // Nobody will want path(): removes it, and its folder, if that is empty then.
  void discard() const;
  // What path() has no spectra of, as the mask (rows, width) of data.exclude_path, with what the plan
  // excludes. UserError.
  void write_mask(const std::string& file) const;

 private:
  // Where a pixel's spectrum lies.
  struct Place {
    int descriptor;
    uint64_t offset;
    int64_t pixels;  // from there on, in the same file
  };
  Place place_of(int64_t pixel) const;

  ScanPlan plan_;
  std::string folder_, path_, rest_name_;
  int64_t rows_;
  uint64_t header_bytes_ = 0;
  int first_rows_ = -1, rest_ = -1;  // descriptors
  std::vector<uint8_t> there_;       // (y, x)
};

}  // namespace eelsvae
