#include "io/terminal/run_log.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <nlohmann/json.hpp>

#include "io/files/atomic_file.h"
#include "io/terminal/progress.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

[[noreturn]] void cannot_write(const std::filesystem::path& path, int error) {
  throw UserError("cannot write " + path.string() + ": " + std::strerror(error));
}

class ConsoleSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  // A console that is gone (a closed pipe) is no reason to end a run: failures are not looked at.
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (message.level < spdlog::level::info) return;
    clear_progress_line();
    std::string line(message.payload.data(), message.payload.size());
    if (message.level >= spdlog::level::warn) {
      std::fprintf(stderr, "%s: %s\n", message.level == spdlog::level::warn ? "warning" : "error",
                   line.c_str());
      std::fflush(stderr);
    } else {
      std::fprintf(stdout, "%s\n", line.c_str());
      std::fflush(stdout);
    }
  }
  void flush_() override {}
};

std::shared_ptr<spdlog::logger> make_log(std::vector<spdlog::sink_ptr> sinks) {
  auto log = std::make_shared<spdlog::logger>("eelsvae", sinks.begin(), sinks.end());
  log->set_level(spdlog::level::debug);
  log->flush_on(spdlog::level::debug);
  return log;
}

// An open file that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

  // 0, or the errno of what failed.
  int write(std::string_view text) const {
    for (size_t written = 0; written < text.size();) {
      ssize_t n = ::write(number_, text.data() + written, text.size() - written);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno;
      written += static_cast<size_t>(n);
    }
    return 0;
  }

 private:
  int number_;
};

std::string json_line(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

std::shared_ptr<spdlog::logger> make_console_log() {
  return make_log({std::make_shared<ConsoleSink>()});
}

std::shared_ptr<spdlog::logger> make_run_log(const std::filesystem::path& run_folder, bool append) {
  const std::filesystem::path path = run_folder / "log.txt";
  std::shared_ptr<spdlog::sinks::basic_file_sink_mt> file;
  try {
    file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string(), !append);
  } catch (const spdlog::spdlog_ex& error) {
    throw UserError("cannot write " + path.string() + ": " + error.what());
  }
  file->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
  auto log = make_log({std::make_shared<ConsoleSink>(), file});
  // spdlog's own handler prints at most one complaint a second and goes on.
  log->set_error_handler([path](const std::string& message) {
    // A failing flush comes twice: by itself, and as the failure of the message that it belongs to.
    if (message.starts_with("cannot write ")) throw UserError(message);
    throw UserError("cannot write " + path.string() + ": " + message);
  });
  return log;
}

void append_bytes(const std::filesystem::path& path, std::string_view bytes) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  if (file.number() < 0) cannot_write(path, errno);
  off_t size = ::lseek(file.number(), 0, SEEK_END);
  if (int error = file.write(bytes)) {
    if (size < 0 || ::ftruncate(file.number(), size) != 0) {
      // A pipe or a device; the line cannot be taken back.
    }
    cannot_write(path, error);
  }
}

void append_metric(const std::filesystem::path& path, const nlohmann::json& epoch) {
  append_bytes(path, json_line(epoch));
}

void write_metrics(const std::filesystem::path& path, const std::vector<nlohmann::json>& epochs) {
  std::string text;
  for (const nlohmann::json& epoch : epochs) text += json_line(epoch);
  write_file(path.string(), text);
}

}  // namespace eelsvae
