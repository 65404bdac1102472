#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include <spdlog/logger.h>
#include <nlohmann/json_fwd.hpp>

namespace eelsvae {

// What a program tells its user: info lines on stdout as they are, warnings and errors on stderr with their
// level before them, each written out at once. A progress bar makes room. Debug lines are for log.txt only.
std::shared_ptr<spdlog::logger> make_console_log();

// The same, and every line with its time and level in log.txt of the run folder; append: after what is there,
// as a resumed run does. Throws UserError if log.txt cannot be opened, and from any log call that cannot
// write it.
std::shared_ptr<spdlog::logger> make_run_log(const std::filesystem::path& run_folder, bool append);

// metrics.jsonl: one JSON object a line, a line per epoch; numbers that are not finite become null.
// Appends one line and leaves it to the system to bring it to the disk; on failure the file is as before.
void append_metric(const std::filesystem::path& path, const nlohmann::json& epoch);
// The same for bytes as they are. Throws UserError "cannot write PATH: reason".
void append_bytes(const std::filesystem::path& path, std::string_view bytes);
// Replaces the file by these lines, all or nothing. A resumed run writes the history that its checkpoint
// holds, which drops epochs that the checkpoint does not know and a line that a crash cut short.
void write_metrics(const std::filesystem::path& path, const std::vector<nlohmann::json>& epochs);

}  // namespace eelsvae
