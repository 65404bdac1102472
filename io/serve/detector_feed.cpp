#include "io/serve/detector_feed.h"

#include <exception>
#include <new>
#include <utility>

#include "io/files/number_text.h"
#include "io/serve/scan_work.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

struct OwnedBlock {
  std::string series;
  std::vector<float> spectra;
};

}  // namespace

// Called by the receiver, in its thread.
class DetectorFeed::Sink final : public ScanSink {
 public:
  explicit Sink(DetectorFeed& feed) : feed_(feed) {}

  void scan_started(const DetectorScan& scan) override {
    // A detector that was switched off begins anew with the same numbers.
    repeated_ = scan.series == number_of_series_ ? repeated_ + 1 : 1;
    number_of_series_ = scan.series;
    series_ = "series " + std::to_string(scan.series) +
              (repeated_ > 1 ? " (" + std::to_string(repeated_) + ")" : "");
    left_out_ = number_ = 0;
    taken_ = false;
    Begin begin;
    begin.start.series = series_;
    begin.start.title = "DECTRIS detector";
    begin.start.plan = {scan.height, scan.width, scan.energy};
    if (scan.frame_time && *scan.frame_time > 0) begin.start.may_come = 1 / *scan.frame_time;
    try {
      if (scan.energy.units != "eV")
        throw UserError(
            "its energies are not known; give --energy-offset and --dispersion, or energy_offset and "
            "dispersion in the detector's header_appendix");
      check_scan_size(scan.height, scan.width, scan.energy.size);
      if (!feed_.make_room(scan_bytes)) throw UserError("too many spectra before it wait to be scored");
    } catch (const UserError& error) {
      return feed_.post(Said{series_ + " is not scored: " + error.what()});
    }
    taken_ = true;
    feed_.tell_link(true);  // before the scan, so that its sender is not taken for lost
    feed_.post(std::move(begin));
  }

  void spectra(int64_t first, int64_t count, std::span<const float> spectra) override {
    if (!taken_) return;
    const auto bytes = static_cast<int64_t>(spectra.size_bytes()) + block_bytes;
    const auto block = feed_.make_room(bytes) ? copy_of(spectra) : nullptr;
    if (!block) {
      if (left_out_ == 0)
        feed_.post(Said{series_ + ": scoring is too slow, and no more spectra can wait for it: some are not "
                                  "scored"});
      left_out_ += count;
      return;
    }
    Spectra event;
    event.block.series = block->series;
    event.block.number = number_++;
    event.block.first = first;
    event.block.count = count;
    event.block.data.bytes = std::as_bytes(std::span(block->spectra));
    event.owner = block;
    event.arrival = service_clock();
    feed_.post(std::move(event));
  }

  void scan_ended(const ScanFrames& frames, bool ended) override {
    std::string line =
        series_ + (ended ? " ended: " : " was broken off: ") + count_text(frames.received) + " frames came";
    if (left_out_ > 0) line += ", " + count_text(left_out_) + " of them were not scored: scoring is too slow";
    feed_.post(Said{std::move(line)});
    if (taken_) feed_.post(End{{series_}, service_clock()});
    taken_ = false;
  }

  void report(const std::string& line) override { feed_.post(Said{line}); }

 private:
  std::shared_ptr<const OwnedBlock> copy_of(std::span<const float> spectra) {
    try {
      return std::make_shared<const OwnedBlock>(
          OwnedBlock{series_, std::vector<float>(spectra.begin(), spectra.end())});
    } catch (const std::bad_alloc&) {
      feed_.done_with(static_cast<int64_t>(spectra.size_bytes()) + block_bytes);
      return nullptr;
    }
  }

  DetectorFeed& feed_;
  std::optional<uint64_t> number_of_series_;
  int64_t repeated_ = 1;
  std::string series_;
  bool taken_ = false;
  int64_t number_ = 0;    // of the next block
  int64_t left_out_ = 0;  // spectra
};

DetectorFeed::DetectorFeed(const ReceiverOptions& options, int64_t most_waiting, std::function<void()> wake)
    : most_waiting_(most_waiting),
      wake_(std::move(wake)),
      sink_(std::make_unique<Sink>(*this)),
      receiver_(options, *sink_),
      forwards_(receiver_.forward_endpoint()),
      thread_([this] { receive(); }) {}

DetectorFeed::~DetectorFeed() {
  stop_ = true;
  thread_.join();
}

std::vector<DetectorFeed::Event> DetectorFeed::events() {
  const std::lock_guard lock(mutex_);
  return std::exchange(events_, {});
}

void DetectorFeed::post(Event event) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  wake_();
}

// Only the thread that receives takes room.
bool DetectorFeed::make_room(int64_t bytes) {
  if (waiting_ + bytes > most_waiting_) return false;
  waiting_ += bytes;
  return true;
}

DetectorFeed::State DetectorFeed::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

void DetectorFeed::tell_link(bool connected) {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(state_.connected, connected) == connected) return;
  }
  post(Link{connected});
}

void DetectorFeed::receive() {
  try {
    while (!stop_) {
      const int64_t taken = receiver_.receive(std::chrono::milliseconds(50));
      // While messages come, the receiver may not have looked yet.
      if (taken == 0 || receiver_.connected()) tell_link(receiver_.connected());
      const std::lock_guard lock(mutex_);
      state_.counts = receiver_.counts();
    }
    receiver_.stop();
  } catch (const std::bad_alloc&) {
    post(Failed{"not enough memory for the detector's frames"});
  } catch (const std::exception& error) {
    post(Failed{error.what()});
  }
}

}  // namespace eelsvae
