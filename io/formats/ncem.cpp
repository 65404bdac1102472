#include "io/formats/ncem.h"

#include <algorithm>
#include <cctype>
#include <numeric>
#include <optional>

#include "engine/image/units.h"
#include "io/containers/hdf5.h"
#include "io/files/message_text.h"
#include "io/formats/hdf5_positions.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using hdf5::Object;
using nlohmann::json;

constexpr int deepest_group = 16;
constexpr int most_groups = 10000;

// Paths of the groups that hold data.
class Search {
 public:
  Search(const Object& file, const std::string& path, bool only_first)
      : file_(file), context_(path), only_first_(only_first) {
    visit("", 0);
  }
  std::vector<std::string> found;

 private:
  void visit(const std::string& path, int depth) {
    if (++groups_ > most_groups || depth > deepest_group || (only_first_ && !found.empty())) return;
    const Object group = file_.member(path.empty() ? "/" : path);
    const json type = hdf5::attribute(group, "emd_group_type", context_);
    const json& value = type.is_array() && type.size() == 1 ? type[0] : type;
    if ((value == 1 || value == "1" || value == "array") && hdf5::has_dataset(group, "data", context_))
      found.push_back(path);
    for (const std::string& name : hdf5::members(group, context_)) {
      if (hdf5::has_group(group, name, context_)) visit(path + "/" + name, depth + 1);
    }
  }

  Object file_;
  const std::string& context_;
  bool only_first_;
  int groups_ = 0;  // a group may be reached over several links
};

// "[n_m]" is nm.
std::string plain_units(std::string units) {
  if (units.size() < 2 || units.front() != '[' || units.back() != ']') return units;
  units = units.substr(1, units.size() - 2);
  units.erase(std::remove(units.begin(), units.end(), '_'), units.end());
  return units;
}

std::string text_attribute(const Object& object, const char* name, const std::string& context) {
  const json value = hdf5::attribute(object, name, context);
  return value.is_string() ? one_line(value.get<std::string>()) : "";
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool is_energy(const Axis& axis) {
  const std::string name = lower(axis.name);
  return electronvolts(axis.units) || name.find("energy") != std::string::npos || name == "ev";
}

// Whether positions along it are lengths or their reciprocals.
bool is_space(const Axis& axis) {
  return nanometres(axis.units) || axis.units.find("^-1") != std::string::npos ||
         axis.units.starts_with("1/");
}

// The dataset's axes in display order.
std::vector<size_t> display_order(const std::vector<Axis>& axes, std::optional<size_t> energy) {
  std::vector<size_t> order;
  for (size_t i = 0; i < axes.size(); ++i) {
    if (i != energy) order.push_back(i);
  }
  const auto named = [&](size_t i, const char* name) { return lower(axes[order[i]].name) == name; };
  if (order.size() == 2 && (named(0, "x") || named(1, "y"))) {
    std::swap(order[0], order[1]);
  } else if (energy == 0u && !(order.size() == 2 && (named(0, "y") || named(1, "x")))) {
    std::reverse(order.begin(), order.end());
  }
  if (energy) order.push_back(*energy);
  return order;
}

StoredImage open_image(const Object& file, const std::string& group_path, const std::string& path) {
  const std::string context = path + ": group '" + one_line(group_path) + "'";
  const Object group = file.member(group_path.empty() ? "/" : group_path);
  const Object data = group.member("data");
  const std::vector<int64_t> shape = hdf5::dataset_shape(data, context);
  const int first_dim = hdf5::has_dataset(group, "dim0", context) ? 0 : 1;
  std::vector<Axis> axes;
  for (size_t i = 0; i < shape.size(); ++i) {
    Axis axis;
    axis.size = shape[i];
    const std::string name = "dim" + std::to_string(first_dim + static_cast<int>(i));
    if (hdf5::has_dataset(group, name, context)) {
      const Object dim = group.member(name);
      axis.name = text_attribute(dim, "name", context);
      axis.units = plain_units(text_attribute(dim, "units", context));
      calibrate_by_dataset(axis, dim, context + ", " + name);
    }
    axes.push_back(std::move(axis));
  }

  std::optional<size_t> energy;
  for (size_t i = axes.size(); i-- > 0;) {
    if (is_energy(axes[i])) energy = i;
  }
  const bool certain = energy.has_value();
  if (!energy && axes.size() == 3 && !is_space(axes[2])) energy = 2;
  if (!energy && axes.size() == 1) energy = 0;

  StoredImage image;
  ImageInfo& info = image.info;
  const std::vector<size_t> order = display_order(axes, energy);
  for (const size_t i : order) {
    info.axes.push_back(axes[i]);
    info.shape.push_back(shape[i]);
  }
  const size_t signal_axes = energy ? 1 : std::min<size_t>(axes.size(), 2);
  info.kind = axes.empty() ? "number" : image_kind(axes.size() - signal_axes, signal_axes);
  info.title = one_line(group_path.substr(group_path.rfind('/') + 1));
  info.dtype = hdf5::dataset_dtype(data, context);
  info.signal = text_attribute(group, "signal_type", context);  // HyperSpy's
  if (info.signal.empty() && certain && lower(info.axes.back().name).find("loss") != std::string::npos)
    info.signal = "EELS";
  if (!order.empty()) image.values = hdf5::dataset_values(file, group_path + "/data", order, context);
  image.metadata = [path] {
    const hdf5::Object again = hdf5::open_file(path);
    json original = json::object();
    for (const char* name : {"microscope", "sample", "user", "comments"}) {
      if (!hdf5::has_group(again, name, path)) continue;
      original[name] = hdf5::group_as_json(again.member(name), {}, path + ": " + name);
    }
    return json{{"original_metadata", original}};
  };
  return image;
}

std::vector<StoredImage> open_ncem(const std::string& path) {
  const hdf5::Object file = hdf5::open_file(path);
  std::vector<StoredImage> images;
  const Search search(file, path, false);
  for (const std::string& group : search.found)
    images.push_back(or_fault(one_line(group), [&] { return open_image(file, group, path); }));
  return images;
}

bool recognises_ncem(const std::string& path, std::string_view start) {
  return hdf5::has_signature(start) && !Search(hdf5::open_file(path), path, true).found.empty();
}

}  // namespace

const ImageFormat ncem_format = {"NCEM", ".emd", recognises_ncem, open_ncem};

}  // namespace eelsvae
