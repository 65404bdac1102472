#include "io/serve/serve_job.h"

#include <charconv>
#include <memory>
#include <string>
#include <string_view>

#include "io/config/config.h"
#include "io/config/detection_settings.h"
#include "io/files/message_text.h"
#include "io/model/checkpoint.h"
#include "io/model/detection_state_file.h"
#include "io/run/training_run.h"
#include "io/serve/row_scans.h"
#include "io/serve/service.h"
#include "io/serve/service_keys.h"
#include "io/terminal/program.h"
#include "io/terminal/run_log.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr uint64_t default_learn_rows = 20;
constexpr uint64_t most_window = 4096, most_queue = 65536;  // MiB
constexpr int64_t most_learn_rows = 1 << 20;

std::unique_ptr<LiveScanSource> source_by_model(const ServeRequest& request,
                                                std::shared_ptr<const DetectionState> state,
                                                spdlog::logger& log) {
  for (const std::string& setting : request.settings) {
    const std::string key = setting.substr(0, setting.find('='));
    if (key != "device" && key != "precision" && key != "detection.batch_size")
      throw UserError("--set " + key +
                      ": belongs to the state; beside --model may be set device, precision and "
                      "detection.batch_size");
  }
  SafetensorsFile file(model_file(request.model));
  Config config = read_checkpoint_info(file).config;
  apply_to_detection(request.settings, config, "--set");
  std::string fallback;
  BackendOffer offer = find_backend(config.device, config.precision, "auto", &fallback);
  if (!fallback.empty()) log.info("{}", fallback);
  return std::make_unique<ScansByModel>(std::move(file), config, std::move(offer), std::move(state),
                                        request.model + " and " + request.state);
}

std::unique_ptr<LiveScanSource> source_of(const ServeRequest& request, spdlog::logger& log) {
  if (request.state.empty() == request.baseline.empty())
    throw UserError(
        "by what are scans to be scored? --state FOUND takes what a detection has left in its folder, "
        "--baseline "
        "mean learns from the first rows of each scan; one of them");
  if (!request.state.empty()) {
    if (!request.config.empty() || request.learn_rows || (!request.settings.empty() && request.model.empty()))
      throw UserError(
          "--state has its configuration and nothing to learn: leave out --config, --set and --learn-rows");
    auto state = std::make_shared<const DetectionState>(load_detection_state(request.state));
    if (!request.model.empty()) return source_by_model(request, std::move(state), log);
    return std::make_unique<ScansByState>(std::move(state), request.state);
  }
  if (!request.model.empty())
    throw UserError(
        "--model needs --state FOUND, too: what eelsvae-detect --model has measured and left in its folder");
  const Config config = request.config.empty() ? parse_config("{}", "--set", request.settings)
                                               : read_config(request.config, request.settings);
  if (config.data.exclude_path)
    throw UserError(
        "data.exclude_path: is the mask of one image; leave rectangles of every scan out with data.exclude, "
        "or "
        "let whoever sends a scan send its mask");
  LearnFromRows learning;
  learning.baseline = parse_baseline(request.baseline);
  learning.rows = static_cast<int64_t>(request.learn_rows.value_or(default_learn_rows));
  if (learning.rows < 1 || learning.rows > most_learn_rows)
    throw UserError("--learn-rows: not within 1 and " + std::to_string(most_learn_rows));
  learning.preprocess = config.preprocess;
  learning.detection = config.detection;
  learning.energy_range = config.data.energy_range;
  return std::make_unique<LearningScans>(std::move(learning), config.data.exclude);
}

// Absent where it is none.
std::optional<int64_t> whole_number(std::string_view digits) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<ReceiverOptions> detector_of(const ServeRequest& request) {
  if (request.simplon.empty()) {
    if (!request.scan.empty() || request.energy_offset || request.dispersion || !request.region.empty() ||
        !request.channel.empty() || !request.forward.empty() || request.queue)
      throw UserError(
          "--scan, --energy-offset, --dispersion, --region, --channel, --forward and --queue are for "
          "the detector of --simplon tcp://HOST:PORT; give that, too");
    return std::nullopt;
  }
  ReceiverOptions detector;
  detector.endpoint = request.simplon;
  detector.frames.region = parse_region(request.region);
  detector.frames.channel = request.channel;
  if (!request.scan.empty()) detector.scan.shape = parse_scan_shape(request.scan);
  detector.scan.energy_offset = request.energy_offset;
  detector.scan.dispersion = request.dispersion;
  detector.forward_endpoint = request.forward;
  return detector;
}

}  // namespace

DetectorRegion parse_region(const std::string& text) {
  DetectorRegion region;
  const auto fail = [&] {
    throw UserError("--region: '" + one_line(text) +
                    "' is not FIRST:LAST of rows, or these and of columns; --region 100:150,0:1028, say");
  };
  const auto number = [&](std::string_view digits) -> std::optional<int64_t> {
    if (digits.empty()) return std::nullopt;
    const std::optional<int64_t> value = whole_number(digits);
    if (!value) fail();
    return value;
  };
  const auto range = [&](std::string_view part, int64_t& first, std::optional<int64_t>& last) {
    const size_t colon = part.find(':');
    if (colon == std::string_view::npos) fail();
    first = number(part.substr(0, colon)).value_or(0);
    last = number(part.substr(colon + 1));
    if (last && *last <= first) fail();
  };
  if (text.empty()) return region;
  const std::string_view both = text;
  const size_t comma = both.find(',');
  range(both.substr(0, comma), region.first_row, region.last_row);
  if (comma != std::string_view::npos) range(both.substr(comma + 1), region.first_column, region.last_column);
  return region;
}

std::array<int64_t, 2> parse_scan_shape(const std::string& text) {
  const std::string_view both = text;
  const size_t comma = both.find(',');
  std::optional<int64_t> height, width;
  if (comma != std::string_view::npos) {
    height = whole_number(both.substr(0, comma));
    width = whole_number(both.substr(comma + 1));
  }
  if (!height || !width)
    throw UserError("--scan: '" + one_line(text) + "' is not HEIGHT,WIDTH in pixels; --scan 210,210, say");
  return {*height, *width};
}

int run_serve(const ServeRequest& request) {
  if (!request.make_keys.empty()) {
    make_service_keys(request.make_keys);
    make_console_log()->info("wrote {} for the service (--keys) and {}.client for its clients",
                             request.make_keys, request.make_keys);
    return 0;
  }
  ServiceOptions options;
  options.version = EELSVAE_VERSION;
  options.address = request.listen;
  if (!request.keys.empty()) options.keys = load_service_keys(request.keys);
  if (request.page) {
    if (*request.page > 65535) throw UserError("--page: not a port of 0 to 65535");
    options.page_port = static_cast<int64_t>(*request.page);
  }
  if (request.window < 1 || request.window > most_window)
    throw UserError("--window: not within 1 and 4096 MiB");
  options.window = static_cast<int64_t>(request.window << 20);
  options.detector = detector_of(request);
  const uint64_t queue = request.queue.value_or(options.detector_queue >> 20);
  if (queue < 1 || queue > most_queue) throw UserError("--queue: not within 1 and 65536 MiB");
  options.detector_queue = static_cast<int64_t>(queue << 20);
  const auto log = make_console_log();
  const std::unique_ptr<LiveScanSource> source = source_of(request, *log);
  serve(
      options, *source, [&](const std::string& line) { log->info("{}", line); }, interruption());
  return 0;
}

}  // namespace eelsvae
