#include "kernels/plan_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <system_error>

#include "kernels/error.h"

namespace eelsvae {
namespace {

using Json = nlohmann::json;

// Empty if the user has no folder for such files.
std::filesystem::path cache_file() {
  const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
  // Relative paths are to be ignored, says the XDG Base Directory Specification.
  if (cache && std::filesystem::path(cache).is_absolute())
    return std::filesystem::path(cache) / "eelsvae" / "plans.json";
  if (home && *home) return std::filesystem::path(home) / ".cache" / "eelsvae" / "plans.json";
  return {};
}

// {section: {key: name}}
Json read(const std::filesystem::path& file) {
  std::ifstream stream(file);
  Json plans = Json::parse(stream, nullptr, /*allow_exceptions=*/false);
  return plans.is_object() ? plans : Json::object();
}

std::optional<std::string> entry(const Json& plans, const std::string& section, const std::string& key) {
  const auto found = plans.find(section);
  if (found == plans.end() || !found->is_object()) return std::nullopt;
  const auto name = found->find(key);
  if (name == found->end() || !name->is_string()) return std::nullopt;
  return name->get<std::string>();
}

// Among threads and processes, one at a time. Where no file can be made, nobody writes either.
class Lock {
 public:
  explicit Lock(const std::filesystem::path& file) : descriptor_(open(file.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ >= 0) flock(descriptor_, LOCK_EX);
  }
  ~Lock() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  int descriptor_;
};

// What this process has found in a cache file, or has chosen where there is none. Of the process and not of a
// backend: models round alike whichever backend each was made on. One thread at a time.
struct InProcess {
  using Key = std::array<std::string, 3>;  // file, section, key
  std::mutex mutex;
  std::map<Key, std::string> names;

  std::optional<std::string> find(const Key& key) const {
    const auto found = names.find(key);
    return found == names.end() ? std::nullopt : std::optional(found->second);
  }
};
InProcess& in_process() {
  static InProcess all;
  return all;
}

}  // namespace

std::string kernels_version() {
  return EELSVAE_KERNELS_VERSION;
}

std::optional<std::string> PlanCache::find(const std::string& key) const {
  const std::filesystem::path file = cache_file();
  const InProcess::Key own = {file.string(), section_, key};
  InProcess& process = in_process();
  const std::lock_guard guard(process.mutex);
  if (const std::optional<std::string> name = process.find(own)) return name;
  const std::optional<std::string> name = entry(read(file), section_, key);
  if (name) process.names[own] = *name;
  return name;
}

std::string PlanCache::remember(const std::string& key, const std::string& name,
                                const std::optional<std::string>& seen) const {
  const std::filesystem::path file = cache_file();
  const InProcess::Key own = {file.string(), section_, key};
  InProcess& process = in_process();
  const std::lock_guard guard(process.mutex);
  if (const std::optional<std::string> now = process.find(own); now && now != seen) return *now;
  return process.names[own] = write(file, key, name, seen);
}

std::string PlanCache::write(const std::filesystem::path& file, const std::string& key,
                             const std::string& name, const std::optional<std::string>& seen) const {
  if (file.empty()) return name;
  std::error_code ignored;
  std::filesystem::create_directories(file.parent_path(), ignored);
  const Lock lock(file.parent_path());
  Json plans = read(file);
  if (const std::optional<std::string> now = entry(plans, section_, key); now && now != seen) return *now;
  Json& section = plans[section_];
  if (!section.is_object()) section = Json::object();
  section[key] = name;

  // Readers see the old file or the new one, never a part.
  std::filesystem::path temporary = file;
  temporary += '.';
  temporary += std::to_string(getpid());
  temporary += ".tmp";
  std::ofstream stream(temporary, std::ios::trunc);
  stream << plans.dump(1, ' ', false, Json::error_handler_t::replace) << '\n';
  stream.close();
  if (stream) std::filesystem::rename(temporary, file, ignored);
  if (!stream || ignored) std::filesystem::remove(temporary, ignored);
  return name;
}

size_t fastest(const PlanCache& cache, const std::string& key, const std::vector<std::string>& names,
               const std::function<double(size_t)>& seconds) {
  expect(!names.empty(), "nothing to choose from");
  if (names.size() == 1) return 0;
  const auto index_of = [&](const std::string& name) -> std::optional<size_t> {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) return std::nullopt;
    return static_cast<size_t>(found - names.begin());
  };
  const std::optional<std::string> seen = cache.find(key);
  if (seen)
    if (const std::optional<size_t> known = index_of(*seen)) return *known;
  std::optional<size_t> best;
  double least = 0;
  std::string failures;
  for (size_t i = 0; i < names.size(); ++i) {
    try {
      const double time = seconds(i);
      if (!best || time < least) best = i, least = time;
    } catch (const UserError&) {
      throw;
    } catch (const std::exception& error) {
      failures += "; " + names[i] + ": " + error.what();
    }
  }
  if (!best) throw std::runtime_error(key + ": nothing that the library offers runs" + failures);
  return index_of(cache.remember(key, names[*best], seen)).value_or(*best);
}

}  // namespace eelsvae
