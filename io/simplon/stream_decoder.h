#pragma once

#include <cstddef>
#include <span>

#include "io/simplon/frame_sum.h"
#include "io/simplon/series.h"
#include "io/simplon/stream_v1.h"
#include "io/simplon/stream_v2.h"

namespace eelsvae {

// Understands the stream of a DECTRIS detector (SIMPLON API), without any socket: version 1, messages of
// several parts, JSON and binary (SIMPLON API manual, "Stream"), and version 2, CBOR
// (https://github.com/dectris/documentation, stream_v2). Which it is shows at the first byte of a message.
// What a message says is handed on while it is read; where images are compressed, they are unpacked.
//
// Memory: an image, where it is one LZ4 block, else a block of it; the descriptions of a series.
class StreamDecoder {
 public:
  explicit StreamDecoder(const FrameOptions& options) : version1_(options), version2_(options) {}

  // Takes a part of a message of ZeroMQ; `last`: no other follows. BadMessage where it is not understood:
  // what it had said until then was handed on; the parts behind it are passed over until the next message.
  // Exceptions of `events` come out of it, too.
  void take(std::span<const std::byte> part, bool last, SeriesEvents& events);

 private:
  enum class Version { unknown, one, two, passed_over };
  static Version version_of(std::span<const std::byte> part);

  Version version_ = Version::unknown;  // of the message whose parts are taken
  StreamV1 version1_;
  StreamV2 version2_;
};

}  // namespace eelsvae
