#include "io/formats/zspy.h"

#include <utility>

#include "io/containers/zarr.h"
#include "io/containers/zip_archive.h"
#include "io/files/message_text.h"
#include "io/formats/hyperspy.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

class HspyInZarr : public HyperspyFile {
 public:
  explicit HspyInZarr(const std::string& path) : tree_(std::make_shared<const zarr::Tree>(path)) {}

  const zarr::Tree& root() const { return *tree_; }

  bool has_group(const std::string& name, const std::string&) const override {
    return tree_->has_group(name);
  }
  bool has_array(const std::string& name, const std::string&) const override {
    return tree_->has_array(name);
  }
  std::vector<std::string> members(const std::string& group, const std::string&) const override {
    return tree_->members(group);
  }
  nlohmann::json attribute(const std::string& object, const std::string& name,
                           const std::string&) const override {
    return tree_->attributes(object).value(name, nlohmann::json());
  }
  nlohmann::json tree(const std::string& group, const std::vector<std::string>& skip,
                      const std::string&) const override {
    return tree_->group_as_json(group, skip);
  }
  std::vector<int64_t> shape(const std::string& array, const std::string&) const override {
    return tree_->array(array).shape;
  }
  std::string dtype(const std::string& array, const std::string&) const override {
    return tree_->array(array).dtype;
  }
  std::vector<double> numbers(const std::string& array, const std::string& context) const override {
    constexpr int64_t most = int64_t{1} << 20;
    const auto values = tree_->small_array(tree_->array(array), most);
    if (!values || !values->is_array())
      throw UserError(context + ": one dimension of at most " + std::to_string(most) + " numbers is needed");
    std::vector<double> numbers;
    for (const nlohmann::json& value : *values) numbers.push_back(value.get<double>());
    return numbers;
  }
  std::shared_ptr<const ImageValues> values(const std::string& array, std::vector<size_t> order,
                                            std::vector<std::string>& notes,
                                            const std::string&) const override {
    return zarr::array_values(tree_, tree_->array(array), std::move(order), notes);
  }

 private:
  std::shared_ptr<const zarr::Tree> tree_;
};

std::vector<StoredImage> open_zspy(const std::string& path) {
  if (!zarr::is_tree(path))
    throw UserError(path +
                    ": is a zipped .zspy; unpack it into a folder and give that: unzip -d scan.zspy FILE");
  const auto file = std::make_shared<const HspyInZarr>(path);
  const zarr::Tree& root = file->root();
  if (!root.has_group("Experiments")) {
    std::string found;
    const std::vector<std::string> names = root.has_group("") ? root.members("") : std::vector<std::string>();
    for (size_t i = 0; i < names.size() && i < 6; ++i)
      found += (i ? ", '" : "'") + one_line(names[i].substr(0, 40)) + "'";
    throw UserError(root.place("") + ": a Zarr folder, but not of HyperSpy; at its top " +
                    (names.empty() ? "is no group" : "are " + found + (names.size() > 6 ? ", ..." : "")) +
                    "; save its array as .npz with data and energy");
  }
  return hyperspy_images(file, root.place(""));
}

bool recognises_zspy(const std::string& path, std::string_view start) {
  if (start.empty()) return zarr::is_tree(path);
  const std::string_view first = first_zip_member(start);
  return first.ends_with(".zgroup") || first.ends_with(".zattrs") || first.ends_with(".zarray") ||
         first.ends_with("zarr.json");
}

}  // namespace

const ImageFormat zspy_format = {"HyperSpy in Zarr", ".zspy", recognises_zspy, open_zspy};

}  // namespace eelsvae
