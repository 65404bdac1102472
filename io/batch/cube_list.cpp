#include "io/batch/cube_list.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "io/config/config.h"
#include "io/files/atomic_file.h"
#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

constexpr size_t longest_name = 100;

bool is_for_names(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
         c == '_';
}

// A name for a folder, after a file.
std::string name_after(const std::string& path) {
  std::string name = fs::path(path).stem();
  std::ranges::replace_if(
      name, [](char c) { return !is_for_names(c); }, '_');
  if (name.size() > longest_name) name.resize(longest_name);
  if (name.empty() || name[0] == '.') name.insert(0, "_");
  return name;
}

// Of which nothing but a folder of an image may take the place, on file systems that know no large letters,
// too.
std::string as_folder(std::string name) {
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

// What else lies among the results.
const std::set<std::string> not_for_images = {"cubes.csv", "cubes.json", "index.html"};

// Whether results of all images may have such a folder among them.
bool is_name(const std::string& name) {
  return !not_for_images.contains(as_folder(name)) && !name.empty() && name.size() <= longest_name &&
         name[0] != '.' && std::ranges::all_of(name, is_for_names);
}

}  // namespace

std::vector<CsvRow> parse_csv(std::string_view text, const std::string& origin) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // as spreadsheets write it
  std::vector<CsvRow> rows;
  CsvRow row{1, {}};
  std::string field;
  int line = 1;
  bool quoted = false, anything = false;
  const auto end_field = [&] { row.fields.push_back(std::exchange(field, {})); };
  const auto end_row = [&] {
    if (anything) {
      end_field();
      rows.push_back(std::exchange(row, {}));
    }
    anything = false;
    row.line = line;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (quoted) {
      if (c == '"' && i + 1 < text.size() && text[i + 1] == '"')
        field += text[++i];
      else if (c == '"')
        quoted = false;
      else
        field += c;
    } else if (c == '"' && field.empty()) {
      quoted = anything = true;
    } else if (c == ',') {
      end_field();
      anything = true;
    } else if (c == '\n') {
      end_row();
    } else if (c != '\r') {
      field += c;
      anything = true;
    }
  }
  if (quoted)
    throw UserError(origin + ": line " + std::to_string(row.line) + ": a quotation mark is not closed");
  end_row();
  return rows;
}

std::string csv_field(std::string_view text) {
  if (text.find_first_of("\",\r\n") == std::string_view::npos) return std::string(text);
  std::string field = "\"";
  for (const char c : text) {
    if (c == '"') field += '"';
    field += c;
  }
  return field + "\"";
}

std::vector<ListedCube> parse_cube_list(std::string_view text, const std::string& origin,
                                        const std::string& folder) {
  const std::vector<CsvRow> rows = parse_csv(text, origin);
  const std::vector<std::string> columns = rows.empty() ? std::vector<std::string>() : rows.front().fields;
  if (std::ranges::find(columns, "path") == columns.end())
    throw UserError(origin + ": its first line names no column 'path'; path,name,data.energy_range, say");
  for (size_t i = 0; i < columns.size(); ++i)
    if (std::ranges::find(columns.begin(), columns.begin() + static_cast<ptrdiff_t>(i), columns[i]) !=
        columns.begin() + static_cast<ptrdiff_t>(i))
      throw UserError(origin + ": two columns are called '" + one_line(columns[i]) + "'");
  if (std::ranges::find(columns, "data.data_path") != columns.end())
    throw UserError(origin + ": the image is in the column 'path'; leave 'data.data_path' out");
  const auto below = [&](const std::string& path) {
    return (fs::path(folder) / path).lexically_normal().string();
  };
  std::vector<ListedCube> cubes;
  std::set<std::string> given = not_for_images;
  for (size_t r = 1; r < rows.size(); ++r) {
    const std::string where = origin + ": line " + std::to_string(rows[r].line) + ": ";
    const std::vector<std::string>& fields = rows[r].fields;
    if (fields.size() != columns.size())
      throw UserError(where + std::to_string(fields.size()) + " fields, and the first line names " +
                      std::to_string(columns.size()));
    for (const std::string& field : fields)
      if (utf8_text(field) != field)
        throw UserError(where + "is not UTF-8; rename the file, or save the list as UTF-8");
    ListedCube cube;
    Config alone;
    for (size_t i = 0; i < fields.size(); ++i) {
      if (fields[i].empty()) continue;
      if (columns[i] == "path") {
        cube.path = below(fields[i]);
      } else if (columns[i] == "truth") {
        cube.truth = below(fields[i]);
      } else if (columns[i] == "name") {
        if (!is_name(fields[i]))
          throw UserError(where + "'" + one_line(fields[i]) +
                          "' cannot be the name of a folder here; take letters, digits, '-', '_' and '.'");
        if (!given.insert(as_folder(fields[i])).second)
          throw UserError(where + "the name '" + fields[i] + "' is another image's, too");
        cube.name = fields[i];
      } else {
        const bool is_path = columns[i].ends_with("_path");
        cube.settings.push_back(columns[i] + "=" + (is_path ? below(fields[i]) : fields[i]));
        try {
          set_value(alone, cube.settings.back());
        } catch (const UserError& error) {
          throw UserError(where + error.what());
        }
      }
    }
    if (cube.path.empty()) throw UserError(where + "no path");
    cubes.push_back(std::move(cube));
  }
  if (cubes.empty()) throw UserError(origin + ": lists no image");
  std::map<std::string, int> taken;
  for (ListedCube& cube : cubes) {
    if (!cube.name.empty()) continue;
    const std::string after = name_after(cube.path);
    do {
      const int number = ++taken[after];
      cube.name = number == 1 ? after : after + "-" + std::to_string(number);
    } while (!given.insert(as_folder(cube.name)).second);
  }
  return cubes;
}

std::vector<ListedCube> read_cube_list(const std::string& path) {
  return parse_cube_list(read_text_file(path), path, fs::absolute(path).parent_path().string());
}

}  // namespace eelsvae
