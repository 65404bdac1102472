#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "engine/stop_token.h"
#include "io/serve/live_scan.h"
#include "io/serve/live_view.h"
#include "io/serve/messages.h"

namespace eelsvae {

// The thread that scores. Whoever receives spectra leaves them here and never waits; what came of them is
// fetched as events. One scan at a time: its state stays when it has ended or its sender is gone, until
// another begins.
class ScanWork {
 public:
  // Whom something is for, and from whom it comes: everybody who watches, a client, a client that starts a
  // scan, or what the detector has sent, of which each kind is answered by itself.
  enum class For { everyone, client, client_start, detector_start, detector_block, detector_end };
  struct Party {
    For kind = For::everyone;
    std::string client;  // its name
    bool operator==(const Party&) const = default;
  };
  // Something to tell. A null message: the client that asked has been shown all, or there is only a line for
  // the log.
  struct Event {
    Party to;
    nlohmann::json message = nullptr;
    int64_t bytes = 0;  // of the block that is done with
    std::string log;    // a line for the log; empty: none
  };

  // wake: called from the thread whenever there are events. The source and the view outlive this.
  // exclude: rectangles [y0, x0, y1, x1) of pixels of each scan that are left out, beside those that its plan
  // leaves out. most_measured: seconds that the measurement of how fast scans are scored may take, apart from
  // what is under way then.
  ScanWork(LiveScanSource& source, LiveView& view, std::function<void()> wake,
           std::vector<std::array<int64_t, 4>> exclude = {}, double most_measured = 10);
  ~ScanWork();
  ScanWork(const ScanWork&) = delete;
  ScanWork& operator=(const ScanWork&) = delete;

  // Measures how fast such scans are scored, before one begins, and has it logged.
  void prepare(ScanPlan plan);
  void start(Party from, StartMessage start);
  // owner: of the memory in which the block's data lie.
  void take(Party from, std::shared_ptr<const void> owner, BlockMessage block, double arrival);
  void end(Party from, EndMessage end, double arrival);
  // Tells a client all that is known of the scan.
  void show(std::string client);

  std::vector<Event> events();

 private:
  struct Prepare {
    ScanPlan plan;
  };
  struct Start {
    Party from;
    StartMessage start;
  };
  struct Block {
    Party from;
    std::shared_ptr<const void> owner;
    BlockMessage block;
    double arrival;
    bool answered = false;
  };
  struct End {
    Party from;
    EndMessage end;
    double arrival;
  };
  struct Show {
    std::string client;
  };
  using Command = std::variant<Prepare, Start, Block, End, Show>;

  // What is known of the present scan.
  struct Scan {
    StartMessage start;
    std::unique_ptr<LiveScan> live;
    ScanState state;
    RecentRate rate;
    std::vector<bool> taken;       // (y, x)
    std::vector<int64_t> wanted;   // of each row: spectra that have not come
    std::vector<double> complete;  // of each row: when its last spectrum came; NaN: not yet
    double ended = 0;              // when its end was told
    int64_t told_scored = 0;       // rows whose scores, provisional at least, were told
    bool unsaid = false;           // whether scores have come since regions and worst spectra were told
    double next_threshold = 0, next_details = 0, next_rate = 0;  // not before
  };

  void put(Command command);
  void work();
  bool do_spare_work();  // what is done while no blocks wait; false: there is none
  void post(Event event);
  void refuse(const Party& from, const std::string& line, const std::string& log = "");
  void answer_failure(Command& command, const std::string& why);
  void run(Prepare& command);
  void run(Start& command);
  void run(Block& command);
  void run(End& command);
  void run(Show& command);
  void show_all(const Party& to);
  std::optional<double> capacity_of(LiveScanSource& source, const ScanPlan& plan);
  void tell_news();
  void tell_anew();
  void tell_rows(Rows rows, bool final, double now);
  void refresh_state(double now, bool at_once);
  void tell_details();
  void fail(const std::string& why);
  nlohmann::json scan_message() const;
  nlohmann::json scores_message(Rows rows, bool final) const;
  nlohmann::json started_message(bool resumed) const;
  nlohmann::json ended_message() const;

  LiveScanSource& source_;
  LiveView& view_;
  std::function<void()> wake_;
  const std::vector<std::array<int64_t, 4>> exclude_;
  const double most_measured_;
  std::optional<Scan> scan_;
  nlohmann::json regions_, ended_;  // the last ones
  bool to_measure_ = false;         // how fast what is better now is
  // That were measured, by what scores and geometry; none: it could not be.
  std::map<std::pair<std::string, std::vector<double>>, std::optional<double>> capacities_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Command> commands_;
  std::vector<Event> events_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// Seconds of the clock by which arrivals and delays are measured.
double service_clock();

}  // namespace eelsvae
