#include "io/serve/scan_work.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <limits>
#include <new>

#include "io/files/message_text.h"
#include "io/files/number_text.h"
#include "io/reports/embedded_arrays.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr size_t most_missing_told = 1000;
constexpr int64_t most_worst = 24;
constexpr double threshold_seconds = 0.1, details_seconds = 0.5;  // not more often
constexpr double rate_seconds = 1;
constexpr double share_of_time = 10;           // what is refreshed takes a tenth of the time at most
constexpr int64_t largest_map_part = 1 << 16;  // scores in one message, if rows are not larger
constexpr double least_measured = 0.25;        // seconds for which a capacity is, where rows are scored fast

std::string shape_of(const ScanPlan& plan) {
  return shape_text({plan.height, plan.width}) + " x " + std::to_string(plan.energy.size) + " channels";
}

bool same_geometry(const StartMessage& a, const StartMessage& b) {
  return a.plan.height == b.plan.height && a.plan.width == b.plan.width && a.plan.energy == b.plan.energy &&
         a.type == b.type && a.plan.excluded == b.plan.excluded;
}

// Spectra that cost as much as real ones: flat, with the noise of a few hundred counts.
void fill_with_noise(std::vector<float>& spectra, uint32_t& state) {
  for (float& value : spectra) {
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
      state = state * 1664525u + 1013904223u;
      sum += static_cast<float>(state >> 8) * (1.0f / (1 << 24)) - 0.5f;
    }
    value = std::round(400 + 20 * std::sqrt(3.0f) * sum);
  }
}

// Spectra per second that are scored in a scan like this one, of noise, by what can be seen of it in
// most_seconds; nullopt: nothing became final in that time. Interrupted.
std::optional<double> measured_capacity(LiveScanSource& source, const ScanPlan& plan, double most_seconds,
                                        const StopToken& stop) {
  ScanPlan trial = plan;
  trial.excluded.clear();
  const std::unique_ptr<LiveScan> live = source.open_for_trial(trial);
  std::vector<float> row(static_cast<size_t>(plan.width * plan.energy.size));
  uint32_t noise = 1;
  const double begin = service_clock();
  double spent_on_noise = 0, first_final_at = 0;
  int64_t first_final = 0, pushed = 0;
  const auto working_time = [&] { return service_clock() - begin - spent_on_noise; };
  while (pushed < plan.height) {
    stop.stop_if_requested();
    const double before = service_clock();
    fill_with_noise(row, noise);
    spent_on_noise += service_clock() - before;
    live->push(pushed * plan.width, plan.width, row);
    ++pushed;
    if (first_final == 0 && live->final_rows() > 0) {
      first_final = live->final_rows();
      first_final_at = working_time();
    }
    const bool enough = first_final > 0 && live->final_rows() - first_final > 2 * (live->reach() + 1) &&
                        working_time() > least_measured;
    if (enough || working_time() > most_seconds) break;
  }
  // The first rows pay for what is made once; what has no second ones is measured with them. A scan that is
  // ended early is no measure: rows that are missing cost baselines little, and networks as much as others.
  int64_t rows = live->final_rows() - first_final;
  double seconds = working_time() - first_final_at;
  if (rows < live->reach() + 1) {
    if (pushed == plan.height) live->finish();
    rows = live->final_rows();
    seconds = working_time();
  }
  if (rows <= 0 || seconds <= 0) return std::nullopt;
  return static_cast<double>(rows * plan.width) / seconds;
}

// [first, count] of pixels that have not come, from one on, and whether there are more such runs.
json missing_runs(const std::vector<bool>& taken, const std::vector<uint8_t>& excluded, int64_t from,
                  bool& more) {
  json runs = json::array();
  more = false;
  const auto missing = [&](size_t pixel) {
    return !taken[pixel] && (excluded.empty() || excluded[pixel] == 0);
  };
  for (auto pixel = static_cast<size_t>(from); pixel < taken.size(); ++pixel) {
    if (!missing(pixel)) continue;
    const size_t first = pixel;
    while (pixel < taken.size() && missing(pixel)) ++pixel;
    if (runs.size() == most_missing_told) {
      more = true;
      break;
    }
    runs.push_back({first, pixel - first});
  }
  return runs;
}

}  // namespace

double service_clock() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

ScanWork::ScanWork(LiveScanSource& source, LiveView& view, std::function<void()> wake,
                   std::vector<std::array<int64_t, 4>> exclude, double most_measured)
    : source_(source),
      view_(view),
      wake_(std::move(wake)),
      exclude_(std::move(exclude)),
      most_measured_(most_measured),
      thread_([this] { work(); }) {}

ScanWork::~ScanWork() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void ScanWork::put(Command command) {
  {
    const std::lock_guard lock(mutex_);
    commands_.push_back(std::move(command));
  }
  changed_.notify_one();
}

void ScanWork::prepare(ScanPlan plan) {
  put(Prepare{std::move(plan)});
}
void ScanWork::start(Party from, StartMessage start) {
  put(Start{std::move(from), std::move(start)});
}
void ScanWork::take(Party from, std::shared_ptr<const void> owner, BlockMessage block, double arrival) {
  put(Block{std::move(from), std::move(owner), block, arrival});
}
void ScanWork::end(Party from, EndMessage end, double arrival) {
  put(End{std::move(from), std::move(end), arrival});
}
void ScanWork::show(std::string client) {
  put(Show{std::move(client)});
}

std::vector<ScanWork::Event> ScanWork::events() {
  const std::lock_guard lock(mutex_);
  return std::exchange(events_, {});
}

void ScanWork::post(Event event) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  wake_();
}

void ScanWork::refuse(const Party& from, const std::string& line, const std::string& log) {
  json message = error_message(line);
  message["refused"] = true;
  post({from, std::move(message), 0, log});
}

void ScanWork::work() {
  const auto guarded = [](const auto& work, const auto& when_it_fails) {
    try {
      work();
    } catch (const std::exception& error) {
      try {
        when_it_fails(error.what());
      } catch (const std::exception&) {  // not even the memory for an answer: others get theirs
      }
    }
  };
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (commands_.empty()) {
      lock.unlock();
      bool worked = false;
      guarded([&] { worked = do_spare_work(); }, [&](const std::string& why) { fail(why); });
      lock.lock();
      // What is not due yet is looked at again soon.
      if (!worked && !stop_ && commands_.empty()) changed_.wait_for(lock, std::chrono::milliseconds(50));
      continue;
    }
    Command command = std::move(commands_.front());
    commands_.pop_front();
    lock.unlock();
    guarded([&] { std::visit([this](auto& any) { run(any); }, command); },
            [&](const std::string& why) { answer_failure(command, why); });
    lock.lock();
  }
}

// Whatever was asked is answered, once. Only what takes the scan further leaves it in no state to go on from.
void ScanWork::answer_failure(Command& command, const std::string& why) {
  if (const Prepare* prepare = std::get_if<Prepare>(&command)) {
    post({{}, nullptr, 0, "scans of " + shape_of(prepare->plan) + " could not be tried: " + one_line(why)});
  } else if (const Start* start = std::get_if<Start>(&command)) {
    refuse(start->from, why, "scan '" + start->start.series + "' was refused: " + one_line(why));
  } else if (const Show* show = std::get_if<Show>(&command)) {
    const Party client = {For::client, show->client};
    refuse(client, "the scan cannot be shown: " + why);
    post({client, nullptr, 0, ""});
  } else if (const Block* block = std::get_if<Block>(&command)) {
    if (!block->answered) {
      json message = error_message(why);
      message["number"] = block->block.number;
      message["series"] = std::string(block->block.series);
      post({block->from, std::move(message), static_cast<int64_t>(block->block.data.bytes.size()), ""});
    }
    fail(why);
  } else if (const End* end = std::get_if<End>(&command)) {
    refuse(end->from, why);
    fail(why);
  }
}

// What the library could not do leaves the scan in no state to go on from.
void ScanWork::fail(const std::string& why) {
  if (!scan_ || !scan_->live) return;
  if (scan_->state.stage == ScanStage::ended)  // what was found stays
    return post({{}, nullptr, 0, "after scan '" + scan_->start.series + "' had ended: " + one_line(why)});
  scan_->state.stage = ScanStage::failed;
  scan_->state.failure = one_line(why);
  scan_->live.reset();
  view_.set_state(scan_->state);
  post({{}, scan_message(), 0, "scan '" + scan_->start.series + "' failed: " + scan_->state.failure});
}

std::optional<double> ScanWork::capacity_of(LiveScanSource& source, const ScanPlan& plan) {
  const std::pair<std::string, std::vector<double>> key = {
      source.description(),
      {static_cast<double>(plan.height), static_cast<double>(plan.width),
       static_cast<double>(plan.energy.size), plan.energy.offset, plan.energy.scale}};
  if (const auto found = capacities_.find(key); found != capacities_.end()) return found->second;
  std::optional<double> capacity;
  try {
    capacity = measured_capacity(source, plan, most_measured_, StopToken(stop_));
  } catch (const std::exception&) {  // noise is not what such scans are made for
  }
  if (capacities_.size() > 100) capacities_.clear();
  return capacities_[key] = capacity;
}

json ScanWork::started_message(bool resumed) const {
  const Scan& scan = *scan_;
  bool more = false;
  // Rows that were given up take nothing more.
  json missing = missing_runs(scan.taken, scan.start.plan.excluded,
                              scan.live->complete_rows() * scan.start.plan.width, more);
  return {{"type", "started"},
          {"series", scan.start.series},
          {"resumed", resumed},
          {"capacity", scan.state.capacity ? json(*scan.state.capacity) : json(nullptr)},
          {"reach", scan.live->reach()},
          {"received", scan.state.counts.received},
          {"missing", std::move(missing)},
          {"more_missing", more}};
}

json ScanWork::scan_message() const {
  const Scan& scan = *scan_;
  json message = {{"type", "scan"},
                  {"series", scan.start.series},
                  {"title", scan.start.title},
                  {"shape", {scan.start.plan.height, scan.start.plan.width}},
                  {"channels", scan.start.plan.energy.size},
                  {"energy_offset", scan.start.plan.energy.offset},
                  {"dispersion", scan.start.plan.energy.scale},
                  {"state", to_string(scan.state.stage)},
                  {"scored_by", scan.state.scored_by},
                  {"reach", scan.state.reach},
                  {"capacity", scan.state.capacity ? json(*scan.state.capacity) : json(nullptr)}};
  if (!scan.state.failure.empty()) message["failure"] = scan.state.failure;
  return message;
}

json ScanWork::scores_message(Rows rows, bool final) const {
  const Scan& scan = *scan_;
  const int64_t width = scan.start.plan.width;
  return {{"type", "scores"},
          {"series", scan.start.series},
          {"first_row", rows.first},
          {"rows", rows.count()},
          {"final", final},
          {"scores", float_bytes(scan.live->scores().subspan(static_cast<size_t>(rows.first * width),
                                                             static_cast<size_t>(rows.count() * width)))},
          {"threshold", finite_json(scan.state.threshold)},
          {"threshold_final", scan.state.stage == ScanStage::ended},
          {"final_rows", scan.state.final_rows},
          {"scored_rows", scan.state.scored_rows},
          {"counts", counts_message(scan.state.counts)}};
}

void ScanWork::run(Prepare& command) {
  const std::string scans = "scans of " + shape_of(command.plan);
  try {
    exclude_rectangles(command.plan, exclude_);
    source_.open_for_trial(command.plan);
  } catch (const UserError& error) {
    return post({{}, nullptr, 0, scans + " will be refused: " + error.what()});
  }
  if (const std::optional<double> capacity = capacity_of(source_, command.plan))
    post({{}, nullptr, 0, number_text(*capacity) + " spectra/s of " + scans + " can be scored"});
}

void ScanWork::run(Start& command) {
  StartMessage& start = command.start;
  try {
    check_plan(start.plan);
    exclude_rectangles(start.plan, exclude_);
  } catch (const UserError& error) {
    return refuse(command.from, error.what(),
                  "scan '" + start.series + "' was refused: " + one_line(error.what()));
  }
  if (start.resume && scan_ && scan_->start.series == start.series && scan_->live) {
    if (scan_->state.stage == ScanStage::ended) {
      return refuse(command.from, "series '" + start.series + "' has ended; begin another series");
    }
    if (!same_geometry(start, scan_->start)) {
      return refuse(command.from,
                    "series '" + start.series + "' is a scan of " + shape_of(scan_->start.plan) + ", " +
                        element_name(scan_->start.type) +
                        "; go on with the same shape, energies, type and mask, or begin another series");
    }
    post({command.from, started_message(true), 0,
          "scan '" + start.series + "' goes on; " + count_text(scan_->state.counts.received) +
              " spectra were there"});
    return;
  }
  const std::string series = start.series, shape = shape_of(start.plan);
  try {
    // Measured before the scan is opened, so that both are not in memory at once.
    LiveScanSource* source = source_.better(start.plan);
    std::optional<double> capacity;
    if (source) {
      capacity = capacity_of(*source, start.plan);
      const std::optional<double> rate = start.rate ? start.rate : start.may_come;
      if (!capacity || (rate && *rate > *capacity)) source = nullptr;  // it cannot keep up
    }
    if (!source) {
      source = &source_;
      capacity = capacity_of(*source, start.plan);
    }
    if (start.rate && capacity && *start.rate > *capacity)
      throw UserError("the scan would bring " + number_text(*start.rate) + " spectra/s, and " +
                      number_text(*capacity) + " spectra/s of " + std::to_string(start.plan.energy.size) +
                      " channels in rows of " + std::to_string(start.plan.width) +
                      " can be scored here; scan slower, send fewer channels, or use a baseline");
    std::unique_ptr<LiveScan> live = source->open(start.plan);
    Scan scan;
    scan.live = std::move(live);
    scan.start = std::move(start);
    const ScanPlan& plan = scan.start.plan;
    const auto pixels = static_cast<size_t>(plan.height * plan.width);
    scan.taken.assign(pixels, false);
    scan.wanted.assign(static_cast<size_t>(plan.height), plan.width);
    scan.complete.assign(static_cast<size_t>(plan.height), NAN);
    for (size_t pixel = 0; pixel < plan.excluded.size(); ++pixel)
      if (plan.excluded[pixel] != 0) --scan.wanted[pixel / static_cast<size_t>(plan.width)];
    ScanState& state = scan.state;
    state.series = scan.start.series;
    state.title = scan.start.title;
    state.height = plan.height;
    state.width = plan.width;
    state.channels = plan.energy.size;
    state.reach = scan.live->reach();
    state.scored_by = scan.live->scored_by();
    state.threshold = NAN;
    state.capacity = capacity;
    if (scan_ && scan_->state.stage == ScanStage::running && scan_->start.series != state.series)
      post({{}, nullptr, 0, "scan '" + scan_->start.series + "' is given up: another one begins"});
    view_.begin(state, plan.excluded);
    scan_ = std::move(scan);
  } catch (const std::exception& error) {
    const bool full = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
    const std::string line = full ? "not enough memory for a scan of " + shape : one_line(error.what());
    return refuse(command.from, line, "scan '" + series + "' was refused: " + line);
  }
  regions_ = ended_ = nullptr;
  std::string log = "scan '" + scan_->start.series + "' begins: " + shape_of(scan_->start.plan) + ", " +
                    element_name(scan_->start.type);
  log += "; scored by " + scan_->state.scored_by;
  if (scan_->state.capacity) log += "; " + number_text(*scan_->state.capacity) + " spectra/s can be scored";
  post({command.from, started_message(false), 0, log});
  post({{}, scan_message(), 0, ""});
}

void ScanWork::run(Block& command) {
  const BlockMessage& block = command.block;
  const auto bytes = static_cast<int64_t>(block.data.bytes.size());
  const auto refuse_block = [&](const std::string& line) {
    json message = error_message(line);
    message["number"] = block.number;
    message["series"] = std::string(block.series);
    post({command.from, std::move(message), bytes, ""});
    command.answered = true;
  };
  if (!scan_ || scan_->start.series != block.series || !scan_->live || scan_->state.stage == ScanStage::ended)
    return refuse_block("no scan '" + one_line(block.series) + "' is running here; start it");
  Scan& scan = *scan_;
  const ScanPlan& plan = scan.start.plan;
  if (block.first + block.count > plan.height * plan.width)
    return refuse_block("block: pixels " + std::to_string(block.first) + " to " +
                        std::to_string(block.first + block.count) + " are beyond the scan of " +
                        shape_of(plan));
  const ScanCounts before = scan.live->counts();
  Rows finals;
  try {
    const std::vector<float> spectra = spectra_of(block, scan.start.type, plan.energy.size);
    finals = scan.live->push(block.first, block.count, spectra);
  } catch (const UserError& error) {
    return refuse_block(error.what());
  }
  const ScanCounts& after = scan.live->counts();
  scan.rate.add(command.arrival, block.count);
  for (int64_t pixel = block.first; pixel < block.first + block.count; ++pixel) {
    const auto place = static_cast<size_t>(pixel);
    if (scan.taken[place] || (!plan.excluded.empty() && plan.excluded[place] != 0)) continue;
    scan.taken[place] = true;
    const size_t row = place / static_cast<size_t>(plan.width);
    if (--scan.wanted[row] == 0) scan.complete[row] = command.arrival;
  }
  scan.unsaid = true;
  post({command.from,
        {{"type", "taken"},
         {"series", scan.start.series},
         {"number", block.number},
         {"received", after.received - before.received},
         {"repeated", after.repeated - before.repeated},
         {"late", after.late - before.late}},
        bytes,
        ""});
  command.answered = true;
  const double now = service_clock();
  refresh_state(now, false);
  tell_rows(finals, true, now);
}

// The threshold is found anew where that is due, or at once.
void ScanWork::refresh_state(double now, bool at_once) {
  Scan& scan = *scan_;
  scan.state.reach = scan.live->reach();
  scan.state.final_rows = scan.live->final_rows();
  scan.state.scored_rows = scan.live->scored_rows();
  scan.state.complete_rows = scan.live->complete_rows();
  scan.state.counts = scan.live->counts();
  scan.state.rate = scan.rate.per_second(now);
  if (scan.state.scored_rows > 0 && (at_once || now >= scan.next_threshold)) {
    scan.state.threshold = scan.live->threshold();
    const double done = service_clock();
    scan.next_threshold = done + std::max(threshold_seconds, share_of_time * (done - now));
  }
  view_.set_state(scan.state);
}

void ScanWork::tell_rows(Rows rows, bool final, double now) {
  if (rows.count() <= 0) return;
  Scan& scan = *scan_;
  for (int64_t y = rows.first; y < rows.last; ++y) {
    if (final) {
      // When the last row that this one waited for was there.
      double known = 0;
      const int64_t last = std::min(y + scan.state.reach + 1, scan.start.plan.height);
      for (int64_t other = y; other < last; ++other)
        if (const double at = scan.complete[static_cast<size_t>(other)]; at > known) known = at;
      known = std::max(known, scan.ended);
      if (known > 0) scan.state.final_delay.add(now - known);
    }
    const double complete = scan.complete[static_cast<size_t>(y)];
    if (y >= scan.told_scored && std::isfinite(complete)) scan.state.provisional_delay.add(now - complete);
  }
  scan.told_scored = std::max(scan.told_scored, rows.last);
  view_.set_rows(rows, scan.live->scores());
  view_.set_state(scan.state);
  const int64_t part = std::max<int64_t>(1, largest_map_part / scan.start.plan.width);
  for (int64_t first = rows.first; first < rows.last; first += part)
    post({{}, scores_message({first, std::min(rows.last, first + part)}, final), 0, ""});
}

// What has happened beside the scan.
void ScanWork::tell_news() {
  const std::vector<std::string> lines = source_.news();
  for (const std::string& line : lines) {
    json notice = {{"type", "notice"}, {"message", line}};
    if (scan_) notice["series"] = scan_->start.series;
    post({{}, std::move(notice), 0, line});
  }
  // How fast it is is measured while there is time: the next scan is not to wait for that.
  to_measure_ = to_measure_ || !lines.empty();
  if (!to_measure_ || !scan_ || scan_->state.stage == ScanStage::running) return;
  to_measure_ = false;
  if (LiveScanSource* better = source_.better(scan_->start.plan)) capacity_of(*better, scan_->start.plan);
}

// The scan is scored by something else than before.
void ScanWork::tell_anew() {
  Scan& scan = *scan_;
  scan.state.scored_by = scan.live->scored_by();
  scan.state.capacity = std::nullopt;  // of what scores now: not known
  view_.begin(scan.state, scan.start.plan.excluded);
  scan.live->score_provisionally();
  refresh_state(service_clock(), true);
  scan.told_scored = std::max(scan.told_scored, scan.state.scored_rows);
  view_.set_rows({0, scan.state.scored_rows}, scan.live->scores());
  regions_ = ended_ = nullptr;
  show_all({});
  tell_details();
  const bool ended = scan.state.stage == ScanStage::ended;
  if (ended) {
    ended_ = ended_message();
    post({{}, ended_, 0, ""});
  }
  post({{},
        nullptr,
        0,
        "scan '" + scan.start.series + "' is scored by " + scan.state.scored_by + " by now" +
            (ended ? ": " + ended_["summary"].get<std::string>() : "")});
}

bool ScanWork::do_spare_work() {
  tell_news();
  if (!scan_ || !scan_->live) return false;
  Scan& scan = *scan_;
  if (scan.live->renew()) {
    tell_anew();
    return true;
  }
  if (scan.state.stage != ScanStage::running) return false;
  if (scan.live->complete_rows() > scan.live->scored_rows()) {
    const Rows rows = scan.live->score_provisionally();
    const double now = service_clock();
    refresh_state(now, false);
    if (rows.count() > 0) {
      scan.unsaid = true;
      tell_rows(rows, false, now);
      return true;
    }
  }
  const double now = service_clock();
  if (scan.unsaid && scan.state.scored_rows > 0 && now >= scan.next_details) {
    scan.unsaid = false;
    refresh_state(now, true);
    tell_details();
    const double done = service_clock();
    scan.next_details = done + std::max(details_seconds, share_of_time * (done - now));
    return true;
  }
  // Nobody sends: that is seen, too.
  if (now >= scan.next_rate) {
    scan.next_rate = now + rate_seconds;
    scan.state.rate = scan.rate.per_second(now);
    view_.set_state(scan.state);
  }
  return false;
}

void ScanWork::tell_details() {
  Scan& scan = *scan_;
  Detection found;
  try {
    found = scan.live->result();
  } catch (const UserError& error) {  // nothing has a score: all of it is excluded or missing, say
    found.threshold = NAN;
    found.doubts = {one_line(error.what())};
  }
  scan.state.threshold = found.threshold;
  scan.state.anomalous = found.anomalous_pixels();
  scan.state.doubts = found.doubts;
  if (found.anomalous_pixels() > 0)
    view_.set_worst(scan.live->worst(most_worst), scan.live->prepared_energy());
  else
    view_.set_worst({}, scan.start.plan.energy);
  view_.set_state(scan.state);
  regions_ = regions_message(found, scan.start.plan.width);
  regions_["series"] = scan.start.series;
  regions_["final"] = scan.state.stage == ScanStage::ended;
  post({{}, regions_, 0, ""});
}

json ScanWork::ended_message() const {
  const Scan& scan = *scan_;
  const ScanState& state = scan.state;
  std::string summary = count_text(state.anomalous) + " of " + count_text(state.counts.received) +
                        " spectra do not fit (score above " + number_text(state.threshold) + ")";
  if (state.counts.missing > 0) summary += "; " + count_text(state.counts.missing) + " never came";
  if (state.counts.late > 0) summary += "; " + count_text(state.counts.late) + " came too late";
  return {
      {"type", "ended"},
      {"series", scan.start.series},
      {"counts", counts_message(state.counts)},
      {"threshold", finite_json(state.threshold)},
      {"anomalous", state.anomalous},
      {"doubts", state.doubts},
      {"delay_ms", {{"provisional", state.provisional_delay.in_ms()}, {"final", state.final_delay.in_ms()}}},
      {"summary", summary}};
}

void ScanWork::run(End& command) {
  if (!scan_ || scan_->start.series != command.end.series || !scan_->live)
    return refuse(command.from, "no scan '" + command.end.series + "' is running here; start it");
  Scan& scan = *scan_;
  if (scan.state.stage != ScanStage::running) return;
  const int64_t told = scan.live->final_rows();
  scan.ended = command.arrival;
  scan.live->finish();
  scan.state.stage = ScanStage::ended;
  const double now = service_clock();
  refresh_state(now, true);
  tell_rows({told, scan.live->final_rows()}, true, now);
  tell_details();
  scan.state.rate = 0;
  view_.set_state(scan.state);
  ended_ = ended_message();
  post({{}, ended_, 0, "scan '" + scan.start.series + "' ended: " + ended_["summary"].get<std::string>()});
}

void ScanWork::run(Show& command) {
  show_all({For::client, command.client});
  post({{For::client, command.client}, nullptr, 0, ""});
}

void ScanWork::show_all(const Party& to) {
  if (!scan_) {
    post({to, {{"type", "scan"}, {"state", "none"}}, 0, ""});
    return;
  }
  post({to, scan_message(), 0, ""});
  if (!scan_->live) return;
  const int64_t finals = scan_->live->final_rows(), scored = scan_->live->scored_rows(),
                part = std::max<int64_t>(1, largest_map_part / scan_->start.plan.width);
  for (int64_t first = 0; first < finals; first += part)
    post({to, scores_message({first, std::min(finals, first + part)}, true), 0, ""});
  for (int64_t first = finals; first < scored; first += part)
    post({to, scores_message({first, std::min(scored, first + part)}, false), 0, ""});
  if (!regions_.is_null()) post({to, regions_, 0, ""});
  if (!ended_.is_null()) post({to, ended_, 0, ""});
}

}  // namespace eelsvae
