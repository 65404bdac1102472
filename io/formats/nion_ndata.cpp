#include "io/formats/nion_ndata.h"

#include <filesystem>
#include <utility>

#include "io/containers/zip_archive.h"
#include "io/files/json_text.h"
#include "io/files/message_text.h"
#include "io/files/npy.h"
#include "io/formats/nion.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr size_t header_limit = size_t{64} << 10;      // of data.npy
constexpr size_t properties_limit = size_t{64} << 20;  // bytes of JSON

std::shared_ptr<const ZipArchive> archive_at(const std::string& path) {
  return std::make_shared<const ZipArchive>(std::make_shared<const MappedFile>(path));
}

// Archives of NumPy arrays, too, can begin with data.npy. One that cannot be opened is left to them to
// report.
bool recognises_ndata(const std::string& path, std::string_view start) {
  const std::string_view first = first_zip_member(start);
  if (first == "metadata.json") return true;
  if (first != "data.npy") return false;
  try {
    return archive_at(path)->find("metadata.json") != nullptr;
  } catch (const UserError&) {
    return false;
  }
}

const ZipMember& required(const ZipArchive& archive, const char* name) {
  const ZipMember* member = archive.find(name);
  if (!member) throw UserError(archive.file().path() + ": its member '" + name + "' is missing");
  return *member;
}

std::vector<StoredImage> open_ndata(const std::string& path) {
  const auto archive = archive_at(path);
  const ZipMember& described = required(*archive, "metadata.json");
  const ZipMember& data = required(*archive, "data.npy");
  const std::vector<std::byte> text = archive->read(described, properties_limit);
  const nlohmann::json properties = parse_json_object(
      {reinterpret_cast<const char*>(text.data()), text.size()}, archive->context(described));
  const std::vector<std::byte> start = archive->read_start(data, header_limit);
  const NpyHeader header = parse_npy_header(start, data.size, archive->context(data));

  ImageInfo info =
      nion_image_info(properties, header.shape, element_name(header.type), archive->context(described));
  if (info.title.empty()) info.title = one_line(std::filesystem::path(path).stem().string());
  // Swift computes the checksum of the numbers in C order, whatever the order in which it stores them.
  std::shared_ptr<const ImageValues> values;
  if (info.shape == header.shape)  // and not colours
    values = zip_values(archive, data, header.data_offset, stored_array(header),
                        header.fortran_order ? Checksum::ignored : Checksum::compared);
  return {{std::move(info), std::move(values), [properties] { return nion_metadata(properties); }}};
}

}  // namespace

const ImageFormat nion_ndata_format = {"Nion", ".ndata", recognises_ndata, open_ndata};

}  // namespace eelsvae
