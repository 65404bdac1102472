#include "io/serve/serve_job.h"

#include <charconv>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "io/config/config.h"
#include "io/files/message_text.h"
#include "io/model/detection_state_file.h"
#include "io/serve/improving_scans.h"
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

// By what scans are scored, and the rectangles of each that are left out.
struct Scoring {
  std::unique_ptr<LiveScanSource> source;
  std::vector<std::array<int64_t, 4>> exclude = {};
};

Scoring scoring_of(const ServeRequest& request, spdlog::logger& log) {
  if (request.state.empty() == request.baseline.empty())
    throw UserError(
        "by what are scans to be scored? --state FOUND takes what a detection has left in its folder, "
        "--baseline "
        "mean learns from the first rows of each scan; one of them");
  if (!request.state.empty()) {
    if (!request.config.empty() || request.learn_rows || request.train ||
        (!request.settings.empty() && request.model.empty()))
      throw UserError(
          "--state has its configuration and nothing to learn: leave out --config, --set, --learn-rows and "
          "--train");
    auto state = std::make_shared<const DetectionState>(load_detection_state(request.state));
    std::string said;
    std::unique_ptr<LiveScanSource> source =
        scans_by(std::move(state), request.state, request.model, request.settings, &said);
    if (!said.empty()) log.info("{}", said);
    return {std::move(source)};
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
  auto source = std::make_unique<LearningScans>(std::move(learning));
  if (!request.train) {
    if (request.train_rows || !request.output.empty())
      throw UserError("--train-rows and --output are for the network of --train MINUTES; give that, too");
    return {std::move(source), config.data.exclude};
  }
  if (!request.config.empty())
    throw UserError(
        "--config: belongs to the baseline; for --train the rest is chosen for the scan, but for --set");
  NetworkTrainingOptions training;
  training.minutes = *request.train;
  if (request.train_rows) {
    if (*request.train_rows < 1 || *request.train_rows > most_learn_rows)
      throw UserError("--train-rows: not within 1 and " + std::to_string(most_learn_rows));
    training.rows = static_cast<int64_t>(*request.train_rows);
  }
  if (!request.output.empty()) training.folder = request.output;
  training.settings = request.settings;
  std::vector<std::string> device;
  for (const std::string& setting : request.settings)
    if (setting.starts_with("device=") || setting.starts_with("precision=")) device.push_back(setting);
  return {std::make_unique<ImprovingScans>(std::move(source), std::move(training), std::move(device)),
          config.data.exclude};
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
  Scoring scoring = scoring_of(request, *log);
  options.exclude = std::move(scoring.exclude);
  serve(
      options, *scoring.source, [&](const std::string& line) { log->info("{}", line); }, interruption());
  return 0;
}

}  // namespace eelsvae
