#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "io/simplon/frame_sum.h"
#include "io/simplon/series.h"

namespace eelsvae {

class CborFields;

// Version 2 of the stream of a DECTRIS detector: each message is a CBOR map, "start", "image" or "end"
// (https://github.com/dectris/documentation, stream_v2).
class StreamV2 {
 public:
  explicit StreamV2(const FrameOptions& options) : channel_(options.channel), sum_(options.region) {}

  // A message. BadMessage where it is not understood.
  void take(std::span<const std::byte> message, SeriesEvents& events);

 private:
  void start(const CborFields& fields, SeriesEvents& events);
  void image(const CborFields& fields, SeriesEvents& events);

  std::string channel_;         // that is asked for; "": the first
  std::string series_channel_;  // the first of the series
  FrameSum sum_;
};

}  // namespace eelsvae
