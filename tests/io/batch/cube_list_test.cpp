// Lists of images.

#include "io/batch/cube_list.h"

#include <gtest/gtest.h>

#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

TEST(Csv, IsReadAsItIsWritten) {
  const std::vector<std::string> fields = {"plain",      "",           "with, comma",
                                           "\"quoted\"", "two\nlines", " spaces "};
  std::string text = "\xEF\xBB\xBF";
  for (const std::string& field : fields) text += csv_field(field) + ",";
  text += "end\r\n\r\nnext,row";
  const std::vector<CsvRow> rows = parse_csv(text, "list.csv");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(std::vector<std::string>(rows[0].fields.begin(), rows[0].fields.end() - 1), fields);
  EXPECT_EQ(rows[0].line, 1);
  EXPECT_EQ(rows[1].fields, (std::vector<std::string>{"next", "row"}));
  EXPECT_EQ(rows[1].line, 4);
  EXPECT_TRUE(parse_csv("", "list.csv").empty());
  EXPECT_NE(user_error([] { parse_csv("a\n\"b\n", "list.csv"); }).find("list.csv: line 2: a quotation mark"),
            std::string::npos);
}

TEST(CubeList, NamesPathsAndSettings) {
  const std::vector<ListedCube> cubes = parse_cube_list(
      "path,name,truth,data.energy_range,data.exclude_path\n"
      "a/film one.dm4,,,,\n"
      "/elsewhere/film one.dm4,,t.npy,,\n"
      "\"b,c.hspy\",film_one-2,,\"500,800\",mask.npy\n"
      ".hidden.npy,,,,\n",
      "list.csv", "/lists");
  ASSERT_EQ(cubes.size(), 4u);
  EXPECT_EQ(cubes[0].name, "film_one");
  EXPECT_EQ(cubes[0].path, "/lists/a/film one.dm4");
  EXPECT_TRUE(cubes[0].settings.empty());
  EXPECT_EQ(cubes[1].name, "film_one-3") << "the second is somebody else's";
  EXPECT_EQ(cubes[1].path, "/elsewhere/film one.dm4");
  EXPECT_EQ(cubes[1].truth, "/lists/t.npy");
  EXPECT_EQ(cubes[2].name, "film_one-2");
  EXPECT_EQ(cubes[2].path, "/lists/b,c.hspy");
  EXPECT_EQ(cubes[2].settings,
            (std::vector<std::string>{"data.energy_range=500,800", "data.exclude_path=/lists/mask.npy"}));
  EXPECT_EQ(cubes[3].name, "_.hidden");
}

TEST(CubeList, SaysWhatIsWrongAndWhere) {
  const auto said = [](const std::string& text) {
    return user_error([&] { parse_cube_list(text, "list.csv", ""); });
  };
  EXPECT_NE(said("").find("no column 'path'"), std::string::npos);
  EXPECT_NE(said("a.npy\nb.npy\n").find("no column 'path'"), std::string::npos);
  EXPECT_NE(said("path\n").find("lists no image"), std::string::npos);
  EXPECT_NE(said("path,path\na,b\n").find("two columns"), std::string::npos);
  EXPECT_NE(said("path,name\na.npy\n").find("line 2: 1 fields, and the first line names 2"),
            std::string::npos);
  EXPECT_NE(said("path,name\n,x\n").find("line 2: no path"), std::string::npos);
  EXPECT_NE(said("path,name\na,x\nb,x\n").find("line 3: the name 'x'"), std::string::npos);
  EXPECT_NE(said("path,name\na,x\nb,X\n").find("line 3: the name 'X'"), std::string::npos)
      << "on some systems they are one";
  EXPECT_NE(said("path,data.data_path\na,b\n").find("leave 'data.data_path' out"), std::string::npos);
  EXPECT_NE(said("path\ngr\xFCn.hspy\n").find("line 2: is not UTF-8"), std::string::npos);
  for (const char* name : {"a/b", "..", ".x", "a b", "\xC3\xA4", "index.html", "Cubes.csv"})
    EXPECT_NE(said(std::string("path,name\na,") + name + "\n").find("cannot be the name"), std::string::npos)
        << name;
  EXPECT_NE(said("path,detection.fdr\na,2\n").find("line 2: "), std::string::npos);
  EXPECT_NE(said("path,nonsense\na,2\n").find("nonsense"), std::string::npos);
}

}  // namespace
}  // namespace eelsvae
