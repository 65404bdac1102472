#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/stop_token.h"
#include "io/serve/live_scan.h"
#include "io/serve/service_keys.h"
#include "io/simplon/receiver.h"

namespace eelsvae {

struct ServiceOptions {
  std::string address = "tcp://127.0.0.1:5725";  // port *: any that is free
  std::optional<ServiceKeys> keys;               // asked of every client
  std::optional<int64_t> page_port;              // of the page, on 127.0.0.1; 0: any that is free
  std::vector<std::array<int64_t, 4>> exclude;   // rectangles [y0, x0, y1, x1) of each scan, left out
  int64_t window = int64_t{32} << 20;            // bytes that a sender may have outstanding
  std::optional<ReceiverOptions> detector;       // whose scans are scored, too
  int64_t detector_queue = int64_t{512} << 20;   // bytes of its spectra that may wait to be scored
  std::string version;                           // for people
};

// Whether an address can only be reached from this machine: 127.0.0.0/8, [::1], localhost, ipc://. UserError
// where it is no address to listen at.
bool is_local_address(const std::string& address);

// Scores scans that clients send, by the protocol of messages.h, or a detector, until it is asked to stop: it
// then tells the clients. One scan at a time, whoever sends it. `log` gets a line for what an operator wants
// to know. UserError: the address is not local and there are no keys; it cannot be listened at; the
// detector's options cannot be; its stream cannot be received any more.
void serve(const ServiceOptions& options, LiveScanSource& source,
           const std::function<void(const std::string& line)>& log, const StopToken& stop);

}  // namespace eelsvae
