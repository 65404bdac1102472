#include "io/batch/batch_job.h"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <thread>
#include <utility>

#include "io/batch/batch_table.h"
#include "io/batch/cube_list.h"
#include "io/batch/shared_work.h"
#include "io/config/config.h"
#include "io/files/atomic_file.h"
#include "io/files/folder_lock.h"
#include "io/files/json_text.h"
#include "io/files/message_text.h"
#include "io/files/number_text.h"
#include "io/files/other_program.h"
#include "io/files/output_folder.h"
#include "io/model/detection_state_file.h"
#include "io/run/training_run.h"
#include "io/terminal/program.h"
#include "io/terminal/run_log.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using State = SharedWork::State;

constexpr double table_seconds = 30;  // not more often is the table written while there is work
constexpr auto look_again = std::chrono::milliseconds(500);

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// What every image's program is told beside its own.
std::vector<std::string> arguments_of(const DetectionRequest& each) {
  std::vector<std::string> arguments;
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) arguments.insert(arguments.end(), {option, value});
  };
  add("--model", each.model);
  add("--baseline", each.baseline);
  add("--state", each.state);
  add("--fit", each.fit);
  add("--config", each.config);
  if (each.minutes) add("--minutes", nlohmann::json(*each.minutes).dump());
  for (const std::string& name : each.beside) add("--beside", name);
  for (const std::string& setting : each.settings) add("--set", setting);
  if (each.save_reconstruction) arguments.push_back("--save-reconstruction");
  return arguments;
}

// What would be wrong with every image is said once, before any is begun.
void check_for_all(const BatchRequest& request) {
  const DetectionRequest& each = request.each;
  if (!each.data.empty()) throw UserError("the images are those of --manifest; leave DATA out");
  if (!each.truth.empty()) throw UserError("each image has its own truth: a column 'truth' of --manifest");
  if (!each.expectation.empty()) throw UserError("--expectation is of one image, and not for --manifest");
  if (!each.model.empty() && !each.baseline.empty())
    throw UserError("give one of --model RUN and --baseline NAME");
  if (!each.model.empty()) model_file(each.model);
  if (!each.baseline.empty()) parse_baseline(each.baseline);
  for (const std::string& name : each.beside) parse_baseline(name);
  if (!each.state.empty()) load_detection_state(each.state);
  if (!each.config.empty()) read_config_text(each.config);
  if (each.minutes) check_minutes(*each.minutes);
  Config alone;
  for (const std::string& setting : each.settings) set_value(alone, setting);
}

// The end of what a program has said.
std::string last_line(const fs::path& file) {
  std::string text;
  try {
    text = read_text_file(file);
  } catch (const UserError&) {
    return "";
  }
  const size_t end = text.find_last_not_of(" \n\r\t");
  if (end == std::string::npos) return "";
  const size_t begin = text.find_last_of('\n', end);
  std::string line =
      one_line(std::string_view(text).substr(begin == std::string::npos ? 0 : begin + 1, end - begin));
  for (const std::string_view prefix : {"eelsvae-detect: ", "error: "})
    if (line.starts_with(prefix)) line.erase(0, prefix.size());
  return line;
}

class Batch {
 public:
  explicit Batch(const BatchRequest& request)
      : request_(request), output_(request.each.output), cubes_(read_cube_list(request.list)) {
    if (fs::exists(output_ / "summary.json"))
      throw UserError(request.each.output + " holds the results of one image; choose another --output");
    prepare_output_folder(work_folder());
    begin_or_join();
    work_.emplace(work_folder());
    if (request.retry_failed)
      for (const ListedCube& cube : cubes_) work_->forget_failure(cube.name);
    for (const ListedCube& cube : cubes_) summary_of(cube);  // throws where it is another image's
  }

  int run() {
    log_->info("{} images of {}; results, one folder each, in {}", count_text(std::ssize(cubes_)),
               request_.list, request_.each.output);
    while (true) {
      bool worked = false, others_work = false;
      for (const ListedCube& cube : cubes_) {
        interruption().stop_if_requested();
        if (is_done(cube)) continue;
        const std::optional<SharedWork::Attempt> latest = work_->latest(cube.name);
        if (latest && latest->dead && is_written(cube)) {  // what a dead one has started lives on
          others_work = true;
        } else if (SharedWork::is_open(latest)) {
          if (const auto attempt = work_->begin(cube.name, latest)) {
            detect(cube, *attempt);
            worked = true;
            if (seconds_since(written_) > table_seconds) write_table();
          }
        } else if (latest->state == State::at_work && !latest->dead) {
          others_work = true;
        }
      }
      if (worked) continue;
      if (!others_work) break;
      std::this_thread::sleep_for(look_again);  // whoever works may still die
    }
    const nlohmann::ordered_json rows = write_table();
    log_->info("{}: {}", batch_headline(rows), (output_ / "index.html").string());
    return std::ranges::any_of(rows, [](const auto& row) { return row["state"] != "done"; }) ? 1 : 0;
  }

 private:
  fs::path work_folder() const { return output_ / ".work"; }

  // All who share the work do the same.
  void begin_or_join() {
    const fs::path file = work_folder() / "options.json";
    const std::string options = nlohmann::json(arguments_of(request_.each)).dump() + "\n";
    if (fs::exists(file) && read_text_file(file) != options)
      throw UserError(request_.each.output + ": was begun with other options, " +
                      one_line(read_text_file(file)) + "; give the same, or choose another --output");
    write_file(file, options);
  }

  // Null where the image is not done. UserError where results of another one are in its folder.
  nlohmann::json summary_of(const ListedCube& cube) const {
    const fs::path file = output_ / cube.name / "summary.json";
    if (!fs::exists(file)) return nullptr;
    nlohmann::json summary = parse_json_object(read_text_file(file), file.string());
    if (const std::string data = summary.value("data", ""); data != cube.path)
      throw UserError((output_ / cube.name).string() + " holds results of " + one_line(data) +
                      ", and not of " + cube.path +
                      "; give that another name in the list, or choose another --output");
    return summary;
  }
  bool is_written(const ListedCube& cube) const {
    const fs::path folder = output_ / cube.name;
    if (!fs::exists(folder)) return false;
    try {
      const FolderLock lock(folder);
      return false;
    } catch (const UserError&) {
      return true;
    }
  }
  bool is_done(const ListedCube& cube) const { return fs::exists(output_ / cube.name / "summary.json"); }

  void detect(const ListedCube& cube, SharedWork::Attempt attempt) {
    const auto began = Clock::now();
    const fs::path said = work_folder() / (cube.name + "." + std::to_string(attempt.number) + ".log");
    std::vector<std::string> arguments = {cube.path, "--output", (output_ / cube.name).string()};
    if (!cube.truth.empty()) arguments.insert(arguments.end(), {"--truth", cube.truth});
    std::ranges::copy(arguments_of(request_.each), std::back_inserter(arguments));
    for (const std::string& setting : cube.settings) arguments.insert(arguments.end(), {"--set", setting});
    pid_t process = -1;
    if (const int error = start_program("/proc/self/exe", arguments, -1, said.string(), process);
        error != 0) {
      work_->give_back(cube.name, attempt);
      throw UserError(std::string("cannot start another program: ") + std::strerror(error));
    }
    const std::optional<int> status = wait_for(process, cube.name, attempt);
    if (!status) {  // interrupted, or taken over
      if (interruption().requested()) {
        work_->give_back(cube.name, attempt);
        throw Interrupted();
      }
      return;
    }
    attempt.seconds = seconds_since(began);
    if (WIFEXITED(*status) && WEXITSTATUS(*status) == 0 && is_done(cube)) {
      attempt.state = State::done;
    } else if (WIFSIGNALED(*status)) {
      attempt.state = State::failed;
      attempt.message =
          "ended by signal " + std::to_string(WTERMSIG(*status)) +
          (WTERMSIG(*status) == SIGKILL ? ": the memory did not suffice, or somebody ended it" : "");
    } else {
      // What the user has to mend is not tried again, unless another one's attempt may be in the way.
      attempt.state = WEXITSTATUS(*status) == 2 && attempt.number == 1 ? State::refused : State::failed;
      attempt.message = last_line(said);
    }
    work_->end(cube.name, attempt);
    std::error_code ignored;
    fs::remove(said, ignored);
    say(cube, attempt);
  }

  // Its status; absent: it was ended, for this program is to stop, or another one has taken its place.
  std::optional<int> wait_for(pid_t process, const std::string& name, const SharedWork::Attempt& attempt) {
    auto beaten = Clock::now();
    bool told = false;
    for (int waited = 1;; waited = std::min(waited + 1, 100)) {
      int status = 0;
      const pid_t which = waitpid(process, &status, WNOHANG);
      if (which == process) return told ? std::nullopt : std::optional(status);
      if (which < 0 && errno != EINTR)
        throw UserError(std::string("cannot wait for a program: ") + std::strerror(errno));
      bool stop = interruption().requested();
      if (seconds_since(beaten) > SharedWork::beat_seconds) {
        beaten = Clock::now();
        if (!work_->beat(name, attempt)) stop = true;
      }
      if (stop && !told) {
        kill(process, SIGTERM);
        told = true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(waited));
    }
  }

  void say(const ListedCube& cube, const SharedWork::Attempt& attempt) {
    const auto done = std::ranges::count_if(cubes_, [&](const ListedCube& other) { return is_done(other); });
    const std::string of = count_text(done) + " of " + count_text(std::ssize(cubes_)) + " done";
    if (attempt.state != State::done)
      return log_->warn("{}: {} (attempt {}; {})", cube.name, attempt.message, attempt.number, of);
    const nlohmann::json summary = summary_of(cube);
    log_->info("{}: {} of {} spectra do not fit{} ({:.1f} s; {})", cube.name,
               count_text(summary.value("anomalous_pixels", int64_t{0})),
               count_text(summary.value("pixels", int64_t{0})),
               summary.value("trusted", true) ? "" : ", not to be trusted", attempt.seconds, of);
  }

  nlohmann::ordered_json write_table() {
    std::vector<CubeResult> results;
    for (const ListedCube& cube : cubes_)
      results.push_back({cube, work_->latest(cube.name), summary_of(cube)});
    nlohmann::ordered_json rows = batch_rows(results);
    write_file(output_ / "cubes.csv", batch_csv(rows));
    write_file(output_ / "cubes.json", nlohmann::ordered_json{{"eelsvae", EELSVAE_VERSION},
                                                              {"list", request_.list},
                                                              {"options", arguments_of(request_.each)},
                                                              {"cubes", rows}}
                                               .dump(2) +
                                           "\n");
    write_file(output_ / "index.html",
               batch_html(rows, {request_.list, "eelsvae " EELSVAE_VERSION}, arguments_of(request_.each)));
    written_ = Clock::now();
    return rows;
  }

  const BatchRequest& request_;
  fs::path output_;
  std::vector<ListedCube> cubes_;
  std::optional<SharedWork> work_;
  std::shared_ptr<spdlog::logger> log_ = make_console_log();
  Clock::time_point written_ = Clock::now();
};

}  // namespace

int run_batch(const BatchRequest& request) {
  check_for_all(request);
  return Batch(request).run();
}

}  // namespace eelsvae
