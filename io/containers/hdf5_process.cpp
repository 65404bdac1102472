#include "io/containers/hdf5_process.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "io/files/message_text.h"
#include "io/files/other_program.h"
#include "kernels/error.h"

namespace eelsvae::hdf5 {
namespace {

using nlohmann::json;

constexpr uint64_t longest_value = uint64_t{1} << 30;  // bytes of an answer that is no box
constexpr int look_for_stop = 200;                     // ms

std::string find_reader(const std::string& path) {
  try {
    return find_program("eelsvae-hdf5-reader", "EELSVAE_HDF5_HELPER");
  } catch (const UserError& error) {
    throw UserError("cannot read " + path + ": HDF5 files are read by another program: " + error.what());
  }
}

std::string error_text(int number) {
  return std::strerror(number);
}

// What to say of a file whose reader ended so.
std::string fault_of(int status, const std::string& file, const std::string& program) {
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF)
    return file + ": damaged: the HDF5 library does not come to an end with it";
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
    return "cannot read " + file + ": it was broken off, or the system has too little memory";
  if (WIFSIGNALED(status))
    return file + ": damaged: the HDF5 library crashes on it (signal " + std::to_string(WTERMSIG(status)) +
           ")";
  return "cannot read " + file + ": " + program + " ended with status " +
         std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

}  // namespace

ReadingProcess::ReadingProcess(const std::string& path)
    : file_(std::make_shared<const MappedFile>(path)), program_(find_reader(path)) {
  if (stat(path.c_str(), &state_) != 0 || static_cast<size_t>(state_.st_size) != file_->size())
    throw UserError("cannot read " + path + ": it is being written");
  start();
}

void ReadingProcess::start() {
  const std::string& path = file_->path();
  --starts_left_;
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
    throw UserError("cannot read " + path + ": no socket: " + error_text(errno));
  socket_ = sockets[0];
  pid_t process = -1;
  const int failed = start_program(program_, {path}, sockets[1], "/dev/null", process);
  close(sockets[1]);
  if (failed) {
    close(socket_);
    throw UserError("cannot read " + path + ": cannot start " + program_ + ": " + error_text(failed));
  }
  process_ = process;
  answering_ = false;
  try {
    value_of(json::array({"open"}));
  } catch (...) {
    starts_left_ = 0;  // a file that cannot be opened
    end();
    throw;
  }
}

ReadingProcess::~ReadingProcess() {
  end();
}

json ReadingProcess::ask(const json& request) {
  const std::lock_guard turn(turn_);
  return value_of(request);
}

json ReadingProcess::value_of(const json& request) {
  const AnswerStart start = start_answer(request, {});
  if (start.form != AnswerStart::value || start.bytes > longest_value) refuse_answer();
  std::vector<uint8_t> bytes(static_cast<size_t>(start.bytes));
  receive(bytes.data(), bytes.size());
  answering_ = false;
  json value = json::from_cbor(bytes, true, false);
  if (value.is_discarded()) refuse_answer();
  return value;
}

std::span<const std::byte> ReadingProcess::ask_box(const json& request, size_t largest, const StopToken& stop,
                                                   ByteBuffer& buffer, uint32_t& skipped) {
  const std::lock_guard turn(turn_);
  const AnswerStart start = start_answer(request, stop);
  if (start.form != AnswerStart::box || start.bytes > largest) refuse_answer();
  skipped = start.skipped;
  const auto count = static_cast<size_t>(start.bytes);
  if (buffer.size() < count) buffer.resize(count);
  receive(buffer.data(), count);
  answering_ = false;
  return std::span<const std::byte>(buffer).first(count);
}

// Sends a request and waits for the beginning of its answer. Failures are thrown.
AnswerStart ReadingProcess::start_answer(const json& request, const StopToken& stop) {
  if (answering_) end();  // somebody gave up; the rest of that answer is nobody's
  if (process_ < 0 && starts_left_ > 0) start();
  fail_if_ended();
  const std::vector<uint8_t> text = json::to_cbor(request);
  const uint64_t length = text.size();
  answering_ = true;
  if (!send_bytes(socket_, &length, sizeof length) || !send_bytes(socket_, text.data(), text.size())) end();
  fail_if_ended();
  for (pollfd answer = {socket_, POLLIN, 0}; poll(&answer, 1, look_for_stop) <= 0;) stop.stop_if_requested();
  AnswerStart start = {};
  receive(&start, sizeof start);
  if (start.form == AnswerStart::failure && start.bytes <= longest_value) {
    std::string failure(static_cast<size_t>(start.bytes), '\0');
    receive(failure.data(), failure.size());
    answering_ = false;
    throw UserError(one_line(failure));
  }
  return start;
}

void ReadingProcess::receive(void* bytes, size_t count) {
  if (!receive_bytes(socket_, bytes, count)) end();
  fail_if_ended();
}

void ReadingProcess::refuse_answer() {
  end();
  throw UserError(fault_);
}

void ReadingProcess::fail_if_ended() const {
  if (process_ < 0) throw UserError(fault_);
}

// Ends the connection, at which a process that waits for a request ends by itself, and remembers how it
// ended.
void ReadingProcess::end() noexcept {
  if (process_ < 0) return;
  shutdown(socket_, SHUT_RDWR);  // closing it would not do where a fork of this process has it, too
  close(socket_);
  int status = 0;
  // Another part of this program may have waited for all of its children: the number is then nobody's of
  // ours.
  if (!answering_ || waitpid(process_, &status, WNOHANG) == 0) {
    if (answering_) kill(process_, SIGKILL);  // changes nothing if the process is about to end
    while (waitpid(process_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  process_ = -1;
  fault_ = fault_of(status, file_->path(), program_);
}

bool ReadingProcess::changed() const {
  struct stat now = {};
  return stat(file_->path().c_str(), &now) != 0 ||
         std::tie(now.st_dev, now.st_ino, now.st_size, now.st_mtim.tv_sec, now.st_mtim.tv_nsec) !=
             std::tie(state_.st_dev, state_.st_ino, state_.st_size, state_.st_mtim.tv_sec,
                      state_.st_mtim.tv_nsec);
}

std::shared_ptr<ReadingProcess> ReadingProcess::shared(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<ReadingProcess>> running;
  const std::lock_guard lock(mutex);
  std::erase_if(running, [](const auto& entry) { return entry.second.expired(); });
  const auto found = running.find(path);
  std::shared_ptr<ReadingProcess> process = found == running.end() ? nullptr : found->second.lock();
  if (!process || process->changed()) {
    process = std::make_shared<ReadingProcess>(path);
    running[path] = process;
  }
  return process;
}

}  // namespace eelsvae::hdf5
