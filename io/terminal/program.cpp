#include "io/terminal/program.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

#include <unistd.h>

#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

void on_interrupt(int) {
  if (interrupted.exchange(true)) _exit(interrupted_status);
}

const char* program_name = "";

// A file that is mapped has become shorter, or its disk cannot be read. Only what a signal handler may call.
void on_lost_page(int) {
  constexpr char text[] =
      ": a file became shorter while it was read, or a disk failed or is full; start again when nobody "
      "writes to it\n";
  // Where nobody hears it, the status says it.
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, program_name, std::strlen(program_name));
  written = ::write(STDERR_FILENO, text, sizeof text - 1);
  _exit(2);
}

}  // namespace

StopToken interruption() {
  return StopToken(interrupted);
}

int run_program(const char* name, const std::function<int()>& body) {
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  // A full disk or a closed pipe is an error of the write that meets it, with a file name, not a signal.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGCHLD, SIG_DFL);  // who started us may not want to know of its programs, we do of ours
  program_name = name;
  std::signal(SIGBUS, on_lost_page);
  try {
    return body();
  } catch (const UserError& error) {
    std::fprintf(stderr, "%s: %s\n", name, one_line(error.what()).c_str());
    return 2;
  } catch (const Interrupted&) {
    std::fprintf(stderr, "%s: interrupted; nothing was written\n", name);
    return interrupted_status;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "%s: not enough memory\n", name);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: unexpected failure: %s\n", name, one_line(error.what()).c_str());
    return 1;
  }
}

}  // namespace eelsvae
