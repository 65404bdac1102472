#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>

#include "io/simplon/frame_sum.h"

namespace eelsvae {

// How images become spectra.
struct FrameOptions {
  DetectorRegion region;
  std::string channel;  // of a detector with several thresholds (version 2): its name; "": the first
};

// The largest part of a message that is taken, 256 MiB, and the largest that describes something, 256 KiB.
// Tables for all pixels are passed over and may be larger.
constexpr size_t most_message_bytes = size_t{1} << 28, most_description_bytes = size_t{1} << 18;
// So many images a series may have.
constexpr int64_t most_images = int64_t{1} << 53;

// What a message of a DECTRIS detector says.

// A series of images begins (the detector was armed).
struct SeriesStart {
  uint64_t series = 0;
  std::optional<int64_t> images;         // that are to come
  std::optional<int64_t> rows, columns;  // of an image
  std::optional<double> frame_time;      // s, from one image to the next
  nlohmann::json user_data;              // `header_appendix` of the stream's configuration; null: none
};

struct SeriesImage {
  uint64_t series = 0;
  int64_t index = 0;                // from 0 on
  int64_t rows = 0, columns = 0;    // of the image
  std::span<const float> spectrum;  // lasts as long as the call
  int64_t drawn_columns = 0;        // without data: drawn between their neighbours (frame_sum.h)
};

class SeriesEvents {
 public:
  virtual ~SeriesEvents() = default;
  virtual void start(const SeriesStart& series) = 0;
  virtual void image(const SeriesImage& image) = 0;
  virtual void end(uint64_t series) = 0;
};

}  // namespace eelsvae
