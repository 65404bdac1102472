// The stream of a detector: a byte of options, then parts of messages, each behind a byte, whose lowest bit
// says that it is the last one of its message, and four of its length.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "io/simplon/scan_of_series.h"
#include "io/simplon/stream_decoder.h"

using namespace eelsvae;

namespace {

void must(bool condition) {
  if (!condition) std::abort();
}

// Scans begin and end in turn, and each pixel comes once.
class Checked final : public ScanSink {
 public:
  void scan_started(const DetectorScan& scan) override {
    must(!running_ && scan.height > 0 && scan.width > 0 && scan.energy.size > 0 && scan.energy.scale > 0);
    running_ = true;
    pixels_ = scan.height * scan.width, channels_ = scan.energy.size, received_ = 0;
  }
  void spectra(int64_t first, int64_t count, std::span<const float> spectra) override {
    must(running_ && first >= 0 && count > 0 && first + count <= pixels_);
    must(static_cast<int64_t>(spectra.size()) == count * channels_);
    for (const float value : spectra) must(std::isfinite(value) && value >= 0);
    received_ += count;
  }
  void scan_ended(const ScanFrames& frames, bool) override {
    must(running_ && frames.received == received_ && frames.lost >= 0 && frames.not_sent >= 0);
    must(frames.received + frames.lost + frames.not_sent == pixels_);
    running_ = false;
  }
  void report(const std::string& line) override {
    must(!line.empty() && line.find('\n') == std::string::npos);
  }

 private:
  bool running_ = false;
  int64_t pixels_ = 0, channels_ = 0, received_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t choices = *data;
  FrameOptions frames;
  if (choices & 1) frames.region = {1, 3, 2, std::nullopt};
  if (choices & 2) frames.channel = "b";
  ScanOptions options;
  if (choices & 4) options.shape = {3, 4};
  if (choices & 8) options.dispersion = 0.5;
  options.block = 1 + (choices >> 4);

  Checked sink;
  ScanOfSeries scan(options, frames.region, sink);
  StreamDecoder decoder(frames);
  std::span<const std::byte> rest = std::as_bytes(std::span(data + 1, size - 1));
  while (rest.size() >= 5) {
    const bool last = (rest[0] & std::byte{1}) != std::byte{0};
    uint32_t length = 0;
    std::memcpy(&length, &rest[1], sizeof length);
    rest = rest.subspan(5);
    // Beyond its end a sanitizer sees every access.
    const std::span<const std::byte> taken = rest.first(std::min<size_t>(length, rest.size()));
    const std::vector<std::byte> part(taken.begin(), taken.end());
    rest = rest.subspan(part.size());
    try {
      decoder.take(part, last, scan);
    } catch (const BadMessage& error) {
      scan.bad_message(error.what());
    }
  }
  scan.stop();
  return 0;
}
