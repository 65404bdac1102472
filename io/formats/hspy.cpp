#include "io/formats/hspy.h"

#include "io/containers/hdf5.h"
#include "io/formats/hyperspy.h"

namespace eelsvae {
namespace {

class HspyInHdf5 : public HyperspyFile {
 public:
  explicit HspyInHdf5(const std::string& path) : root_(hdf5::open_file(path)) {}

  bool has_group(const std::string& name, const std::string& context) const override {
    return hdf5::has_group(root_, name, context);
  }
  bool has_array(const std::string& name, const std::string& context) const override {
    return hdf5::has_dataset(root_, name, context);
  }
  std::vector<std::string> members(const std::string& group, const std::string& context) const override {
    return hdf5::members(root_.member(group), context);
  }
  nlohmann::json attribute(const std::string& object, const std::string& name,
                           const std::string& context) const override {
    return hdf5::attribute(root_.member(object), name, context);
  }
  nlohmann::json tree(const std::string& group, const std::vector<std::string>& skip,
                      const std::string& context) const override {
    return hdf5::group_as_json(root_.member(group), skip, context);
  }
  std::vector<int64_t> shape(const std::string& array, const std::string& context) const override {
    return hdf5::dataset_shape(root_.member(array), context);
  }
  std::string dtype(const std::string& array, const std::string& context) const override {
    return hdf5::dataset_dtype(root_.member(array), context);
  }
  std::vector<double> numbers(const std::string& array, const std::string& context) const override {
    return hdf5::numbers(root_.member(array), context);
  }
  std::shared_ptr<const ImageValues> values(const std::string& array, std::vector<size_t> order,
                                            std::vector<std::string>&,
                                            const std::string& context) const override {
    return hdf5::dataset_values(root_, array, std::move(order), context);
  }

 private:
  hdf5::Object root_;
};

std::vector<StoredImage> open_hspy(const std::string& path) {
  return hyperspy_images(std::make_shared<const HspyInHdf5>(path), path);
}

bool recognises_hspy(const std::string& path, std::string_view start) {
  if (!hdf5::has_signature(start)) return false;
  const hdf5::Object file = hdf5::open_file(path);
  return hdf5::attribute(file, "file_format", path) == "HyperSpy" ||
         hdf5::has_group(file, "Experiments", path);
}

}  // namespace

const ImageFormat hspy_format = {"HyperSpy", ".hspy", recognises_hspy, open_hspy};

}  // namespace eelsvae
