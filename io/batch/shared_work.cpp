#include "io/batch/shared_work.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <system_error>
#include <utility>

#include "io/files/atomic_file.h"
#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::pair<SharedWork::State, const char*> state_names[] = {{SharedWork::State::at_work, "at work"},
                                                                     {SharedWork::State::failed, "failed"},
                                                                     {SharedWork::State::refused, "refused"},
                                                                     {SharedWork::State::done, "done"}};

std::string first_line(const char* path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

// Where process numbers mean the same: this machine since it was started, and within it this container.
std::string this_machine() {
  char processes[64] = {};
  const ssize_t length = readlink("/proc/self/ns/pid", processes, sizeof processes - 1);
  return first_line("/proc/sys/kernel/random/boot_id") + " " +
         std::string(processes, length > 0 ? static_cast<size_t>(length) : 0);
}

std::string this_host() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? one_line(name) : "?";
}

bool ended(pid_t process) {
  return kill(process, 0) != 0 && errno == ESRCH;
}

}  // namespace

SharedWork::SharedWork(fs::path folder)
    : folder_(std::move(folder)), host_(this_host()), machine_(this_machine()) {
  std::random_device random;
  clock_ = folder_ / (".clock." + host_ + "." + std::to_string(getpid()) + "." + std::to_string(random()));
  write_file(clock_, "");
}

SharedWork::~SharedWork() {
  std::error_code ignored;
  fs::remove(clock_, ignored);
}

fs::path SharedWork::file_of(const std::string& name, int number) const {
  return folder_ / (name + "." + std::to_string(number) + ".json");
}

// By the clock of who keeps the files: those of machines that share them differ.
double SharedWork::seconds_since(const fs::path& file) const {
  struct stat now = {}, then = {};
  if (utimensat(AT_FDCWD, clock_.c_str(), nullptr, 0) != 0)
    write_file(clock_, "");  // somebody has cleaned up
  if (stat(clock_.c_str(), &now) != 0 || stat(file.c_str(), &then) != 0) return 0;
  return static_cast<double>(now.st_mtim.tv_sec - then.st_mtim.tv_sec) +
         1e-9 * static_cast<double>(now.st_mtim.tv_nsec - then.st_mtim.tv_nsec);
}

std::optional<SharedWork::Attempt> SharedWork::latest(const std::string& name) const {
  int number = most_attempts;
  while (number > 0 && !fs::exists(file_of(name, number))) --number;
  if (number == 0) return std::nullopt;
  Attempt attempt;
  attempt.number = number;
  const fs::path file = file_of(name, number);
  pid_t process = 0;
  std::string machine;
  try {
    const json content = json::parse(read_text_file(file));
    for (const auto& [state, text] : state_names)
      if (content.at("state") == text) attempt.state = state;
    attempt.of = content.value("of", "");
    attempt.host = content.at("host").get<std::string>();
    attempt.message = content.value("message", "");
    attempt.seconds = content.value("seconds", 0.0);
    process = content.at("process").get<pid_t>();
    machine = content.at("machine").get<std::string>();
  } catch (const std::exception&) {
    attempt.state = State::at_work;
  }
  if (attempt.state == State::at_work)
    attempt.dead = (machine == machine_ && ended(process)) || seconds_since(file) > dead_seconds;
  return attempt;
}

bool SharedWork::is_open(const std::optional<Attempt>& latest) {
  if (!latest) return true;
  return latest->number < most_attempts &&
         (latest->state == State::failed || (latest->state == State::at_work && latest->dead));
}

// The file is there with its content at once, so that whoever dies is known; where files cannot have two
// names, for a moment without.
bool SharedWork::make_once(const fs::path& file, const std::string& content) const {
  const fs::path draft = clock_.string() + ".draft";
  write_file(draft, content);
  int error = link(draft.c_str(), file.c_str()) == 0 ? 0 : errno;
  // The answer may have been lost and asked for again.
  struct stat made = {};
  if (error != 0 && stat(draft.c_str(), &made) == 0 && made.st_nlink == 2) error = 0;
  std::error_code ignored;
  fs::remove(draft, ignored);
  if (error == 0 || error == EEXIST) return error == 0;
  const int descriptor = open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0 && errno == EEXIST) return false;
  if (descriptor < 0) throw UserError("cannot write " + file.string() + ": " + std::strerror(errno));
  close(descriptor);
  write_file(file, content);
  return true;
}

std::optional<SharedWork::Attempt> SharedWork::begin(const std::string& name,
                                                     const std::optional<Attempt>& latest,
                                                     const std::string& of) {
  Attempt attempt;
  attempt.number = latest ? latest->number + 1 : 1;
  attempt.of = of;
  attempt.host = host_;
  if (!make_once(file_of(name, attempt.number), content_of(attempt))) return std::nullopt;
  return attempt;
}

bool SharedWork::beat(const std::string& name, const Attempt& attempt) const {
  utimensat(AT_FDCWD, file_of(name, attempt.number).c_str(), nullptr, 0);
  return !fs::exists(file_of(name, attempt.number + 1));
}

std::string SharedWork::content_of(const Attempt& attempt) const {
  json content = {{"of", attempt.of}, {"host", attempt.host}, {"process", getpid()}, {"machine", machine_}};
  for (const auto& [state, text] : state_names)
    if (attempt.state == state) content["state"] = text;
  if (!attempt.message.empty()) content["message"] = one_line(attempt.message);
  if (attempt.state != State::at_work) content["seconds"] = attempt.seconds;
  return content.dump() + "\n";
}

void SharedWork::end(const std::string& name, const Attempt& attempt) const {
  write_file(file_of(name, attempt.number), content_of(attempt));
}

void SharedWork::give_back(const std::string& name, const Attempt& attempt) const {
  std::error_code ignored;
  if (!fs::exists(file_of(name, attempt.number + 1))) fs::remove(file_of(name, attempt.number), ignored);
}

void SharedWork::forget(const std::string& name) const {
  std::error_code ignored;
  for (int number = most_attempts; number > 0; --number) fs::remove(file_of(name, number), ignored);
}

int SharedWork::lock(const std::string& name) const {
  const fs::path file = folder_ / (name + ".lock");
  const int descriptor = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) throw UserError("cannot write " + file.string() + ": " + std::strerror(errno));
  if (flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return descriptor;
  close(descriptor);
  return -1;
}

std::string SharedWork::agree(const std::string& name, const std::string& content) const {
  const fs::path file = folder_ / name;
  make_once(file, content);
  return read_text_file(file);
}

void SharedWork::clean() const {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder_, ignored)) {
    const fs::path& file = entry.path();
    if (seconds_since(file) > dead_seconds &&
        (file.filename().string().starts_with(".clock.") || file.extension() == ".log"))
      fs::remove(file, ignored);
  }
}

}  // namespace eelsvae
