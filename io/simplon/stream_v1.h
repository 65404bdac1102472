#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>

#include "io/simplon/frame_sum.h"
#include "io/simplon/series.h"

namespace eelsvae {

// Version 1 of the stream of a DECTRIS detector: messages of several parts, JSON with a key `htype`, each
// followed by a part of bytes where it describes some:
//
//   dheader, configuration (without htype), tables and their bytes, header_appendix
//   dimage, dimage_d, bytes, dconfig, image_appendix
//   dseries_end
//
// Simulators send the configuration as a message of its own, or several of these in one; both are taken.
class StreamV1 {
 public:
  explicit StreamV1(const FrameOptions& options) : sum_(options.region) {}

  // A part of a message. BadMessage where it is not understood.
  void take(std::span<const std::byte> part, bool last, SeriesEvents& events);
  // Those behind it will not come.
  void forget_message();

 private:
  enum class Next { anything, table, image_description, image };

  void take_description(std::span<const std::byte> part, SeriesEvents& events);
  void take_configuration(const nlohmann::json& configuration);
  void take_appendix(std::span<const std::byte> part);
  void describe_image(const nlohmann::json& description);
  void send_start(SeriesEvents& events);

  Next next_ = Next::anything;
  bool in_header_ = false, in_image_ = false;  // of this message: an appendix may follow
  bool wants_configuration_ = false;           // may come in the next message
  std::optional<SeriesStart> start_;           // of which not all has come
  SeriesImage image_;
  EncodedFrame frame_;
  FrameSum sum_;
};

}  // namespace eelsvae
