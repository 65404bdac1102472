#include "io/run/job_folder.h"

#include <string>
#include <system_error>
#include <utility>

#include "io/files/output_folder.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

// A file that tells whose results a folder holds. Not those that several kinds have, as config.json.
struct Mark {
  const char* file;
  JobFolder::Kind kind;
  const char* what;  // the folder then holds
};
constexpr Mark marks[] = {
    {"last.safetensors", JobFolder::Kind::training, "a training run"},
    {"model.safetensors", JobFolder::Kind::training, "a training run"},
    {"metrics.jsonl", JobFolder::Kind::training, "a training run"},
    {"summary.json", JobFolder::Kind::detection, "a detection"},
    {"scores.npy", JobFolder::Kind::detection, "a detection"},
    {"cells.jsonl", JobFolder::Kind::study, "a study"},
    {"scenes.json", JobFolder::Kind::study, "a study"},
};

}  // namespace

JobFolder::JobFolder(fs::path folder, Kind kind) : path_(std::move(folder)) {
  std::error_code ignored;  // prepare() says what is wrong with the folder
  if (!fs::is_directory(path_, ignored)) return;
  lock_.emplace(path_);
  for (const Mark& mark : marks)
    if (mark.kind != kind && fs::exists(path_ / mark.file, ignored))
      throw UserError("output folder " + path_.string() + ": holds " + mark.what + " (" + mark.file +
                      "), with which other results would be mixed; choose another --output");
}

void JobFolder::prepare(uint64_t required_bytes) {
  made_ = prepare_output_folder(path_, required_bytes);
  new_files_.clear();
  std::error_code ignored;
  for (const char* file : {"log.txt", "config.json"})
    if (!fs::exists(path_ / file, ignored)) new_files_.push_back(path_ / file);
  if (lock_) return;
  if (!made_)
    throw UserError("output folder " + path_.string() +
                    ": another program made it in the meantime; choose another --output");
  lock_.emplace(path_);
}

void JobFolder::take_back() {
  std::error_code ignored;  // what cannot be removed stays
  for (const fs::path& file : new_files_) fs::remove(file, ignored);
  lock_.reset();
  if (made_) fs::remove(path_.has_filename() ? path_ : path_.parent_path(), ignored);
}

void JobFolder::warn(spdlog::logger& log) const {
  if (lock_ && !lock_->warning().empty()) log.warn("{}", lock_->warning());
}

}  // namespace eelsvae
