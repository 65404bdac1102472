#include "io/serve/network_training.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/detect/kept_detection.h"
#include "io/config/config.h"
#include "io/files/other_program.h"
#include "io/files/output_folder.h"
#include "io/model/detection_state_file.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

constexpr const char* log_name = "/log.txt";
constexpr int64_t most_folders = 100000;
constexpr double most_minutes = 1e5;

// What is chosen otherwise for a scan that comes alone, and a running one cannot have.
constexpr const char* for_running_scans[] = {"detection.score=whitened", "preprocess.despike=0"};

// As read back, the same number.
std::string exactly(double value) {
  return nlohmann::json(value).dump();
}

}  // namespace

NetworkTraining::NetworkTraining(NetworkTrainingOptions options)
    : options_(std::move(options)), program_(find_program("eelsvae-detect", "EELSVAE_DETECT")) {
  if (access(program_.c_str(), X_OK) != 0)
    throw UserError(program_ + ", which is to train, is no program that can be started");
  if (!(options_.minutes > 0 && options_.minutes <= most_minutes))
    throw UserError("a network is trained for more than 0 and at most 100000 minutes");
  if (options_.rows && *options_.rows < 1) throw UserError("a network cannot be trained on no rows");
  options_.settings.insert(options_.settings.begin(), std::begin(for_running_scans),
                           std::end(for_running_scans));
  const Config config = parse_config("{}", "--set", options_.settings);
  check_can_be_kept(config.preprocess, config.detection);
  prepare_output_folder(options_.folder);
}

NetworkTraining::~NetworkTraining() {
  if (running()) kill(process_, SIGTERM);
}

std::string NetworkTraining::new_folder() const {
  for (int64_t number = 1; number < most_folders; ++number) {
    const fs::path folder = fs::path(options_.folder) / std::to_string(number);
    std::error_code failed;
    if (fs::create_directory(folder, failed)) return folder.string();
    if (failed) throw UserError("cannot make the folder " + folder.string() + ": " + failed.message());
  }
  throw UserError(options_.folder + " is full of folders; choose another one");
}

void NetworkTraining::begin(const RecordedScan& scan, const std::string& folder) {
  const std::string mask = folder + "/excluded.npy";
  scan.write_mask(mask);
  std::vector<std::string> arguments = {scan.path(), "--output", found_in(folder), "--minutes",
                                        exactly(options_.minutes)};
  std::vector<std::string> settings = {"data.energy_offset=" + exactly(scan.plan().energy.offset),
                                       "data.dispersion=" + exactly(scan.plan().energy.scale),
                                       "data.exclude_path=" + mask};
  for (const std::string& setting : options_.settings)  // rectangles are in the mask
    if (!setting.starts_with("data.exclude=")) settings.push_back(setting);
  for (const std::string& setting : settings) {
    arguments.push_back("--set");
    arguments.push_back(setting);
  }
  if (const int error = start_program(program_, arguments, -1, folder + log_name, process_); error != 0) {
    process_ = -1;
    throw UserError("cannot start " + program_ + ": " + std::strerror(error));
  }
  folder_ = folder;
  setpriority(PRIO_PROCESS, static_cast<id_t>(process_), 19);
}

std::optional<NetworkTraining::Ended> NetworkTraining::ended() {
  if (!running()) return std::nullopt;
  int status = 0;
  const pid_t which = waitpid(process_, &status, WNOHANG);
  if (which == 0 || (which < 0 && errno == EINTR)) return std::nullopt;
  process_ = -1;
  std::error_code ignored;
  if (which > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    if (!fs::exists(model_in(folder_), ignored)) {
      fs::remove_all(folder_, ignored);
      return Ended{"", "the scan is too small for a network; the next one is tried"};
    }
    if (fs::exists(fs::path(found_in(folder_)) / detection_state_name, ignored)) return Ended{folder_, ""};
    throw UserError("nothing that running scans can be scored by was found in " + folder_ +
                    "; its report says what there is");
  }
  if (which > 0 && WIFSIGNALED(status))
    throw UserError("it was ended by signal " + std::to_string(WTERMSIG(status)) +
                    (WTERMSIG(status) == SIGKILL ? "; the memory may not suffice" : ""));
  const std::string line = last_line_of(folder_ + log_name);
  throw UserError((line.empty() ? "the program ended" : line) + " (" + folder_ + log_name + ")");
}

}  // namespace eelsvae
