#include "io/formats/npz_image.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "io/containers/zip_archive.h"
#include "io/files/message_text.h"
#include "io/files/npy.h"
#include "io/formats/npy_image.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr size_t header_limit = size_t{64} << 10;  // a version 1 header's longest
constexpr size_t axis_limit = size_t{16} << 20;    // two million channels
constexpr double tolerance = 0.1;                  // of a channel

struct Member {
  const ZipMember* member;
  std::string name;  // without .npy
  NpyHeader header;
  bool is_axis = false;
};

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool is_energy(const std::string& name) {
  const std::string lower = lower_case(name);
  for (const char* known : {"energy", "ev", "e", "energy_loss", "eloss", "energies", "energy_axis"}) {
    if (lower == known) return true;
  }
  return false;
}

bool names_axis(const Member& m) {
  const std::string lower = lower_case(m.name);
  return m.header.shape.size() == 1 && (is_energy(lower) || lower == "x" || lower == "y");
}

// The arrays of numbers, `data` first. Members of other types only describe something, unless there is
// nothing else.
std::vector<Member> read_headers(const ZipArchive& archive) {
  std::vector<Member> members;
  std::optional<NpyTypeError> unreadable;
  for (const ZipMember& member : archive.members()) {
    if (!member.name.ends_with(".npy")) continue;
    try {
      const std::vector<std::byte> start = archive.read_start(member, header_limit);
      members.push_back({&member, member.name.substr(0, member.name.size() - 4),
                         parse_npy_header(start, member.size, archive.context(member))});
    } catch (const NpyTypeError& error) {
      if (!unreadable) unreadable = error;
    }
  }
  if (members.empty() && unreadable) throw *unreadable;
  std::stable_partition(members.begin(), members.end(), [](const Member& m) { return m.name == "data"; });
  const bool images = !std::all_of(members.begin(), members.end(), names_axis);
  for (Member& m : members) m.is_axis = images && names_axis(m);
  return members;
}

// Doubles stay doubles, as energies are often wanted to more digits than a float has.
std::vector<double> read_numbers(const ZipArchive& archive, const Member& m) {
  const std::vector<std::byte> content = archive.read(*m.member, axis_limit);
  if (m.header.type != ElementType::float64) {
    const std::vector<float> values = decode_npy(content, archive.context(*m.member)).values;
    return {values.begin(), values.end()};
  }
  std::vector<double> values;
  for (int64_t i = 0; i < m.header.elements; ++i) {
    uint64_t bits;
    std::memcpy(&bits, content.data() + m.header.data_offset + static_cast<size_t>(i) * sizeof bits,
                sizeof bits);
    values.push_back(std::bit_cast<double>(m.header.big_endian ? __builtin_bswap64(bits) : bits));
  }
  return values;
}

// The line through the first and the last of the numbers.
void calibrate(Axis& axis, const std::vector<double>& numbers, const char* units,
               const std::string& context) {
  axis.units = units;
  axis.offset = numbers.front();
  axis.scale = numbers.size() == 1 ? 1 : (numbers.back() - numbers.front()) / double(numbers.size() - 1);
  for (size_t i = 0; i < numbers.size(); ++i) {
    const double even = axis.value(double(i)), off = std::abs(numbers[i] - even);
    if (off <= tolerance * std::abs(axis.scale)) continue;
    char text[200];
    std::snprintf(text, sizeof text,
                  " is not even: number %zu is %.7g, %.7g was expected, more than %g of a step off; "
                  "interpolate the data to an even axis first",
                  i, numbers[i], even, tolerance);
    throw UserError(context + text);
  }
}

// Which axis an energy array of this length belongs to.
std::optional<size_t> energy_axis(const std::vector<int64_t>& shape, int64_t length) {
  if (length == 0 || shape.empty()) return std::nullopt;
  if (shape.back() == length) return shape.size() - 1;
  if (std::count(shape.begin(), shape.end(), length) != 1) return std::nullopt;
  return static_cast<size_t>(std::find(shape.begin(), shape.end(), length) - shape.begin());
}

template <class T>
void move_last(std::vector<T>& values, size_t index) {
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(index);
  std::rotate(place, place + 1, values.end());
}

class Archive {
 public:
  explicit Archive(const std::string& path)
      : path_(path),
        archive_(std::make_shared<const ZipArchive>(std::make_shared<const MappedFile>(path))),
        members_(read_headers(*archive_)) {}

  std::vector<StoredImage> images() {
    std::vector<StoredImage> images;
    for (const Member& m : members_) {
      if (!m.is_axis && !m.header.shape.empty()) images.push_back(image(m));
    }
    if (images.size() == 1) images[0].info.title = std::filesystem::path(path_).stem().string();
    for (const Member& m : members_) {
      if (m.is_axis && is_energy(m.name) && !images.empty() && !std::count(used_.begin(), used_.end(), &m))
        throw UserError(archive_->context(*m.member) + ": " + std::to_string(m.header.elements) +
                        " energies, but no array has an axis of that length");
    }
    return images;
  }

 private:
  StoredImage image(const Member& m) {
    StoredArray array = stored_array(m.header);
    ImageInfo info = array_info(one_line(m.name), m.header);
    for (const Member& axis : members_) {
      const auto place =
          axis.is_axis && is_energy(axis.name) ? energy_axis(info.shape, axis.header.elements) : std::nullopt;
      if (!place) continue;
      move_last(array.shape, *place);
      move_last(array.stride, *place);
      info.shape = array.shape;
      info.kind = image_kind(info.shape.size() - 1, 1);
      NpyHeader reordered = m.header;
      reordered.shape = info.shape;
      info.axes = array_info("", reordered).axes;
      info.axes.back().name = "Energy loss";
      if (info.axes.size() == 2) info.axes[0].name = "x";  // of a line scan
      use(axis, info.axes.back(), "eV");
      break;
    }
    for (const Member& axis : members_) {
      for (Axis& target : info.axes) {
        if (axis.is_axis && lower_case(axis.name) == target.name && axis.header.elements == target.size &&
            target.size > 0)
          use(axis, target, "nm");
      }
    }
    return {std::move(info), zip_values(archive_, *m.member, m.header.data_offset, std::move(array)),
            [] { return nlohmann::json::object(); }};
  }

  void use(const Member& m, Axis& axis, const char* units) {
    calibrate(axis, read_numbers(*archive_, m), units, archive_->context(*m.member));
    used_.push_back(&m);
  }

  std::string path_;
  std::shared_ptr<const ZipArchive> archive_;
  std::vector<Member> members_;
  std::vector<const Member*> used_;
};

bool recognises_npz(const std::string&, std::string_view start) {
  return first_zip_member(start).ends_with(".npy");
}

std::vector<StoredImage> open_npz(const std::string& path) {
  return Archive(path).images();
}

}  // namespace

const ImageFormat npz_format = {"NumPy archive", ".npz", recognises_npz, open_npz};

}  // namespace eelsvae
