#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/image/spectrum_image.h"
#include "io/files/stored_array.h"

namespace eelsvae {

// What a file's headers say about one image. Axes stand in display order, signal axes last; energies are in
// eV and lengths in nm where the file states a unit that can be converted.
struct ImageInfo {
  std::string title;
  std::string signal;  // HyperSpy's signal type: "EELS", "EDS_TEM", "" if the file does not say
  std::string kind;    // image_kind()
  std::vector<int64_t> shape;
  std::string dtype;  // as NumPy names it: "int16"
  std::vector<Axis> axes;
  std::string fault;               // why it cannot be read, as a UserError has it; "" if it can
  std::vector<std::string> notes;  // what there is to say of how it was understood
};

// An image in a file, nothing but headers read so far.
struct StoredImage {
  ImageInfo info;
  std::shared_ptr<const ImageValues> values;  // null if they are not numbers that can be read (colours, say)
  // Acquisition metadata as HyperSpy keeps them: {"metadata": {...}, "original_metadata": {...}}.
  std::function<nlohmann::json()> metadata;
};

// A file format: what the table in io/formats/spectrum_image_file.cpp knows of it.
struct ImageFormat {
  const char* name;       // "HyperSpy"
  const char* extension;  // ".hspy", for messages; files are recognised by their content

  // `start` is the file's first 4096 bytes, or fewer if it is shorter; none of a folder.
  bool (*recognises)(const std::string& path, std::string_view start);

  // All images of the file, from its headers, with units as in the file. UserError if they are damaged.
  std::vector<StoredImage> (*open)(const std::string& path);

  // The files that hold an image of which `path` is one; null: no others. UserError as open() has it.
  std::vector<std::string> (*files)(const std::string& path) = nullptr;
};

// "spectrum image" for two navigation axes and one signal axis, "line scan", "single spectrum", "image", ...
std::string image_kind(size_t navigation_axes, size_t signal_axes);

// What open() gives, or, where that throws a UserError, an image of this title that has no axes, the kind
// "damaged image" and that fault: the file's other images can be read.
StoredImage or_fault(const std::string& title, const std::function<StoredImage()>& open);

// Gives an axis the line through the first and the last of its positions. UserError, which begins with
// `context`, if one of them is off it by more than a tenth of a step.
void calibrate_by_positions(Axis& axis, std::span<const double> positions, const std::string& context);

// The same by an array of a file, which has a number for each place of the axis, or two, those of the first
// two; one of another type than integers or floats says nothing. UserError, too, if it has another shape.
void calibrate_by_vector(Axis& axis, const std::vector<int64_t>& shape, const std::string& dtype,
                         const std::function<std::vector<double>()>& numbers, const std::string& context);

}  // namespace eelsvae
