#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// A scan that is still to come: its grid, the energies of its spectra, and the pixels that will not be looked
// at (y, x; nonzero), or none.
struct ScanPlan {
  int64_t height = 0, width = 0;
  Axis energy;  // eV
  std::vector<uint8_t> excluded = {};
};

// UserError where it has no pixels or channels, more pixels or longer rows than fit in memory, or a mask of
// another size.
void check_plan(const ScanPlan& plan);

// Excludes rectangles [y0, x0, y1, x1), pixels, of a plan that check_plan() lets pass. UserError where one
// reaches beyond the scan.
void exclude_rectangles(ScanPlan& plan, const std::vector<std::array<int64_t, 4>>& rectangles);

// What became of the spectra so far. Pixels that the plan excludes are not counted.
struct ScanCounts {
  int64_t received = 0;  // that were taken, each pixel once
  int64_t repeated = 0;  // that came again while their row was open: the last one counts
  int64_t late = 0;      // that came when their row was complete or given up: not taken
  int64_t missing = 0;   // that had not come when their row was given up: excluded pixels from then on
  bool operator==(const ScanCounts&) const = default;
};

// Puts a running scan's spectra into rows, which it hands on in order as they are complete. When `patience`
// rows after an incomplete one are complete, or spectra come from more than 32 rows after it, it is given up
// and handed on with what has come of it.
class ScanRows {
 public:
  // Takes a row, (1, x, channels of the window): what is missing of it is excluded by request, and holds
  // zeros.
  using TakeRow = std::function<void(SpectrumImage row)>;

  // used: the channels that are kept of the plan's.
  ScanRows(const ScanPlan& plan, ChannelWindow used, int64_t patience);

  // UserError: pixels beyond the scan.
  void check(int64_t first, int64_t count) const;
  // spectra: (count, channels) of the plan's axis. UserError: as above; counts that are not finite in a
  // channel that is used of a pixel that is not excluded.
  void check(int64_t first, int64_t count, std::span<const float> spectra) const;
  // Takes what check() has let pass. Where it throws, what of the spectra was taken is not known.
  void add(int64_t first, int64_t count, std::span<const float> spectra, const TakeRow& take);
  // Hands all other rows on.
  void give_up(const TakeRow& take);

  int64_t complete() const { return complete_; }  // rows that were handed on
  const ScanCounts& counts() const { return counts_; }

 private:
  struct OpenRow {
    CountArray counts;             // (x, channels used)
    std::vector<uint8_t> arrived;  // (x); excluded pixels, too
    int64_t waiting = 0;           // for so many
  };
  bool left_out(int64_t pixel) const;
  OpenRow& open_row(int64_t y);
  void add_spectrum(int64_t pixel, const float* spectrum, const TakeRow& take);
  void hand_on(const TakeRow& take);

  const ScanPlan& plan_;
  ChannelWindow used_;
  int64_t patience_;
  std::map<int64_t, OpenRow> open_;
  int64_t complete_ = 0, complete_ahead_ = 0;  // the second: open rows that are complete
  ScanCounts counts_;
};

}  // namespace eelsvae
