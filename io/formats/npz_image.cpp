#include "io/formats/npz_image.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "engine/image/units.h"
#include "io/containers/zip_archive.h"
#include "io/files/message_text.h"
#include "io/files/npy.h"
#include "io/formats/npy_image.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr size_t header_limit = size_t{64} << 10;  // a version 1 header's longest
constexpr size_t axis_limit = size_t{16} << 20;    // two million channels

struct Member {
  const ZipMember* member;
  std::string name;  // without .npy
  NpyHeader header;
  bool is_axis = false;
};

// The name's letters and digits of ASCII, in small letters: "Energy_Loss" is "energyloss", "Énergie"
// "nergie".
std::string plain(const std::string& name) {
  std::string letters;
  for (const unsigned char c : name) {
    if (std::isalnum(c)) letters += static_cast<char>(std::tolower(c));
  }
  return letters;
}

bool is_energy(const std::string& name) {
  const std::string letters = plain(name);
  return letters == "e" || letters == "ev" || letters == "loss" ||
         letters.find("nerg") != std::string::npos || letters.find("eloss") != std::string::npos;
}

// "energy_keV" says its unit. A name without one is in eV.
std::string_view energy_unit(const std::string& name) {
  const std::string_view unit = energy_unit_in(name);
  return unit.empty() ? "eV" : unit;
}

// The axis of a plot of spectra, which is the energy if its length is that of no other axis.
bool may_be_energy(const std::string& name) {
  const std::string letters = plain(name);
  return letters == "axis" || letters == "xaxis" || letters == "signalaxis" || letters == "spectralaxis";
}

// (n,), (1, n) or (n, 1)
bool is_vector(const NpyHeader& header) {
  return header.shape.size() == 1 ||
         (header.shape.size() == 2 && std::min(header.shape[0], header.shape[1]) == 1);
}

bool names_axis(const Member& m) {
  const std::string letters = plain(m.name);
  return is_vector(m.header) &&
         (is_energy(m.name) || may_be_energy(m.name) || letters == "x" || letters == "y");
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

// Which axis an energy array of this length belongs to; of several, the last, if the array's name is certain.
std::optional<size_t> energy_axis(const std::vector<int64_t>& shape, int64_t length, bool certain) {
  if (length == 0 || shape.empty()) return std::nullopt;
  if (certain && shape.back() == length) return shape.size() - 1;
  if (std::count(shape.begin(), shape.end(), length) != 1) return std::nullopt;
  return static_cast<size_t>(std::find(shape.begin(), shape.end(), length) - shape.begin());
}

// Whether an axis has a channel less than there are energies, which are then the channels' edges.
bool are_edges(const Axis& axis, const Member& energies) {
  return energies.header.elements == axis.size + 1;
}

std::vector<double> centres(const std::vector<double>& edges) {
  std::vector<double> between;
  for (size_t i = 0; i + 1 < edges.size(); ++i) between.push_back(0.5 * (edges[i] + edges[i + 1]));
  return between;
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
                        " energies, but no array has one axis of that length: " + arrays());
    }
    return images;
  }

 private:
  // "data (24, 24, 96), x_axis (96,)", for messages.
  std::string arrays() const {
    std::string text;
    for (const Member& m : members_)
      text += (text.empty() ? "" : ", ") + one_line(m.name) + " " + shape_text(m.header.shape);
    return text;
  }

  // What should be known of the energies of an image (y, x, E) of this shape.
  std::vector<std::string> notes(const ImageInfo& info, const Member* energies) const {
    const std::vector<int64_t>& shape = info.shape;
    if (energies && are_edges(info.axes.back(), *energies))
      return {"The " + std::to_string(energies->header.elements) + " energies in '" +
              one_line(energies->name) + "' are taken for the edges of " +
              std::to_string(info.axes.back().size) +
              " channels, whose energies are the centres between them"};
    // In eV a vibrational spectrum may have such channels, but it begins at its zero loss or near it.
    const double first = info.axes.back().value(0);
    const double step = std::abs(info.axes.back().scale);
    if (energies && energy_unit_in(energies->name).empty() && first > 0.08 && step < 0.001)
      return {"The energies in '" + one_line(energies->name) +
              "' name no unit and are taken for eV; if they are keV, call the array energy_keV"};
    if (energies && std::count(shape.begin(), shape.end(), energies->header.elements) > 1)
      return {"The energies in '" + one_line(energies->name) +
              "' fit several axes and are taken for the last (" + arrays() +
              "); if they are another's, give data.axes with data.energy_offset and data.dispersion"};
    const bool unused = !energies && std::ranges::any_of(members_, [&](const Member& m) {
      return is_vector(m.header) && std::count(shape.begin(), shape.end(), m.header.elements) > 0 &&
             plain(m.name) != "x" && plain(m.name) != "y";
    });
    if (!unused) return {};
    return {"No array is known to be the energies (" + arrays() +
            "); call it energy, or give data.energy_offset and data.dispersion"};
  }

  StoredImage image(const Member& m) {
    StoredArray array = stored_array(m.header);
    ImageInfo info = array_info(one_line(m.name), m.header);
    const Member* energies = nullptr;
    for (const Member& axis : members_) {
      const bool certain = is_energy(axis.name);
      auto place = axis.is_axis && (certain || may_be_energy(axis.name))
                       ? energy_axis(info.shape, axis.header.elements, certain)
                       : std::nullopt;
      if (!place && axis.is_axis && certain)
        place = energy_axis(info.shape, axis.header.elements - 1, certain);
      if (!place) continue;
      energies = &axis;
      move_last(array.shape, *place);
      move_last(array.stride, *place);
      info.shape = array.shape;
      info.kind = image_kind(info.shape.size() - 1, 1);
      NpyHeader reordered = m.header;
      reordered.shape = info.shape;
      info.axes = array_info("", reordered).axes;
      info.axes.back().name = "Energy loss";
      if (info.axes.size() == 2) info.axes[0].name = "x";  // of a line scan
      use(axis, info.axes.back(), energy_unit(axis.name));
      break;
    }
    info.notes = notes(info, energies);
    for (const Member& axis : members_) {
      for (Axis& target : info.axes) {
        if (axis.is_axis && plain(axis.name) == target.name && axis.header.elements == target.size &&
            target.size > 0)
          use(axis, target, "nm");
      }
    }
    return {std::move(info), zip_values(archive_, *m.member, m.header.data_offset, std::move(array)),
            [] { return nlohmann::json::object(); }};
  }

  void use(const Member& m, Axis& axis, std::string_view units) {
    axis.units = units;
    const std::vector<double> numbers = read_numbers(*archive_, m);
    calibrate_by_positions(axis, are_edges(axis, m) ? centres(numbers) : numbers,
                           archive_->context(*m.member));
    used_.push_back(&m);
  }

  std::string path_;
  std::shared_ptr<const ZipArchive> archive_;
  std::vector<Member> members_;
  std::vector<const Member*> used_;
};

bool recognises_npz(const std::string&, std::string_view start) {
  return first_zip_member(start).ends_with(".npy") || start.starts_with("PK\5\6");  // of no member
}

std::vector<StoredImage> open_npz(const std::string& path) {
  return Archive(path).images();
}

}  // namespace

const ImageFormat npz_format = {"NumPy archive", ".npz", recognises_npz, open_npz};

}  // namespace eelsvae
