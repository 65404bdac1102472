#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "io/simplon/scan_of_series.h"
#include "io/simplon/series.h"

namespace eelsvae {

struct ReceiverOptions {
  std::string endpoint;  // of the detector, "tcp://HOST:31001" (version 2) or "tcp://HOST:9999" (version 1)
  FrameOptions frames;
  ScanOptions scan;
  // Where the next receiver finds the stream as it came, "tcp://127.0.0.1:9998"; "": nowhere. An address that
  // others reach is theirs to read: the stream is not encrypted.
  std::string forward_endpoint;
  // Messages that wait here while spectra are worked on, and for the next receiver, at most; fewer where so
  // many images of the series would take more memory, in bytes, each.
  int queue = 1000, forward_queue = 1000;
  int64_t queue_memory = int64_t{1} << 30;
  std::chrono::milliseconds longest_wait{10};  // of a spectrum for a block to be full
};

// What came, of all series.
struct ReceiverCounts {
  int64_t messages = 0, bytes = 0;
  int64_t bad = 0;  // that were not understood
  int64_t forwarded = 0, not_forwarded = 0;
};

// Receives the stream of a DECTRIS detector (ZeroMQ, PULL). The detector deals its messages out in turn to
// all who are connected, so that a second receiver takes every second image away: this has to be the only
// one, and others receive from `forward_endpoint` what it received (PUSH, which others connect to as they
// would to the detector). Where nobody takes them fast enough, messages are not forwarded, and counted; a
// detector never waits for them.
//
// Whether the detector is there does not matter at the beginning; a connection that breaks comes again by
// itself, and what has been lost meanwhile is counted.
//
// One thread at a time. Spectra are handed on in the thread that receives: a sink that takes long lets
// messages queue up, then the detector drops them.
class SimplonReceiver {
 public:
  // UserError where an address cannot be used.
  SimplonReceiver(const ReceiverOptions& options, ScanSink& sink);
  ~SimplonReceiver();

  // Takes what has come or comes within the timeout, and returns when it is over, a signal came or so many
  // messages were taken. Returns how many. Exceptions of the sink come out of it; the message is then taken.
  int64_t receive(std::chrono::milliseconds timeout, int64_t most_messages = 1000);
  // Hands on what waits and ends the scan that is running.
  void stop();

  const ReceiverCounts& counts() const;
  // Of the scan that is running, or of the last one.
  ScanFrames frames() const;
  bool scan_running() const;
  // As far as is known now, with a detector; changes are also reported to the sink.
  bool connected() const;
  // Where it forwards to; the port where the options have "*".
  std::string forward_endpoint() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace eelsvae
