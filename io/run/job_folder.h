#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include <spdlog/logger.h>

#include "io/files/folder_lock.h"

namespace eelsvae {

// The folder that a job writes its results into, of one job at a time and of results of one kind. Made at the
// job's beginning, before anything is read, and kept to its end.
class JobFolder {
 public:
  enum class Kind { training, detection, study };

  // UserError, that says what to do, if the folder holds results of another kind or another program writes
  // into it.
  JobFolder(std::filesystem::path folder, Kind kind);

  // Before the first file is written: prepare_output_folder(), whose errors it has. UserError, too, if
  // another program made the folder since.
  void prepare(uint64_t required_bytes = 0);

  // After prepare(), where a job turns out to be refused before it has a result: removes the log and the
  // configuration if they were not there before it, and the folder if it was not and nothing else is in it.
  void take_back();

  // For the log: a warning where nothing keeps other programs out.
  void warn(spdlog::logger& log) const;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::optional<FolderLock> lock_;                // once the folder exists
  bool made_ = false;                             // by prepare(), as were, if anybody writes them,
  std::vector<std::filesystem::path> new_files_;  // these
};

}  // namespace eelsvae
