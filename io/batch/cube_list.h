#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace eelsvae {

// One of many spectrum images that the same is done with.
struct ListedCube {
  std::string name;                   // of its folder among the results: letters, digits, '.', '-' and '_'
  std::string path;                   // of the image
  std::string truth;                  // of its truth mask; "": none
  std::vector<std::string> settings;  // KEY=VALUE, its own
};

// A list of images: comma-separated values (RFC 4180) whose first line names the columns: `path`; if wanted
// `name` and `truth`; and keys of the configuration ("data.energy_range"), which an empty field leaves as
// they are. Paths are those of the list's folder. Without a name, or without the column, an image is called
// after its file, with a number behind where several are called so. folder: of the list. UserError with the
// line where something is wrong: a column that is none of these, a line of another length, no path, a name
// twice or that is none for a folder, a value that its key does not take.
std::vector<ListedCube> parse_cube_list(std::string_view text, const std::string& origin,
                                        const std::string& folder);
std::vector<ListedCube> read_cube_list(const std::string& path);

// Rows of fields of comma-separated values, each with the number of the line that it begins in. UserError
// where a quotation mark is not closed.
struct CsvRow {
  int line = 0;
  std::vector<std::string> fields;
};
std::vector<CsvRow> parse_csv(std::string_view text, const std::string& origin);
// A field as it is written, in quotation marks where it needs them.
std::string csv_field(std::string_view text);

}  // namespace eelsvae
