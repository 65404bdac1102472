#include "io/files/other_program.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <system_error>

#include "io/files/atomic_file.h"
#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

// Folders of programs, or of libraries, the likeliest first.
std::vector<fs::path> program_folders() {
  std::vector<fs::path> folders;
  std::error_code failed;
  Dl_info place = {};
  // A program's own name may be no path, and is then not looked for in the current folder.
  if (dladdr(reinterpret_cast<const void*>(&program_folders), &place) && place.dli_fname &&
      std::strchr(place.dli_fname, '/')) {
    const fs::path module = fs::canonical(place.dli_fname, failed);
    if (!failed) folders.push_back(module.parent_path());
  }
  const fs::path running = fs::read_symlink("/proc/self/exe", failed);
  if (!failed) folders.push_back(running.parent_path());
  const char* path = std::getenv("PATH");
  for (std::string_view rest = path ? path : ""; !rest.empty();) {
    const size_t end = std::min(rest.find(':'), rest.size());
    if (end > 0) folders.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  folders.emplace_back(EELSVAE_PROGRAM_FOLDER);
  return folders;
}

// A pointer to what posix_spawn takes, undone at the end.
struct FileActions {
  FileActions() { posix_spawn_file_actions_init(&value); }
  ~FileActions() { posix_spawn_file_actions_destroy(&value); }
  posix_spawn_file_actions_t value;
};
struct Attributes {
  Attributes() { posix_spawnattr_init(&value); }
  ~Attributes() { posix_spawnattr_destroy(&value); }
  posix_spawnattr_t value;
};

}  // namespace

std::string find_program(const std::string& name, const std::string& variable) {
  if (const char* named = std::getenv(variable.c_str()); named && *named) return named;
  const std::vector<fs::path> folders = program_folders();
  for (const fs::path& folder : folders) {
    for (const char* below : {"", "..", "../libexec/eelsvae"}) {
      const fs::path program = (folder / below / name).lexically_normal();
      if (access(program.c_str(), X_OK) == 0) return program.string();
    }
  }
  throw UserError("the program " + name + " is neither in " + folders.front().string() +
                  " nor where it is installed; set " + variable + " to its path");
}

int start_program(const std::string& program, const std::vector<std::string>& arguments, int input,
                  const std::string& output, pid_t& process) {
  FileActions actions;
  if (input >= 0)
    posix_spawn_file_actions_adddup2(&actions.value, input, STDIN_FILENO);
  else
    posix_spawn_file_actions_addopen(&actions.value, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  for (const int descriptor : {STDOUT_FILENO, STDERR_FILENO})
    posix_spawn_file_actions_addopen(&actions.value, descriptor, output.c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0666);
  posix_spawn_file_actions_addclosefrom_np(&actions.value, STDERR_FILENO + 1);
  Attributes attributes;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes.value, &none);
  posix_spawnattr_setsigdefault(&attributes.value, &all);
  posix_spawnattr_setflags(&attributes.value,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  std::vector<char*> texts = {const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) texts.push_back(const_cast<char*>(argument.c_str()));
  texts.push_back(nullptr);
  return posix_spawn(&process, program.c_str(), &actions.value, &attributes.value, texts.data(), environ);
}

std::string last_line_of(const std::string& output) {
  std::string text;
  try {
    text = read_text_file(output);
  } catch (const UserError&) {
    return "";
  }
  const size_t end = text.find_last_not_of(" \n\r\t");
  if (end == std::string::npos) return "";
  const size_t begin = text.find_last_of('\n', end) + 1;  // 0 where it is the first
  return one_line(std::string_view(text).substr(begin, end + 1 - begin));
}

}  // namespace eelsvae
