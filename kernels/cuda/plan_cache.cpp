#include "kernels/cuda/plan_cache.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <system_error>

#include "kernels/cuda/library_versions.h"

namespace eelsvae::EELSVAE_GPU {
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

}  // namespace

PlanCache::PlanCache(const DeviceProperties& device)
    : PlanCache(device.name + ", compute capability " + std::to_string(device.major) + "." +
                std::to_string(device.minor) + ", " + library_versions()) {}

std::optional<std::string> PlanCache::find(const std::string& key) const {
  const Json plans = read(cache_file());
  const auto section = plans.find(section_);
  if (section == plans.end() || !section->is_object()) return std::nullopt;
  const auto name = section->find(key);
  if (name == section->end() || !name->is_string()) return std::nullopt;
  return name->get<std::string>();
}

void PlanCache::remember(const std::string& key, const std::string& name) const {
  const std::filesystem::path file = cache_file();
  if (file.empty()) return;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);

  std::error_code ignored;
  std::filesystem::create_directories(file.parent_path(), ignored);
  Json plans = read(file);
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
}

}  // namespace eelsvae::EELSVAE_GPU
