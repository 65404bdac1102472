// Receives scans from a DECTRIS detector or a simulator of one and writes down what came; for simulators.py.
//
//   simplon_receive ENDPOINT FOLDER SCANS SECONDS [key=value ...]
//
// Keys: height, width, offset, dispersion, first_row, last_row, first_column, last_column, block, forward,
// channel. Each line of output is JSON: {"started": ...}, {"first": ...} for a scan's first spectra,
// {"ended": ...} or {"report": ...}, at last {"counts": ...}. The spectra of a scan are FOLDER/<number>.f32,
// (height, width, channels), NaN where none came. Ends after so many scans, or when nothing came for so many
// seconds: with status 1.
#include <chrono>
#include <cmath>
#include <fstream>
#include <iostream>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "io/simplon/receiver.h"

namespace eelsvae {
namespace {

using nlohmann::json;

void print(const json& line) {
  std::cout << line.dump() << std::endl;
}

class Scans final : public ScanSink {
 public:
  explicit Scans(std::string folder) : folder_(std::move(folder)) {}

  void scan_started(const DetectorScan& scan) override {
    channels_ = scan.energy.size;
    came_ = false;
    spectra_.assign(static_cast<size_t>(scan.height * scan.width * channels_),
                    std::numeric_limits<float>::quiet_NaN());
    print({{"started",
            {{"series", scan.series},
             {"height", scan.height},
             {"width", scan.width},
             {"channels", channels_},
             {"offset", scan.energy.offset},
             {"scale", scan.energy.scale},
             {"units", scan.energy.units},
             {"images", scan.images ? json(*scan.images) : json()},
             {"frame_time", scan.frame_time ? json(*scan.frame_time) : json()},
             {"joined_late", scan.joined_late}}}});
  }
  void spectra(int64_t first, int64_t count, std::span<const float> spectra) override {
    expect(static_cast<int64_t>(spectra.size()) == count * channels_, "spectra of all channels");
    std::ranges::copy(spectra, spectra_.begin() + first * channels_);
    if (!std::exchange(came_, true)) print({{"first", first}});
  }
  void scan_ended(const ScanFrames& frames, bool ended) override {
    std::ofstream(folder_ + "/" + std::to_string(done_++) + ".f32", std::ios::binary)
        .write(reinterpret_cast<const char*>(spectra_.data()),
               static_cast<std::streamsize>(spectra_.size() * sizeof(float)));
    print({{"ended",
            {{"by_detector", ended},
             {"received", frames.received},
             {"repeated", frames.repeated},
             {"out_of_order", frames.out_of_order},
             {"beyond_scan", frames.beyond_scan},
             {"lost", frames.lost},
             {"not_sent", frames.not_sent},
             {"bad_messages", frames.bad_messages},
             {"drawn_columns", frames.drawn_columns}}}});
  }
  void report(const std::string& line) override { print({{"report", line}}); }

  int done() const { return done_; }

 private:
  std::string folder_;
  int64_t channels_ = 0;
  bool came_ = false;  // spectra of the scan
  int done_ = 0;
  std::vector<float> spectra_;
};

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() < 4)
    throw UserError("usage: simplon_receive ENDPOINT FOLDER SCANS SECONDS [key=value ...]");
  std::map<std::string, std::string> keys;
  for (size_t i = 4; i < arguments.size(); ++i) {
    const size_t equal = arguments[i].find('=');
    keys[arguments[i].substr(0, equal)] = arguments[i].substr(equal + 1);
  }
  const auto number = [&](const char* key) -> std::optional<int64_t> {
    return keys.contains(key) ? std::optional(std::stoll(keys[key])) : std::nullopt;
  };
  const auto energy = [&](const char* key) -> std::optional<double> {
    return keys.contains(key) ? std::optional(std::stod(keys[key])) : std::nullopt;
  };
  ReceiverOptions options;
  options.endpoint = arguments[0];
  options.frames.region = {number("first_row").value_or(0), number("last_row"),
                           number("first_column").value_or(0), number("last_column")};
  options.frames.channel = keys["channel"];
  if (keys.contains("height")) options.scan.shape = {number("height").value(), number("width").value()};
  options.scan.energy_offset = energy("offset");
  options.scan.dispersion = energy("dispersion");
  options.scan.block = number("block").value_or(options.scan.block);
  options.forward_endpoint = keys["forward"];

  Scans scans(arguments[1]);
  SimplonReceiver receiver(options, scans);
  print({{"forwards", receiver.forward_endpoint()}});
  const int wanted = std::stoi(arguments[2]);
  const std::chrono::seconds patience{std::stoi(arguments[3])};
  auto last = std::chrono::steady_clock::now();
  while (scans.done() < wanted && std::chrono::steady_clock::now() - last < patience)
    if (receiver.receive(std::chrono::milliseconds(100)) > 0) last = std::chrono::steady_clock::now();
  const bool all = scans.done() >= wanted;
  receiver.stop();
  const ReceiverCounts& counts = receiver.counts();
  print({{"counts",
          {{"messages", counts.messages},
           {"bytes", counts.bytes},
           {"bad", counts.bad},
           {"forwarded", counts.forwarded},
           {"not_forwarded", counts.not_forwarded},
           {"connected", receiver.connected()}}}});
  return all ? 0 : 1;
}

}  // namespace
}  // namespace eelsvae

int main(int argc, char** argv) {
  try {
    return eelsvae::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 2;
  }
}
