#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace eelsvae {

// Names the kernels of this program, by a digest of their sources.
std::string kernels_version();

// Which of several ways to compute was the fastest, remembered between processes in
// $XDG_CACHE_HOME/eelsvae/plans.json (~/.cache if the variable is not set). What was measured on one device
// with one set of libraries and kernels says nothing about another, so each such set has a section of its
// own.
//
// Between processes it only saves time: a file that is missing, damaged or not writable is the same as an
// empty one. Within a process what was found or chosen once stays, whatever becomes of the file: two layers
// of one kind, or two models, then round alike.
class PlanCache {
 public:
  explicit PlanCache(std::string section) : section_(std::move(section)) {}

  std::optional<std::string> find(const std::string& key) const;
  // Remembers `name` unless another thread or process has meanwhile remembered something else than `seen`,
  // which is what find(key) gave before. Returns what is remembered now, so that all who measured at the same
  // time take the same.
  std::string remember(const std::string& key, const std::string& name,
                       const std::optional<std::string>& seen) const;

 private:
  // The same in the file.
  std::string write(const std::filesystem::path& file, const std::string& key, const std::string& name,
                    const std::optional<std::string>& seen) const;
  std::string section_;
};

// Index of the fastest of several ways to do the same: the one that the cache names under `key`, or else the
// one for which seconds(i) is least, which the cache then remembers. Ways for which seconds(i) throws are
// passed over; if all do, so does this. A UserError, such as that memory does not suffice, is no way's fault
// and goes through. A single way is not measured.
size_t fastest(const PlanCache& cache, const std::string& key, const std::vector<std::string>& names,
               const std::function<double(size_t)>& seconds);

}  // namespace eelsvae
