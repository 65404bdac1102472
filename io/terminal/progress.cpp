#include "io/terminal/progress.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <sys/ioctl.h>
#include <unistd.h>

#include <spdlog/fmt/fmt.h>

namespace eelsvae {
namespace {

constexpr double redraw_interval = 0.1, shortest_silence = 30, longest_silence = 300;  // seconds
constexpr double line_fraction = 0.1;
constexpr double rate_memory = 15;  // seconds; time constant of the smoothed rate

Progress* on_terminal = nullptr;  // the bar that is on the terminal

bool starts_character(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
}

// Columns of UTF-8 text, one for each character.
int width_of(const std::string& text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), starts_character));
}

std::string cut(const std::string& text, int columns) {
  size_t end = 0;
  for (int used = 0; end < text.size(); ++end) {
    if (starts_character(text[end]) && used++ == std::max(columns, 0)) break;
  }
  return text.substr(0, end);
}

// A status with a line break or an escape sequence would break the redrawing.
std::string on_one_line(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  }
  return text;
}

int percent(const ProgressState& state) {
  return static_cast<int>(100 * state.fraction());
}

}  // namespace

ProgressOutput ProgressOutput::standard_error() {
  const char* term = std::getenv("TERM");
  ProgressOutput output;
  output.terminal = isatty(STDERR_FILENO) == 1 && !(term && std::strcmp(term, "dumb") == 0);
  output.columns = [] {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? int{size.ws_col} : 80;
  };
  output.seconds = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  return output;
}

void SmoothedRate::add(double items, double seconds) {
  double kept = std::exp(-seconds / rate_memory);
  items_ = kept * items_ + items;
  seconds_ = kept * seconds_ + seconds;
}

double ProgressState::fraction() const {
  if (total <= 0) return 1;
  return std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
}

double ProgressState::seconds_left() const {
  if (done >= total) return 0;
  return rate > 0 ? static_cast<double>(total - done) / rate : -1;
}

std::string format_duration(double seconds) {
  if (!(seconds < 1e9)) return "years";
  auto whole = static_cast<int64_t>(std::llround(std::max(seconds, 0.0)));
  int64_t s = whole % 60, m = whole / 60 % 60, h = whole / 3600;
  if (h >= 48) return fmt::format("{} d {:02} h", h / 24, h % 24);
  if (h > 0) return fmt::format("{}:{:02}:{:02}", h, m, s);
  return fmt::format("{}:{:02}", m, s);
}

std::string format_rate(double per_second) {
  if (per_second >= 99.95) return fmt::format("{:.0f}/s", per_second);
  if (per_second >= 9.995) return fmt::format("{:.1f}/s", per_second);
  if (per_second >= 0.5) return fmt::format("{:.2f}/s", per_second);
  double each = 1 / per_second;
  return each < 59.95 ? fmt::format("{:.1f} s each", each) : format_duration(each) + " each";
}

std::string format_bar(const ProgressState& state, int columns) {
  const std::string total = std::to_string(state.total);
  std::string facts =
      fmt::format("{:>{}}/{} {}  {:>3} %", state.done, total.size(), total, state.unit, percent(state));
  if (state.rate > 0) facts += "  " + format_rate(state.rate);
  if (state.seconds_left() >= 0) facts += fmt::format("  {} left", format_duration(state.seconds_left()));
  std::string status = state.status.empty() ? "" : fmt::format("  {}", on_one_line(state.status));

  constexpr int shortest = 10, longest = 30;
  std::string bar;
  int room = columns - width_of(state.title) - width_of(facts) - width_of(status) - 4;  // [, ] and two spaces
  if (room >= shortest) {
    int cells = std::min(room, longest);
    std::string filled(static_cast<size_t>(state.fraction() * cells), '=');
    if (state.fraction() < 1) filled += '>';
    bar = fmt::format("[{:<{}}] ", filled, cells);
  }
  return cut(fmt::format("{} {}{}{}", state.title, bar, facts, status), columns);
}

std::string format_line(const ProgressState& state) {
  std::string line =
      fmt::format("{}: {}/{} {}, {} %", state.title, state.done, state.total, state.unit, percent(state));
  if (state.rate > 0) line += ", " + format_rate(state.rate);
  if (state.seconds_left() >= 0) line += fmt::format(", {} left", format_duration(state.seconds_left()));
  if (!state.status.empty()) line += ", " + on_one_line(state.status);
  return line;
}

std::string format_summary(const ProgressState& state) {
  std::string line = fmt::format("{}: {}", state.title, state.done);
  if (state.done < state.total) line += fmt::format(" of {}", state.total);
  line += fmt::format(" {} in {}", state.unit, format_duration(state.elapsed));
  if (state.rate > 0) line += ", " + format_rate(state.rate);
  if (!state.status.empty()) line += ", " + on_one_line(state.status);
  return line;
}

Progress::Progress(std::string title, int64_t total, std::string unit, int64_t start, ProgressOutput output)
    : output_(std::move(output)) {
  state_.title = std::move(title);
  state_.unit = std::move(unit);
  state_.total = total;
  state_.done = start_done_ = sampled_done_ = shown_done_ = start;
  started_ = sampled_ = shown_ = output_.seconds();
  if (output_.terminal) draw();
}

Progress::~Progress() {
  if (!drawn_) return;
  std::fputc('\n', output_.file);
  std::fflush(output_.file);
  on_terminal = nullptr;
}

void Progress::update(int64_t done, const std::string& status) {
  double now = output_.seconds();
  state_.done = done;
  if (done > sampled_done_ && now > sampled_) {
    rate_.add(static_cast<double>(done - sampled_done_), now - sampled_);
    sampled_ = now;
    sampled_done_ = done;
  }
  state_.rate = rate_.per_second();
  state_.elapsed = now - started_;
  if (!status.empty()) state_.status = status;

  if (output_.terminal) {
    if (!drawn_ || now - shown_ >= redraw_interval) draw();
    return;
  }
  double step = line_fraction * static_cast<double>(state_.total);
  const double silence = now - shown_;
  const bool due = static_cast<double>(state_.done - shown_done_) >= step || silence >= longest_silence;
  if (due && silence >= shortest_silence && state_.done < state_.total) {
    std::fprintf(output_.file, "%s\n", format_line(state_).c_str());
    std::fflush(output_.file);
    shown_ = now;
    shown_done_ = state_.done;
  }
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  erase();
  state_.elapsed = output_.seconds() - started_;
  state_.rate = state_.elapsed > 0 ? static_cast<double>(state_.done - start_done_) / state_.elapsed : 0;
  std::fprintf(output_.file, "%s\n", format_summary(state_).c_str());
  std::fflush(output_.file);
}

void Progress::draw() {
  // The last column stays free: some terminals wrap once it is filled.
  std::string line = format_bar(state_, output_.columns() - 1);
  std::fprintf(output_.file, "\r%s\x1b[K", line.c_str());
  std::fflush(output_.file);
  shown_ = output_.seconds();
  drawn_ = true;
  on_terminal = this;
}

void Progress::erase() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", output_.file);
  std::fflush(output_.file);
  drawn_ = false;
  on_terminal = nullptr;
}

void clear_progress_line() {
  if (on_terminal) on_terminal->erase();
}

}  // namespace eelsvae
