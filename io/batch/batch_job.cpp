#include "io/batch/batch_job.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include "io/batch/batch_table.h"
#include "io/batch/cube_list.h"
#include "io/batch/shared_work.h"
#include "io/config/config.h"
#include "io/files/atomic_file.h"
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
constexpr std::chrono::milliseconds shortest_pause(200), longest_pause(5000);  // while others work

// Open for as long as this is there.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() { close(value_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

 private:
  int value_;
};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Wherever it is started from.
std::string absolute(const std::string& path) {
  return path.empty() ? path : fs::absolute(path).lexically_normal().string();
}
std::string with_absolute_path(const std::string& setting) {
  const size_t equals = setting.find('=');
  if (equals == std::string::npos || !setting.substr(0, equals).ends_with("_path") ||
      setting.substr(equals + 1) == "null")
    return setting;
  return setting.substr(0, equals + 1) + absolute(setting.substr(equals + 1));
}

// What every image's program is told beside its own.
std::vector<std::string> arguments_of(const DetectionRequest& each) {
  std::vector<std::string> arguments;
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) arguments.insert(arguments.end(), {option, value});
  };
  add("--model", absolute(each.model));
  add("--baseline", each.baseline);
  add("--state", absolute(each.state));
  add("--fit", absolute(each.fit));
  add("--config", absolute(each.config));
  if (each.minutes) add("--minutes", nlohmann::json(*each.minutes).dump());
  for (const std::string& name : each.beside) add("--beside", name);
  for (const std::string& setting : each.settings) add("--set", with_absolute_path(setting));
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

// Why an image's program has failed, by its last words.
std::string reason_in(const fs::path& output) {
  std::string line = last_line_of(output);
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
    work_.emplace(work_folder());
    // All who share the work do the same.
    const std::string options = nlohmann::json(arguments_of(request_.each)).dump() + "\n";
    if (const std::string agreed = work_->agree("options.json", options); agreed != options)
      throw UserError(request_.each.output + ": was begun with other options, " + one_line(agreed) +
                      "; give the same, or choose another --output");
    for (const ListedCube& cube : cubes_) {
      const auto latest = work_->latest(cube.name);
      if (is_done(cube))
        check_is_of(cube, latest);
      else if (latest && request.retry_failed &&
               (latest->state == State::failed || latest->state == State::refused ||
                (latest->dead && !SharedWork::is_open(latest))))
        work_->forget(cube.name);
    }
  }

  int run() {
    log_->info("{} images of {}; results, one folder each, in {}", count_text(std::ssize(cubes_)),
               request_.list, request_.each.output);
    try {
      work();
    } catch (const Interrupted&) {
      write_table();
      log_->warn("interrupted; {}; the same command goes on", done_of_all());
      return interrupted_status;
    }
    const nlohmann::ordered_json rows = write_table();
    work_->clean();
    log_->info("{}: {}", batch_headline(rows), (output_ / "index.html").string());
    return std::ranges::any_of(rows, [](const auto& row) { return row["state"] != "done"; }) ? 1 : 0;
  }

 private:
  fs::path work_folder() const { return output_ / ".work"; }

  // Until there is nothing left to do, whoever does it.
  void work() {
    for (auto pause = shortest_pause;;) {
      bool worked = false, others_work = false;
      for (const ListedCube& cube : cubes_) {
        interruption().stop_if_requested();
        if (is_done(cube)) continue;
        switch (try_one(cube)) {
          case Tried::worked:
            worked = true;
            if (seconds_since(written_) > table_seconds) write_table();
            break;
          case Tried::others_work:
            others_work = true;
            break;
          case Tried::nothing:
            break;
        }
      }
      if (worked) {
        pause = shortest_pause;
        continue;
      }
      if (!others_work) return;
      // Whoever works may still die.
      const auto until = Clock::now() + pause;
      while (Clock::now() < until) {
        interruption().stop_if_requested();
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
      pause = std::min(2 * pause, longest_pause);
    }
  }

  enum class Tried { worked, others_work, nothing };
  Tried try_one(const ListedCube& cube) {
    std::optional<SharedWork::Attempt> latest = work_->latest(cube.name);
    const bool at_work = latest && latest->state == State::at_work && !latest->dead;
    // Whoever removes results, or changes the line of an image that failed, wants it anew.
    if (latest && !at_work && (latest->state == State::done || latest->of != what(cube)) && !is_done(cube)) {
      work_->forget(cube.name);
      latest.reset();
    }
    if (at_work) {
      if (!latest->of.empty() && latest->of != what(cube)) check_is_of(cube, latest);  // empty: just begun
      return Tried::others_work;
    }
    if (!SharedWork::is_open(latest)) return Tried::nothing;
    // What a dead program has started may live on.
    const int lock = work_->lock(cube.name);
    if (lock < 0) return Tried::others_work;
    const Descriptor held(lock);
    const auto attempt = work_->begin(cube.name, latest, what(cube));
    if (!attempt) return Tried::others_work;
    detect(cube, *attempt, lock);
    return Tried::worked;
  }

  // What an attempt was made with, beside what all have in common.
  static std::string what(const ListedCube& cube) {
    return nlohmann::json({cube.path, cube.truth, cube.settings}).dump();
  }
  // UserError where results, or work, of another image or with other settings have this image's name.
  void check_is_of(const ListedCube& cube, const std::optional<SharedWork::Attempt>& latest) const {
    const nlohmann::json summary = summary_of(cube);
    const std::string data = summary.is_object() ? summary.value("data", "") : cube.path;
    if (data == cube.path && (!latest || latest->of == what(cube))) return;
    throw UserError(
        (output_ / cube.name).string() + " is of " +
        (data == cube.path ? "another line of the list, " + one_line(latest->of) : one_line(data)) +
        ", and not of " + cube.path + (data == cube.path ? " with these settings" : "") +
        "; give that another name in the list, or choose another --output");
  }

  // Null where the image is not done.
  nlohmann::json summary_of(const ListedCube& cube) const {
    if (!is_done(cube)) return nullptr;
    const fs::path file = output_ / cube.name / "summary.json";
    return parse_json_object(read_text_file(file), file.string());
  }
  // Asked of the file system until it is.
  bool is_done(const ListedCube& cube) const {
    if (done_.contains(cube.name)) return true;
    if (!fs::exists(output_ / cube.name / "summary.json")) return false;
    done_.insert(cube.name);
    return true;
  }
  std::string done_of_all() const {
    return count_text(std::ssize(done_)) + " of " + count_text(std::ssize(cubes_)) + " done";
  }

  // lock: goes with the image's program, and says that it lives.
  void detect(const ListedCube& cube, SharedWork::Attempt attempt, int lock) {
    const auto began = Clock::now();
    const fs::path said = work_folder() / (cube.name + "." + std::to_string(attempt.number) + ".log");
    std::vector<std::string> arguments = {cube.path, "--output", (output_ / cube.name).string()};
    if (!cube.truth.empty()) arguments.insert(arguments.end(), {"--truth", cube.truth});
    std::ranges::copy(arguments_of(request_.each), std::back_inserter(arguments));
    for (const std::string& setting : cube.settings) arguments.insert(arguments.end(), {"--set", setting});
    pid_t process = -1;
    if (const int error = start_program("/proc/self/exe", arguments, lock, said.string(), process);
        error != 0) {
      work_->give_back(cube.name, attempt);
      throw UserError(std::string("cannot start another program: ") + std::strerror(error));
    }
    const std::optional<int> status = wait_for(process, cube.name, attempt);
    // Both may have been told to end, and it was faster.
    const auto told = Clock::now();
    while (status && WIFEXITED(*status) ? WEXITSTATUS(*status) == interrupted_status
                                        : status && WTERMSIG(*status) == SIGTERM) {
      if (interruption().requested() || seconds_since(told) > 1) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    if (interruption().requested() && !is_done(cube)) {
      work_->give_back(cube.name, attempt);
      throw Interrupted();
    }
    if (!status) return;  // taken over
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
      attempt.message = reason_in(said);
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
    for (const ListedCube& other : cubes_) is_done(other);  // others work, too
    const std::string of = done_of_all();
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
                                                              {"list", one_line(request_.list)},
                                                              {"options", arguments_of(request_.each)},
                                                              {"cubes", rows}}
                                               .dump(2) +
                                           "\n");
    write_file(output_ / "index.html", batch_html(rows, {one_line(request_.list), "eelsvae " EELSVAE_VERSION},
                                                  arguments_of(request_.each)));
    written_ = Clock::now();
    return rows;
  }

  const BatchRequest& request_;
  fs::path output_;
  std::vector<ListedCube> cubes_;
  std::optional<SharedWork> work_;
  std::shared_ptr<spdlog::logger> log_ = make_console_log();
  Clock::time_point written_ = Clock::now();
  mutable std::set<std::string> done_;  // images that are known to be
};

}  // namespace

int run_batch(const BatchRequest& request) {
  check_for_all(request);
  return Batch(request).run();
}

}  // namespace eelsvae
