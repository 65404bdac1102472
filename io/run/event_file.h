#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace eelsvae {

// Curves of a run for TensorBoard: a file "events.out.tfevents.<seconds>.eelsvae" in the run's folder. Every
// program run writes a file of its own, which begins with the first curve point; TensorBoard joins them.
class EventFile {
 public:
  explicit EventFile(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Points at a step, counted from 1, of the curves with these names, all in the file when it returns.
  // UserError where that cannot be: the file keeps what it had.
  void add(int64_t step, const std::vector<std::pair<std::string, double>>& values);

  // Whether a file of a run's folder is one of these.
  static bool is_one(const std::filesystem::path& path);

 private:
  std::filesystem::path folder_, path_;
};

// A record of such a file: length, data and their masked CRC-32C checksums, as TensorFlow's record_writer has
// them.
std::string event_record(const std::string& data);

}  // namespace eelsvae
