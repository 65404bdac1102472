// Files as people in the field have them, which were read wrongly or refused without help.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "engine/prepare/preprocess.h"
#include "io/files/npy.h"
#include "io/formats/hspy.h"
#include "io/formats/image_data.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/io/containers/hdf5_writer.h"
#include "tests/io/containers/zarr_folder.h"
#include "tests/io/containers/zip_file.h"
#include "tests/io/file_test.h"
#include "tests/io/formats/gatan_file.h"

namespace eelsvae {
namespace {

// The i-th count is i.
std::vector<float> counted(size_t size) {
  std::vector<float> values(size);
  std::iota(values.begin(), values.end(), 0.f);
  return values;
}

class FieldCase : public FileTest {
 protected:
  std::string npy(const std::vector<int64_t>& shape) const {
    int64_t size = 1;
    for (const int64_t extent : shape) size *= extent;
    write_npy(path("a.npy"), shape, counted(static_cast<size_t>(size)).data());
    return path("a.npy");
  }
  std::string npz(const std::vector<ZipFileMember>& members) const {
    write_bytes(path("a.npz"), zip_file(members));
    return path("a.npz");
  }
  // A DM4 file of images, each made by GatanFile::image.
  std::string gatan(const std::vector<std::string>& images, const std::vector<std::string>& more = {}) const {
    const GatanFile f;
    std::vector<std::string> root = {f.group("ImageList", images)};
    root.insert(root.end(), more.begin(), more.end());
    write_bytes(path("a.dm4"), f.file(root));
    return path("a.dm4");
  }
  // An image of a HyperSpy file (y, x, E) = (2, 3, 4), the first count chosen, its energies as a DataAxis.
  static void hspy_image(Hdf5Writer& writer, const std::string& title, const std::vector<double>& energies) {
    const std::string group = "Experiments/" + title;
    writer.dataset(group + "/data", {2, 3, 4}, {}, [](int64_t i) { return static_cast<double>(i); });
    for (int axis = 0; axis < 3; ++axis) {
      const std::string name = group + "/axis-" + std::to_string(axis);
      writer.group(name);
      writer.attribute(name, "navigate", axis < 2 ? 1 : 0);
    }
    writer.attribute(group + "/axis-2", "_type", "DataAxis");
    writer.attribute(group + "/axis-2", "units", "eV");
    writer.dataset(group + "/axis-2/axis", energies);
    writer.group(group + "/metadata/Signal");
    writer.attribute(group + "/metadata/Signal", "signal_type", "EELS");
  }
  std::string refusal(const std::string& file, const ReadOptions& options = {}) const {
    return user_error([&] { read_spectrum_image(file, options); });
  }
};

std::string float_tag(const GatanFile& f, size_t size) {
  std::string content;
  for (const float value : counted(size)) content += f.bytes(value);
  return f.value("Data", {20, 6, size}, content);
}

// A spectrum image [x, y, E] = [4, 3, 5] whose energies begin at -Origin * Scale.
std::string gatan_cube(const std::u16string& name, float origin, float scale,
                       const std::u16string& format = u"Spectrum image") {
  const GatanFile f;
  return f.image(name, 2, {{4}, {3}, {5, origin, scale, u"eV"}}, float_tag(f, 60),
                 {f.meta_data(format, u"EELS")});
}

std::string gatan_picture(const std::u16string& name) {
  const GatanFile f;
  return f.image(name, 2, {{4}, {3}}, float_tag(f, 12));
}

std::string floats(const std::string& shape, size_t count) {
  return npy_file("<f4", shape, raw_bytes(counted(count)));
}

std::string doubles(const std::string& shape, const std::vector<double>& values) {
  return npy_file("<f8", shape, raw_bytes(values));
}

// 3
TEST_F(FieldCase, NaNOutsideOfTheUsedEnergies) {
  SpectrumImage image;
  image.y = {"y", "nm", 0, 1, 4};
  image.x = {"x", "nm", 0, 1, 4};
  image.energy = {"E", "eV", 500, 0.5, 40};
  image.counts.assign(640, 7);
  for (int64_t pixel = 0; pixel < 16; ++pixel) {
    image.spectrum(pixel)[0] = image.spectrum(pixel)[5] = NAN;
    image.spectrum(pixel)[39] = INFINITY;
  }
  write_hspy(path("a.hspy"), image);
  Config config;
  config.data.energy_range = {{504, 513}};
  PreprocessConfig steps;
  steps.despike = 8;  // looks beyond the range
  const ReducedImage reduced =
      eelsvae::reduce(open_image_data(path("a.hspy"), config), steps, config.data.energy_range);
  EXPECT_EQ(reduced.image.energy, (Axis{"E", "eV", 504, 0.5, 19}));
  EXPECT_EQ(reduced.image.counts, CountArray(16 * 19, 7));
  EXPECT_EQ(reduced.notes.front(),
            "7 channels outside of the energies used left out, for some pixels are not finite there");
  EXPECT_EQ(
      user_error([&] { eelsvae::reduce(open_image_data(path("a.hspy"), {}), {}, std::nullopt); }),
      path("a.hspy") +
          ": 16 pixels hold counts that are not finite (NaN or infinite), the first at (y, x, channel) = "
          "(0, 0, 0); replace them, or leave the pixels out with data.exclude_path or data.exclude; every "
          "pixel is finite in data.energy_range=503,519");
}

// 6
TEST_F(FieldCase, ADataAxisThatIsEven) {
  {
    Hdf5Writer writer(path("a.hspy"));
    hspy_image(writer, "even", {500, 500.5, 501, 501.5});
  }
  EXPECT_EQ(read_spectrum_image(path("a.hspy")).energy, (Axis{"", "eV", 500, 0.5, 4}));
}

TEST_F(FieldCase, AnImageThatCannotBeReadDoesNotHideOthers) {
  {
    Hdf5Writer writer(path("a.hspy"));
    hspy_image(writer, "a uneven", {500, 501, 505, 506});
    hspy_image(writer, "b even", {500, 500.5, 501, 501.5});
  }
  const std::vector<ImageInfo> images = list_images(path("a.hspy"));
  ASSERT_EQ(images.size(), 2u);
  EXPECT_EQ(images[0].kind, "damaged image");
  EXPECT_NE(images[0].fault.find("axis-2 is not even"), std::string::npos) << images[0].fault;
  const SpectrumImage image = read_spectrum_image(path("a.hspy"));
  EXPECT_EQ(image.title, "b even");
  ASSERT_EQ(image.notes.size(), 1u);
  EXPECT_NE(image.notes[0].find("0 'a uneven', damaged"), std::string::npos) << image.notes[0];
  EXPECT_NE(refusal(path("a.hspy"), {.dataset = 0}).find("s.interpolate_on_axis(\"uniform\", -1)"),
            std::string::npos);
}

// 7
TEST_F(FieldCase, FallingEnergies) {
  const SpectrumImage image = read_spectrum_image(
      npz({{"X.npy", floats("(1, 2, 4)", 8)}, {"ev.npy", doubles("(4,)", {16, 14, 12, 10})}}));
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 10, 2, 4}));
  EXPECT_EQ(image.counts, (CountArray{3, 2, 1, 0, 7, 6, 5, 4}));
  EXPECT_EQ(image.notes,
            std::vector<std::string>{"The energies fall with the channel; the spectra were turned round"});
}

// 8
TEST_F(FieldCase, LowAndHighLossInOneGatanFile) {
  const GatanFile f;
  const std::string file =
      gatan({gatan_picture(u"thumbnail"), gatan_picture(u"survey"), gatan_picture(u"HAADF"),
             gatan_cube(u"low loss", 2, 10), gatan_cube(u"high loss", -500, 1)},
            {f.group("Thumbnails", {f.group("", {f.u32("ImageIndex", 0)})})});
  const SpectrumImage high = read_spectrum_image(file);
  EXPECT_EQ(high.title, "high loss");
  EXPECT_EQ(high.notes, std::vector<std::string>{
                            "Image 3 'high loss', a spectrum image (3, 4, 5) of EELS, 500 to 504 eV is "
                            "taken; the file also holds 2 'low loss', a spectrum image (3, 4, 5) of "
                            "EELS, -20 to 20 eV; data.dataset chooses"});
  ReadOptions options;
  options.energy_range = {{-15, 15}};
  EXPECT_EQ(read_spectrum_image(file, options).title, "low loss");
  options.energy_range = {{501, 900}};
  EXPECT_EQ(read_spectrum_image(file, options).title, "high loss");
  options.energy_range = {{600, 900}};
  EXPECT_EQ(refusal(file, options),
            file +
                ": data.energy_range leaves no channel; the image's axis is 500 to 504 eV (5 "
                "channels of 1 eV)");
  options.dataset = 2;
  options.energy_range.reset();
  EXPECT_EQ(read_spectrum_image(file, options).title, "low loss");
  EXPECT_TRUE(read_spectrum_image(file, options).notes.empty());
}

// A low loss is taken last even where it comes first and both hold the range.
TEST_F(FieldCase, TheZeroLossIsNotTakenBesideACoreLoss) {
  const std::string file = gatan({gatan_cube(u"low", 1, 200), gatan_cube(u"core", -1, 200)});
  EXPECT_EQ(read_spectrum_image(file).title, "core");
  ReadOptions options;
  options.energy_range = {{250, 500}};
  EXPECT_EQ(read_spectrum_image(file, options).title, "core");
}

// The drift is measured in the low loss of the same file.
TEST_F(FieldCase, TheLowLossBesideACoreLossTellsTheDrift) {
  Config config;
  config.preprocess.align_path = gatan({gatan_cube(u"core", -500, 1), gatan_cube(u"low", 2, 10)});
  EXPECT_EQ(open_drift_image(config)->image.title, "low");
  config.preprocess.align_dataset = 0;
  EXPECT_EQ(open_drift_image(config)->image.title, "core");
}

// 9
TEST_F(FieldCase, AStackOfEnergyPlanes) {
  EXPECT_NE(
      refusal(gatan({GatanFile().image(u"", 2, {{4}, {3}, {5, 0, 1, u"s"}}, float_tag(GatanFile(), 60))}))
          .find("data.axes=Eyx"),
      std::string::npos);
}

// 10
TEST_F(FieldCase, EnergyAsANavigationAxis) {
  {
    Hdf5Writer writer(path("a.hspy"));
    writer.dataset("Experiments/a/data", {2, 4, 3}, {}, [](int64_t i) { return static_cast<double>(i); });
    const char* units[] = {"nm", "eV", "nm"};
    for (int axis = 0; axis < 3; ++axis) {
      const std::string name = "Experiments/a/axis-" + std::to_string(axis);
      writer.group(name);
      writer.attribute(name, "navigate", axis < 2 ? 1 : 0);
      writer.attribute(name, "units", units[axis]);
      writer.attribute(name, "offset", 10 * axis);
    }
  }
  EXPECT_EQ(list_images(path("a.hspy")).at(0).kind, "spectrum image");
  const SpectrumImage image = read_spectrum_image(path("a.hspy"));
  EXPECT_EQ(image.energy, (Axis{"", "eV", 10, 1, 4}));
  EXPECT_EQ(image.x, (Axis{"", "nm", 20, 1, 3}));
  for (int64_t y = 0; y < 2; ++y)
    for (int64_t x = 0; x < 3; ++x)
      for (int64_t e = 0; e < 4; ++e)
        ASSERT_EQ(image.spectrum(y * 3 + x)[e], static_cast<float>((y * 4 + e) * 3 + x));
}

// 11
TEST_F(FieldCase, AGatanFileWithoutItsNumbers) {
  const GatanFile f;
  const std::string file = gatan({f.image(u"stub", 2, {{4}, {3}, {5, 0, 1, u"eV"}}, f.u32("Nothing", 0))});
  EXPECT_NE(refusal(file).find("ImageData.Data is missing; its numbers may lie in a file of their own"),
            std::string::npos);
}

// 12
TEST_F(FieldCase, ATimeSeries) {
  const std::string file = npy({3, 2, 2, 4});
  EXPECT_NE(refusal(file).find("data.frame=0 takes one and data.frame=sum adds them up"), std::string::npos);
  ReadOptions options;
  options.frame = "2";
  SpectrumImage image = read_spectrum_image(file, options);
  EXPECT_EQ(image.y.size, 2);
  for (size_t i = 0; i < 16; ++i) ASSERT_EQ(image.counts[i], static_cast<float>(32 + i));
  options.frame = "sum";
  options.swap_axes = true;
  image = read_spectrum_image(file, options);
  ASSERT_EQ(image.counts.size(), 16u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(image.spectrum(1)[i], static_cast<float>(8 + 24 + 40 + 3 * i));
  options.frame = "3";
  EXPECT_EQ(refusal(file, options), file + ": has no frame 3, data.frame is 0 to 2, or sum");
  options.frame = "0";
  EXPECT_EQ(refusal(npy({2, 2, 4}), options),
            file +
                ": holds a spectrum image (2, 2, 4), a series of spectrum images (t, y, x, E) is needed for "
                "data.frame; leave it out");
}

// 13
TEST_F(FieldCase, TheFormatTagInAnyLetters) {
  const GatanFile f;
  for (const std::u16string format : {u"Spectrum Image", u"SPECTRUM IMAGE", u"Image"})
    EXPECT_EQ(list_images(gatan({gatan_cube(u"", -500, 1, format)})).at(0).kind, "spectrum image");
  const std::string without_units =
      f.image(u"", 2, {{4}, {3}, {5}}, float_tag(f, 60), {f.meta_data(u"Spectrum Image", u"EELS")});
  EXPECT_EQ(list_images(gatan({without_units})).at(0).kind, "spectrum image");
}

// 14
TEST_F(FieldCase, AnArchiveOfPantaRhei) {
  const ZipFileMember numbers = {"data.npy", floats("(2, 3, 4)", 24)};
  const auto text = [](const std::string& json) {
    return npy_file("<U" + std::to_string(json.size()), "()",
                    raw_bytes(std::vector<uint32_t>(json.begin(), json.end())));
  };
  const std::string metadata = R"([{"repo_id": "scan.3", "filter.mode": "EELS", "type": "3D",
      "content.types": ["Energy", "ScanX", "ScanY"], "device.calib": [
      {"value": 0.25, "unit": "eV", "offset": -804, "pixel_factor": 2}, {"value": 1e-9, "unit": "m", "offset": 5},
      null, null]}])";
  const std::string file = npz({numbers, {"meta_data_json.npy", text(metadata)}});
  const ImageInfo info = list_images(file).at(0);
  EXPECT_EQ(info.title, "scan");
  EXPECT_EQ(info.signal, "EELS");
  const SpectrumImage image = read_spectrum_image(file);
  // They rise from -201 eV on, and what was lost is the other way round.
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 199.5, 0.5, 4}));
  EXPECT_EQ(image.x, (Axis{"x", "nm", 5, 1, 3}));
  EXPECT_EQ(image.y, (Axis{"y", "", 0, 1, 2}));
  EXPECT_EQ(image.spectrum(1)[0], 7);
  EXPECT_EQ(image.spectrum(1)[3], 4);
  // Whatever the file knows of them, a calibration is that of what is shown.
  const std::string uncalibrated = R"([{"filter.mode": "EELS", "type": "3D",
      "content.types": ["Energy", "ScanX", "ScanY"]}])";
  for (const std::string& known : {metadata, uncalibrated}) {
    ReadOptions options;
    options.energy_offset = 420;
    options.dispersion = 0.25;
    const SpectrumImage calibrated =
        read_spectrum_image(npz({numbers, {"meta_data_json.npy", text(known)}}), options);
    EXPECT_EQ(calibrated.energy, (Axis{"Energy loss", "eV", 420, 0.25, 4}));
    EXPECT_EQ(calibrated.spectrum(1)[0], 7);
    EXPECT_EQ(calibrated.spectrum(1)[3], 4);
  }

  EXPECT_EQ(refusal(npz({numbers,
                         {"meta_data.npy", npy_file("|O", "(1,)", "cos\nsystem\n(tR.")},
                         {"file_format_version.npy", npy_file("<i8", "()", std::string(8, '\2'))}})),
            path("a.npz") +
                ": member 'meta_data.npy': its pickle cannot be read: it calls system; save it as .hspy in "
                "HyperSpy: hs.load(\"in.prz\", allow_restricted_pickle=True).save(\"out.hspy\")");
  for (const std::string damaged : {"[", "{}", "[]", "[7]"})
    EXPECT_NE(refusal(npz({numbers, {"meta_data_json.npy", text(damaged)}})), "") << damaged;
}

// 17
TEST_F(FieldCase, EnergiesOfAnArchiveByAnyName) {
  const std::string cube = floats("(2, 3, 4)", 24);
  const std::vector<double> energies = {500, 502, 504, 506};
  for (const char* name :
       {"energy_eV.npy", "EnergyLoss.npy", "Energy Loss (eV).npy", "x_axis.npy", "e_loss.npy"})
    EXPECT_EQ(read_spectrum_image(npz({{"data.npy", cube}, {name, doubles("(4,)", energies)}})).energy,
              (Axis{"Energy loss", "eV", 500, 2, 4}))
        << name;
  const Axis read =
      read_spectrum_image(
          npz({{"data.npy", cube}, {"energy_keV.npy", doubles("(4,)", {0.5, 0.502, 0.504, 0.506})}}))
          .energy;
  EXPECT_EQ(read.units, "eV");
  EXPECT_NEAR(read.offset, 500, 1e-9);
  EXPECT_NEAR(read.scale, 2, 1e-9);
  for (const char* shape : {"(1, 4)", "(4, 1)"})
    EXPECT_EQ(read_spectrum_image(npz({{"data.npy", cube}, {"energy.npy", doubles(shape, energies)}})).energy,
              (Axis{"Energy loss", "eV", 500, 2, 4}))
        << shape;
}

TEST_F(FieldCase, EnergiesOfAnArchiveThatAreNotCertain) {
  const std::vector<double> energies = {500, 502, 504, 506};
  SpectrumImage image = read_spectrum_image(
      npz({{"data.npy", floats("(2, 3, 4)", 24)}, {"calib.npy", doubles("(4,)", energies)}}));
  EXPECT_EQ(image.energy.units, "");
  EXPECT_EQ(image.notes, std::vector<std::string>{
                             "No array is known to be the energies (data (2, 3, 4), calib (4,)); call it "
                             "energy, or give data.energy_offset and data.dispersion"});
  image = read_spectrum_image(
      npz({{"data.npy", floats("(4, 3, 4)", 48)}, {"energy.npy", doubles("(4,)", energies)}}));
  EXPECT_EQ(image.energy.offset, 500);
  EXPECT_EQ(image.notes, std::vector<std::string>{
                             "The energies in 'energy' fit several axes and are taken for the last (data (4, "
                             "3, 4), energy (4,)); if they are another's, give data.axes with "
                             "data.energy_offset and data.dispersion"});
}

// It may be half of what it was and half of what it is. A file that takes its name is another's matter.
TEST_F(FieldCase, AFileThatIsWrittenToWhileItIsRead) {
  const std::string file = npz({{"data.npy", floats("(2, 3, 4)", 24)}});
  const auto reading = [&] {
    const ImageToRead opened = open_spectrum_image(file);
    return [opened] {
      CountArray counts;
      opened.read({{0, 2}, {0, 3}, {0, 4}}, counts);
    };
  };
  const auto read = reading();
  EXPECT_EQ(user_error(read), "");
  std::filesystem::last_write_time(file,
                                   std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_EQ(user_error(read), file + ": the file was changed while it was read");
  const auto again = reading();
  std::filesystem::rename(file, path("other.npz"));
  write_bytes(file, "something else");
  EXPECT_EQ(user_error(again), "");
}

TEST_F(FieldCase, EnergiesThatAreTheEdgesOfChannels) {
  SpectrumImage image = read_spectrum_image(npz(
      {{"data.npy", floats("(2, 3, 4)", 24)}, {"energy.npy", doubles("(5,)", {499, 501, 503, 505, 507})}}));
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 500, 2, 4}));
  EXPECT_EQ(image.notes,
            std::vector<std::string>{
                "The 5 energies in 'energy' are taken for the edges of 4 channels, whose energies "
                "are the centres between them"});
  // In whatever place the energies stand; but an axis that they fit goes before.
  image =
      read_spectrum_image(npz({{"data.npy", floats("(4, 2, 3)", 24)},
                               {"energy_keV.npy", doubles("(5,)", {0.499, 0.501, 0.503, 0.505, 0.507})}}));
  EXPECT_EQ(image.energy.size, 4);
  EXPECT_NEAR(image.energy.offset, 500, 1e-9);
  image = read_spectrum_image(npz(
      {{"data.npy", floats("(5, 3, 4)", 60)}, {"energy.npy", doubles("(5,)", {499, 501, 503, 505, 507})}}));
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 499, 2, 5}));
  EXPECT_NE(refusal(npz({{"data.npy", floats("(2, 3, 4)", 24)},
                         {"energy.npy", doubles("(6,)", {499, 501, 503, 505, 507, 509})}}))
                .find("6 energies, but no array has one axis of that length"),
            std::string::npos);
  // Edges that are not even are refused as centres are.
  EXPECT_NE(refusal(npz({{"data.npy", floats("(2, 3, 4)", 24)},
                         {"energy.npy", doubles("(5,)", {499, 501, 503, 505, 517})}}))
                .find("energy.npy"),
            std::string::npos);
}

TEST_F(FieldCase, EnergiesThatMayBeKiloelectronvolts) {
  const SpectrumImage image =
      read_spectrum_image(npz({{"data.npy", floats("(2, 3, 4)", 24)},
                               {"energy.npy", doubles("(4,)", {0.5, 0.5005, 0.501, 0.5015})}}));
  EXPECT_EQ(image.energy.offset, 0.5);
  EXPECT_EQ(image.notes,
            std::vector<std::string>{
                "The energies in 'energy' name no unit and are taken for eV; if they are keV, call "
                "the array energy_keV"});
}

TEST_F(FieldCase, EnergiesOfAnArchiveThatAreNoNumbers) {
  EXPECT_EQ(
      refusal(npz({{"data.npy", floats("(2, 3, 4)", 24)}, {"energy.npy", doubles("(4,)", {1, NAN, 3, 4})}})),
      path("a.npz") +
          ": member 'energy.npy' has no number at place 1, NaN or infinity; leave it out and give "
          "data.energy_offset and data.dispersion");
  EXPECT_EQ(read_spectrum_image(npz({{"data.npy", floats("(2, 3, 4)", 24)},
                                     {"\u00c9nergie.npy", doubles("(4,)", {500, 502, 504, 506})}}))
                .energy.offset,
            500);
  EXPECT_EQ(refusal(npz({})), path("a.npz") + ": holds no image");
}

// HyperSpy's BaseSignal has neither places nor energies; what is marked as something else is taken with a
// word.
TEST_F(FieldCase, ACubeThatIsNotMarkedAsEels) {
  const auto written = [&](int navigate, const std::string& signal) {
    {
      Hdf5Writer writer(path("a.hspy"));
      writer.dataset("Experiments/a/data", {2, 3, 4}, {}, [](int64_t i) { return static_cast<double>(i); });
      for (int axis = 0; axis < 3; ++axis) {
        const std::string name = "Experiments/a/axis-" + std::to_string(axis);
        writer.group(name);
        writer.attribute(name, "navigate", axis < 2 ? navigate : 0);
        writer.attribute(name, "size", axis + 2);
      }
      writer.group("Experiments/a/metadata/Signal");
      writer.attribute("Experiments/a/metadata/Signal", "signal_type", signal);
    }
    return read_spectrum_image(path("a.hspy"));
  };
  const SpectrumImage base = written(0, "");
  EXPECT_EQ(base.energy.size, 4);
  ASSERT_EQ(base.notes.size(), 1u);
  EXPECT_NE(base.notes[0].find("the last axis is taken"), std::string::npos) << base.notes[0];
  const SpectrumImage other = written(1, "EDS_TEM");
  EXPECT_EQ(other.notes.at(0), "The file calls this image EDS_TEM, not EELS");
}

// 18
TEST_F(FieldCase, ALineScanIsOneRow) {
  SpectrumImage image = read_spectrum_image(npy({5, 4}));
  EXPECT_EQ(image.y, (Axis{"y", "", 0, 1, 1}));
  EXPECT_EQ(image.x, (Axis{"x", "", 0, 1, 5}));
  EXPECT_EQ(image.energy.size, 4);
  for (size_t i = 0; i < 20; ++i) ASSERT_EQ(image.counts[i], static_cast<float>(i));
  image = read_spectrum_image(npy({5, 4}), {.axes = "yEx"});  // stored (E, x)
  EXPECT_EQ(image.x.size, 4);
  EXPECT_EQ(image.energy.size, 5);
  for (int64_t x = 0; x < 4; ++x)
    for (int64_t e = 0; e < 5; ++e) ASSERT_EQ(image.spectrum(x)[e], static_cast<float>(e * 4 + x));
}

TEST_F(FieldCase, AMeasuredLineScan) {
  const std::string measured = shared_data("LSMO_linescan.hspy");
  if (measured.empty()) GTEST_SKIP() << "shared/data is missing";
  const SpectrumImage image = read_spectrum_image(measured);
  EXPECT_EQ(image.x.units, "nm");  // µm in the file
  EXPECT_NEAR(image.x.scale, 3.2190168276429176, 1e-12);
  EXPECT_EQ(image.y.size, 1);
  EXPECT_EQ(image.x.size, 40);
  EXPECT_EQ(image.energy.size, 586);
}

// A spectrum image is taken before a line scan.
TEST_F(FieldCase, ALineScanBesideASpectrumImage) {
  const std::string file = npz({{"a.npy", floats("(3, 4)", 12)}, {"b.npy", floats("(2, 3, 4)", 24)}});
  EXPECT_EQ(read_spectrum_image(file).title, "b");
  EXPECT_EQ(read_spectrum_image(file, {.dataset = 0}).title, "a");
}

// 19
TEST_F(FieldCase, AZarrFolder) {
  const ZarrFolder folder(path("a.zspy"), 2);
  folder.image("scan");
  folder.array("Experiments/scan/data", {2, 3, 4}, {2, 3, 4});
  folder.write("Experiments/scan/data/0.0.0", raw_bytes(counted(24)));
  {
    Hdf5Writer writer(path("a.hspy"));
    writer.attribute("/", "file_format", "HyperSpy");
    hspy_image(writer, "scan", {500, 500.5, 501, 501.5});
  }
  const SpectrumImage zarr = read_spectrum_image(path("a.zspy")), hdf5 = read_spectrum_image(path("a.hspy"));
  EXPECT_EQ(zarr.counts, hdf5.counts);
  EXPECT_EQ(zarr.title, hdf5.title);
  EXPECT_EQ(zarr.energy.offset, hdf5.energy.offset);
  EXPECT_EQ(zarr.energy.scale, hdf5.energy.scale);
  EXPECT_EQ(zarr.metadata, hdf5.metadata);
}

// 21
TEST_F(FieldCase, AUnitThatIsNoEnergy) {
  const GatanFile f;
  const auto with = [&](const std::u16string& unit) {
    return gatan({f.image(u"", 2, {{4}, {3}, {5, -500, 1, unit}}, float_tag(f, 60),
                          {f.meta_data(u"Spectrum image", u"EELS")})});
  };
  EXPECT_EQ(read_spectrum_image(with(u"MeV")).energy.offset, 500e6);
  EXPECT_EQ(refusal(with(u"nm")),
            path("a.dm4") +
                ": the energy axis is in nm, which is no energy; if another axis is the "
                "energy, give data.axes, if the unit is wrong, data.energy_offset and "
                "data.dispersion in eV");
  ReadOptions options;
  options.energy_offset = 400;
  options.dispersion = 2;
  EXPECT_EQ(read_spectrum_image(with(u"nm"), options).energy, (Axis{"Energy loss", "eV", 400, 2, 5}));
}

}  // namespace
}  // namespace eelsvae
