#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace eelsvae {

struct ProgramResult {
  int status = -1;  // exit status, or 128 + the signal that ended the program
  std::string out, err;
};

// Runs a program to its end; arguments[0] is its path. Its standard input is empty.
inline ProgramResult run(const std::vector<std::string>& arguments) {
  // Files rather than pipes: nothing blocks, however much the program writes to either.
  struct Capture {
    char path[32] = "/tmp/eelsvae-test-XXXXXX";
    int descriptor = mkstemp(path);
    Capture() {
      if (descriptor < 0) throw std::runtime_error("cannot make a temporary file");
      unlink(path);
    }
    ~Capture() { ::close(descriptor); }
    std::string text() const {
      std::string text(static_cast<size_t>(lseek(descriptor, 0, SEEK_END)), '\0');
      size_t filled = 0;
      while (filled < text.size()) {
        const ssize_t count =
            pread(descriptor, &text[filled], text.size() - filled, static_cast<off_t>(filled));
        if (count <= 0) throw std::runtime_error("cannot read back a program's output");
        filled += static_cast<size_t>(count);
      }
      return text;
    }
  } out, err;

  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.descriptor, 1);
  posix_spawn_file_actions_adddup2(&actions, err.descriptor, 2);
  pid_t child = -1;
  const int error = posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error) throw std::runtime_error("cannot run " + arguments[0]);

  int status = 0;
  if (waitpid(child, &status, 0) != child) throw std::runtime_error("lost " + arguments[0]);
  ProgramResult result;
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = out.text();
  result.err = err.text();
  return result;
}

// A program of ours, by the name of its source file: run_app("info", {"--json", "x.hspy"}).
inline ProgramResult run_app(const std::string& name, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), EELSVAE_BINARY_DIR "/eelsvae-" + name);
  return run(arguments);
}

}  // namespace eelsvae
