#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "io/serve/messages.h"
#include "io/simplon/receiver.h"

namespace eelsvae {

// Receives the scans of a DECTRIS detector in a thread of its own; who scores fetches what came as events and
// says when it is done with it. The thread never waits for that: so much memory the spectra that are not
// scored yet may take, and what comes beyond is left out of the scan, counted and said. It is forwarded to
// the next receiver all the same.
class DetectorFeed {
 public:
  struct Begin {
    StartMessage start;  // may_come: by the detector's frame time
  };
  struct Spectra {
    std::shared_ptr<const void> owner;  // of the block's series and data
    BlockMessage block;                 // float32
    double arrival = 0;                 // service_clock()
  };
  struct End {
    EndMessage end;
    double arrival = 0;
  };
  struct Link {
    bool connected = false;
  };
  struct Said {
    std::string line;  // for the log
  };
  struct Failed {
    std::string why;  // nothing will be received any more
  };
  using Event = std::variant<Begin, Spectra, End, Link, Said, Failed>;

  // most_waiting: bytes of spectra. wake: called from the thread whenever there are events. UserError where
  // an address or a scan cannot be.
  DetectorFeed(const ReceiverOptions& options, int64_t most_waiting, std::function<void()> wake);
  ~DetectorFeed();
  DetectorFeed(const DetectorFeed&) = delete;
  DetectorFeed& operator=(const DetectorFeed&) = delete;

  std::vector<Event> events();
  // Begin counts as scan_bytes, Spectra as block_bytes and their data.
  void done_with(int64_t bytes) { waiting_ -= bytes; }
  static constexpr int64_t scan_bytes = 4096, block_bytes = 1024;

  // Where it forwards to; "": nowhere.
  const std::string& forwards() const { return forwards_; }

  struct State {
    bool connected = false;
    ReceiverCounts counts;
  };
  State state() const;

 private:
  class Sink;
  void post(Event event);
  bool make_room(int64_t bytes);
  void tell_link(bool connected);
  void receive();

  const int64_t most_waiting_;
  const std::function<void()> wake_;
  std::unique_ptr<Sink> sink_;
  SimplonReceiver receiver_;
  const std::string forwards_;
  std::atomic<int64_t> waiting_ = 0;  // bytes
  mutable std::mutex mutex_;
  std::vector<Event> events_;
  State state_;  // as it was told, and counted then
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace eelsvae
