#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

namespace eelsvae {

// Where progress is shown, and by which clock.
struct ProgressOutput {
  std::FILE* file = stderr;
  bool terminal = false;            // redraw one line; otherwise write plain lines
  std::function<int()> columns;     // width of the terminal
  std::function<double()> seconds;  // a clock that never runs backwards

  // stderr, its width asked for at every drawing, and the steady clock. A terminal that cannot erase a line
  // (TERM=dumb) counts as a file.
  static ProgressOutput standard_error();
};

// Items per second over about the last quarter of a minute: both sums forget with the same time constant, so
// the rate is right from the first item on and one slow item does not throw it off.
class SmoothedRate {
 public:
  void add(double items, double seconds);
  double per_second() const { return seconds_ > 0 ? items_ / seconds_ : 0; }

 private:
  double items_ = 0, seconds_ = 0;
};

// What a line of progress says.
struct ProgressState {
  std::string title, unit, status;
  int64_t done = 0, total = 0;
  double rate = 0;     // units per second; 0: not known yet
  double elapsed = 0;  // seconds

  double fraction() const;      // 0 to 1; 1 where there is nothing to do
  double seconds_left() const;  // negative: not known
};

// "Training [=====>    ]  60/120 epochs  50 %  1.2/s  0:50 left  loss 0.123" in at most `columns` columns:
// the bar shrinks and vanishes first, then the status is cut, then the rest from the right.
std::string format_bar(const ProgressState& state, int columns);
// "Training: 60/120 epochs, 50 %, 1.2/s, 0:50 left, loss 0.123"
std::string format_line(const ProgressState& state);
// "Training: 120 epochs in 1:40, 1.2/s, loss 0.120"; "60 of 120 epochs" where it stopped early.
std::string format_summary(const ProgressState& state);
// "0:07", "12:05", "3:01:00", "2 d 04 h"
std::string format_duration(double seconds);
// "1250/s", "12.3/s", "0.50/s"; below that the time of one: "4.0 s each", "2:30 each"
std::string format_rate(double per_second);

// Shows how far a piece of work is: on a terminal one line, redrawn at most ten times a second; into a file
// or pipe a plain line after every 10 % or five minutes, but not within 30 s of the last one. Not
// thread-safe; one at a time.
class Progress {
 public:
  // unit: plural, such as "tiles". start: what a resumed run has done already, which does not count for the
  // rate.
  Progress(std::string title, int64_t total, std::string unit, int64_t start = 0,
           ProgressOutput output = ProgressOutput::standard_error());
  // Without finish(), as when an exception passes, the bar stays as it is and the next output gets a new
  // line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // done: units so far, start included. An empty status keeps the last one.
  void update(int64_t done, const std::string& status = "");
  // Replaces the bar by a line that sums up, or writes that line. Only the first call does so.
  void finish();

 private:
  friend void clear_progress_line();
  void draw();
  void erase();

  ProgressState state_;
  ProgressOutput output_;
  SmoothedRate rate_;
  double started_ = 0, sampled_ = 0, shown_ = 0;  // clock readings
  int64_t start_done_ = 0, sampled_done_ = 0, shown_done_ = 0;
  bool drawn_ = false, finished_ = false;
};

// Takes a bar off the terminal, so that other output starts on a clean line. The next update draws it again.
void clear_progress_line();

}  // namespace eelsvae
