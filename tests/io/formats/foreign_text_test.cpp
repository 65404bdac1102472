#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/formats/hspy.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/io/containers/hdf5_writer.h"
#include "tests/io/containers/zip_file.h"
#include "tests/io/file_test.h"
#include "tests/io/formats/gatan_file.h"

namespace eelsvae {
namespace {

// Titles as files may have them, and as they are to be shown.
struct Title {
  std::string stored, shown;
};
const std::vector<Title> all_titles = {
    {"caf\xe9", "caf\u00e9"},                                   // Latin-1
    {"red \x1b[31m and\nbell \x07.", "red  [31m and bell  ."},  // obeyed by a terminal
    {"U+9B: \u009b31m", "U+9B:  31m"},
};

class ForeignTextTest : public FileTest {
 protected:
  // write(title, path) makes a file of one spectrum image.
  void expect_shown(const std::string& name,
                    const std::function<void(const std::string&, const std::string&)>& write,
                    const std::vector<Title>& titles = all_titles) {
    for (const Title& title : titles) {
      const std::string file = path(name);
      write(title.stored, file);
      EXPECT_EQ(list_images(file).at(0).title, title.shown);
      const SpectrumImage image = read_spectrum_image(file);
      EXPECT_EQ(image.title, title.shown);
      // Metadata are JSON in which no text holds what a terminal obeys.
      const std::string metadata = nlohmann::json::parse(image.metadata).dump();
      for (const char* control : {"\\u001b", "\\u0007", "\u009b", "\x1b"})
        EXPECT_EQ(metadata.find(control), std::string::npos) << metadata;
      write_hspy(path("out.hspy"), image);
      EXPECT_EQ(read_spectrum_image(path("out.hspy")).title, title.shown);
    }
  }
};

// Its text is an array of numbers, and one that holds a terminal's is taken for no text.
TEST_F(ForeignTextTest, Gatan) {
  const std::vector<Title> titles = {all_titles[0],
                                     {all_titles[1].stored, ""},
                                     {"U+9B: \x9b"
                                      "31m",
                                      all_titles[2].shown}};
  expect_shown(
      "a.dm3",
      [](const std::string& title, const std::string& file) {
        GatanFile gatan;
        gatan.version = 3;
        std::u16string name;  // Latin-1 units are those of UTF-16
        for (const char c : title) name += static_cast<unsigned char>(c);
        const std::string data = gatan.value("Data", {20, 6, 24}, std::string(24 * 4, '\0'));
        write_bytes(file, gatan.file({gatan.group(
                              "ImageList", {gatan.image(name, 2, {{3}, {2}, {4, 0, 1, u"eV"}}, data,
                                                        {gatan.meta_data(u"Spectrum image", u"EELS")})})}));
      },
      titles);
}

TEST_F(ForeignTextTest, HyperSpy) {
  expect_shown("a.hspy", [](const std::string& title, const std::string& file) {
    Hdf5Writer writer(file);
    writer.attribute("/", "file_format", "HyperSpy");
    writer.dataset("Experiments/a/data", {2, 3, 4}, {}, [](int64_t i) { return static_cast<double>(i); });
    for (const char* axis : {"axis-0", "axis-1", "axis-2"}) {
      writer.group(std::string("Experiments/a/") + axis);
      writer.attribute(std::string("Experiments/a/") + axis, "units",
                       std::string(axis) == "axis-2" ? "eV" : title);
    }
    for (const char* group : {"metadata/General", "original_metadata"}) {
      writer.group(std::string("Experiments/a/") + group);
      writer.attribute(std::string("Experiments/a/") + group, "title", title);
    }
  });
}

TEST_F(ForeignTextTest, VeloxVersion) {
  {
    Hdf5Writer writer(path("a.emd"));
    writer.group("Data");
    writer.text("Version", "{\"format\": \"Velox\xff\"}");
  }
  EXPECT_EQ(image_format_name(path("a.emd")), "Velox");
}

TEST_F(ForeignTextTest, Ripple) {
  expect_shown("a.rpl", [&](const std::string& title, const std::string& file) {
    std::string line = title;  // it ends a title in this format
    std::replace(line.begin(), line.end(), '\n', ' ');
    write_bytes(file,
                "key\tvalue\nwidth\t3\nheight\t2\ndepth\t4\noffset\t0\ndata-type\tunsigned\ndata-length\t1\n"
                "byte-order\tdont-care\nrecord-by\tvector\ntitle\t" +
                    line + "\n");
    write_bytes(path("a.raw"), std::string(24, 'x'));
  });
}

TEST_F(ForeignTextTest, NionArchive) {
  expect_shown("a.ndata", [](const std::string& title, const std::string& file) {
    std::string quoted;
    for (const char c : title) {
      if (static_cast<unsigned char>(c) >= ' ') {
        quoted += c;
      } else {
        char code[8];
        std::snprintf(code, sizeof code, "\\u%04x", c);
        quoted += code;
      }
    }
    write_bytes(file, zip_file({{"data.npy", npy_file("|u1", "(2, 3, 4)", std::string(24, 'x'))},
                                {"metadata.json", "{\"title\": \"" + quoted +
                                                      "\", \"collection_dimension_count\": 2, "
                                                      "\"datum_dimension_count\": 1}"}}));
  });
}

}  // namespace
}  // namespace eelsvae
