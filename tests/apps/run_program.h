#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/folders.h"

namespace eelsvae {

// Under a sanitizer a training takes several times as long, and other tests run beside it.
#ifdef __SANITIZE_ADDRESS__
inline constexpr std::chrono::seconds longest_wait{600};
#else
inline constexpr std::chrono::seconds longest_wait{120};
#endif

struct ProgramResult {
  int status = -1;  // exit status, or 128 + the signal that ended the program
  std::string out, err;
};

struct ProgramOptions {
  std::string folder;                              // to work in; "": the caller's
  std::map<std::string, std::string> environment;  // besides the caller's
  std::optional<rlim_t> largest_file;              // bytes; what a full disk looks like to the program
  std::chrono::seconds timeout = longest_wait;     // of every wait; then the program is killed
};

// A program while it runs; arguments[0] is its path. Its standard input is empty. Whoever does not wait for
// its end kills it.
class RunningProgram {
 public:
  explicit RunningProgram(const std::vector<std::string>& arguments, const ProgramOptions& options = {})
      : name_(arguments[0]), timeout_(options.timeout) {
    std::vector<std::string> settings;
    for (char** setting = environ; *setting; ++setting) {
      const std::string text = *setting;
      if (!options.environment.contains(text.substr(0, text.find('=')))) settings.push_back(text);
    }
    for (const auto& [key, value] : options.environment) settings.push_back(key + "=" + value);
    const std::vector<char*> argv = pointers(arguments), variables = pointers(settings);

    child_ = fork();
    if (child_ < 0) throw std::runtime_error("cannot fork");
    if (child_ > 0) return;
    // Between fork and exec only calls that are safe in a signal handler.
    const int input = open("/dev/null", O_RDONLY);
    bool ready =
        input >= 0 && dup2(input, 0) == 0 && dup2(out_.descriptor, 1) == 1 && dup2(err_.descriptor, 2) == 2;
    if (!options.folder.empty()) ready = ready && chdir(options.folder.c_str()) == 0;
    if (options.largest_file) {
      const rlimit limit = {*options.largest_file, *options.largest_file};
      ready = ready && setrlimit(RLIMIT_FSIZE, &limit) == 0;
    }
    if (ready) execve(argv[0], argv.data(), variables.data());
    _exit(127);
  }
  ~RunningProgram() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
  }
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  void send(int signal) const {
    if (child_ > 0) kill(child_, signal);
  }

  // True once the condition holds; false if the program ends first.
  bool wait_until(const std::function<bool()>& condition) {
    for (const auto began = clock::now(); !condition();) {
      if (!running()) return condition();
      check_time(began);
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
    return true;
  }

  // Waits for its end.
  ProgramResult result() {
    for (const auto began = clock::now(); running();) {
      check_time(began);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return {status_, out_.text(), err_.text()};
  }

  std::string out() const { return out_.text(); }

 private:
  using clock = std::chrono::steady_clock;

  // Files rather than pipes: nothing blocks, however much the program writes to either.
  struct Capture {
    char path[32] = "/tmp/eelsvae-test-XXXXXX";
    int descriptor = mkostemp(path, O_CLOEXEC);
    Capture() {
      if (descriptor < 0) throw std::runtime_error("cannot make a temporary file");
      unlink(path);
    }
    ~Capture() { ::close(descriptor); }
    // Reads at offsets: the place in the file is shared with the program that writes.
    std::string text() const {
      std::string text;
      char block[4096];
      for (ssize_t count;
           (count = pread(descriptor, block, sizeof block, static_cast<off_t>(text.size())));) {
        if (count < 0) throw std::runtime_error("cannot read back a program's output");
        text.append(block, static_cast<size_t>(count));
      }
      return text;
    }
  };

  static std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> list;
    for (const std::string& text : texts) list.push_back(const_cast<char*>(text.c_str()));
    list.push_back(nullptr);
    return list;
  }

  bool running() {
    if (child_ <= 0) return false;
    int status = 0;
    const pid_t ended = waitpid(child_, &status, WNOHANG);
    if (ended == 0) return true;
    if (ended != child_) throw std::runtime_error("lost " + name_);
    child_ = -1;
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return false;
  }

  void check_time(clock::time_point began) const {
    if (clock::now() - began > timeout_)
      throw std::runtime_error(name_ + " does not end; so far it wrote\n" + out_.text() + err_.text());
  }

  std::string name_;
  std::chrono::seconds timeout_;
  pid_t child_ = -1;
  int status_ = -1;
  Capture out_, err_;
};

// Runs a program to its end.
inline ProgramResult run(const std::vector<std::string>& arguments, const ProgramOptions& options = {}) {
  return RunningProgram(arguments, options).result();
}

// The command line of a program of ours, by the name of its source file.
inline std::vector<std::string> app(const std::string& name, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program_file("eelsvae-" + name));
  return arguments;
}

// run_app("info", {"--json", "x.hspy"})
inline ProgramResult run_app(const std::string& name, const std::vector<std::string>& arguments,
                             const ProgramOptions& options = {}) {
  return run(app(name, arguments), options);
}

}  // namespace eelsvae
