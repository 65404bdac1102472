#pragma once

#include <algorithm>
#include <cctype>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "io/config/config_fields.h"
#include "kernels/error.h"

// Reading and writing of any configuration that lists its keys: Root has an overload of visit_fields() that
// calls visit(Field, member, Rule) for each of them, groups together and the top level last, and one of
// check_config(Root, origin), which compares values with each other. io/config/config.h says what users may
// expect.
namespace eelsvae::config_document {

using nlohmann::json;

// ---- one value: JSON <-> member ----

template <typename Value>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};

template <typename Value>
struct IsList : std::false_type {};
template <typename T, size_t N>
struct IsList<std::array<T, N>> : std::true_type {};
template <typename T>
struct IsList<std::vector<T>> : std::true_type {};
template <typename T>
struct IsList<std::optional<T>> : IsList<T> {};

template <typename Value>
struct IsListOfLists : std::false_type {};
template <typename T, size_t N>
struct IsListOfLists<std::vector<std::array<T, N>>> : std::true_type {};

template <typename Value>
struct IsListOfChoices : std::false_type {};
template <typename T>
struct IsListOfChoices<std::vector<T>> : std::is_enum<T> {};

template <typename Value>
struct IsListOfText : std::false_type {};
template <>
struct IsListOfText<std::vector<std::string>> : std::true_type {};

template <typename Value>
constexpr bool is_text = std::is_same_v<Value, std::string> ||
                         std::is_same_v<Value, std::optional<std::string>> || std::is_enum_v<Value>;

// Values of the wrong type are left alone and answered with false.
inline bool convert(const json& given, std::string& value) {
  if (!given.is_string()) return false;
  value = given.get<std::string>();
  return true;
}

inline bool convert(const json& given, bool& value) {
  if (!given.is_boolean()) return false;
  value = given.get<bool>();
  return true;
}

inline bool convert(const json& given, double& value) {
  if (!given.is_number()) return false;
  value = given.get<double>();
  return true;
}

inline bool convert(const json& given, uint64_t& value) {
  if (!given.is_number_unsigned()) return false;
  value = given.get<uint64_t>();
  return true;
}

inline bool convert(const json& given, int64_t& value) {
  if (!given.is_number_integer()) return false;
  if (given.is_number_unsigned() && given.get<uint64_t>() > std::numeric_limits<int64_t>::max()) return false;
  value = given.get<int64_t>();
  return true;
}

template <typename Enum, std::enable_if_t<std::is_enum_v<Enum>, int> = 0>
bool convert(const json& given, Enum& value) {
  for (const auto& [name, candidate] : choices(Enum{})) {
    if (given == name) {
      value = candidate;
      return true;
    }
  }
  return false;
}

template <typename T, size_t N>
bool convert(const json& given, std::array<T, N>& value) {
  if (!given.is_array() || given.size() != N) return false;
  for (size_t i = 0; i < N; ++i) {
    if (!convert(given[i], value[i])) return false;
  }
  return true;
}

template <typename T>
bool convert(const json& given, std::vector<T>& value) {
  if (!given.is_array()) return false;
  value.resize(given.size());
  for (size_t i = 0; i < value.size(); ++i) {
    if (!convert(given[i], value[i])) return false;
  }
  return true;
}

template <typename T>
bool convert(const json& given, std::optional<T>& value) {
  if (given.is_null()) {
    value.reset();
    return true;
  }
  return convert(given, value.emplace());
}

template <typename Value>
json as_json(const Value& value) {
  if constexpr (IsOptional<Value>::value) {
    return value ? as_json(*value) : json(nullptr);
  } else if constexpr (IsListOfChoices<Value>::value) {
    json list = json::array();
    for (const auto& entry : value) list.push_back(as_json(entry));
    return list;
  } else if constexpr (std::is_enum_v<Value>) {
    for (const auto& [name, candidate] : choices(value)) {
      if (candidate == value) return name;
    }
    throw std::logic_error("internal error: a configuration holds a choice without a name");
  } else {
    return value;
  }
}

// What a value of this type looks like, for messages and the reference.
inline std::string type_text(const std::string&) {
  return "text";
}
inline std::string type_text(bool) {
  return "true or false";
}
inline std::string type_text(double) {
  return "a number";
}
inline std::string type_text(int64_t) {
  return "a whole number";
}
inline std::string type_text(uint64_t) {
  return "a whole number from 0 to 18446744073709551615";
}
inline std::string type_text(const std::array<double, 2>&) {
  return "two numbers [low, high]";
}
inline std::string type_text(const std::array<int64_t, 2>&) {
  return "two whole numbers [first, last)";
}
inline std::string type_text(const std::array<int64_t, 4>&) {
  return "four whole numbers";
}
inline std::string type_text(const std::array<int64_t, 3>&) {
  return "three whole numbers";
}
inline std::string type_text(const std::vector<int64_t>&) {
  return "a list of whole numbers";
}
inline std::string type_text(const std::vector<double>&) {
  return "a list of numbers";
}
inline std::string type_text(const std::vector<std::string>&) {
  return "a list of texts";
}

inline std::string type_text(const std::vector<std::array<int64_t, 4>>&) {
  return "a list of rectangles [y0, x0, y1, x1] in whole numbers";
}

template <typename Enum, std::enable_if_t<std::is_enum_v<Enum>, int> = 0>
std::string type_text(Enum value) {
  std::vector<std::string> names;
  for (const auto& choice : choices(value)) names.push_back(choice.first);
  return any_of(names);
}

template <typename Enum, std::enable_if_t<std::is_enum_v<Enum>, int> = 0>
std::string type_text(const std::vector<Enum>&) {
  return "a list of " + type_text(Enum{});
}

template <typename T>
std::string type_text(const std::optional<T>&) {
  return type_text(T{}) + " or null";
}

// Type and rule in the reference's words.
template <typename Value, typename Test>
std::string values_text(const Value& value, const Rule<Test>& rule) {
  if constexpr (IsOptional<Value>::value) {
    return values_text(typename Value::value_type{}, rule) + "; or null";
  } else {
    if (rule.text.empty()) return type_text(value);
    return std::is_same_v<Value, std::string> ? rule.text : type_text(value) + ", " + rule.text;
  }
}

// A given value as a message shows it: on one line and short, whatever it holds.
inline std::string show(const json& given) {
  if (given.is_object()) return "an object";
  if (given.is_array()) {
    bool simple = given.size() <= 6 &&
                  std::all_of(given.begin(), given.end(), [](const json& v) { return v.is_primitive(); });
    if (!simple) return "a list of " + std::to_string(given.size());
  }
  std::string text = given.dump(-1, ' ', true, json::error_handler_t::replace);
  constexpr size_t longest = 60;
  return text.size() <= longest ? text : text.substr(0, longest) + "...";
}

// Puts a value into its member, or throws "<where>: what would be right, what was given".
template <typename Value, typename Test>
void assign(const std::string& where, const json& given, Value& value, const Rule<Test>& rule) {
  Value converted{};
  if (!convert(given, converted))
    throw UserError(where + ": expected " + type_text(converted) + ", got " + show(given));
  bool holds = true;
  if constexpr (IsOptional<Value>::value) {
    holds = !converted || rule.holds(*converted);
  } else {
    holds = rule.holds(converted);
  }
  if (!holds) throw UserError(where + ": must be " + rule.text + ", got " + show(given));
  value = std::move(converted);
}

// ---- names: what is known, and what was probably meant ----

inline std::string full_name(const std::string& group, const std::string& key) {
  return group.empty() ? key : group + "." + key;
}

// The groups in order; the top level, "", is the last.
template <typename Root>
std::vector<std::string> group_names() {
  std::vector<std::string> names;
  Root config;
  visit_fields(config, [&](const Field& field, auto&, const auto&) {
    if (names.empty() || names.back() != field.group) names.push_back(field.group);
  });
  return names;
}

// Levenshtein's distance: insertions, deletions and replacements that turn one word into the other.
inline size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
    }
  }
  return row.back();
}

// Quotes of a user's own words: one line, not endless.
inline std::string quoted_name(const std::string& name) {
  bool plain = !name.empty() && name.size() <= 60 && std::all_of(name.begin(), name.end(), [](char c) {
    return std::isgraph(static_cast<unsigned char>(c)) != 0;
  });
  return plain ? name : show(name);
}

// "unknown key; did you mean learning_rate?" for a key looked up in a group ("": the top level, where groups
// count as keys). A key of another group is suggested with its group; where nothing is near, what there is is
// listed.
template <typename Root>
std::string unknown_key(const std::string& group, const std::string& key) {
  struct Candidate {
    std::string name;
    size_t distance;
  };
  std::vector<Candidate> candidates;
  std::vector<std::string> here;
  std::string_view name = std::string_view(key).substr(0, 100);
  if (group.empty()) {
    for (const std::string& known : group_names<Root>()) {
      if (known.empty()) continue;
      here.push_back(known);
      candidates.push_back({known, edit_distance(name, known)});
    }
  }
  Root config;
  visit_fields(config, [&](const Field& field, auto&, const auto&) {
    size_t distance = edit_distance(name, field.key);
    if (field.group == group) {
      here.push_back(field.key);
      candidates.push_back({field.key, distance});
    } else {
      // A misspelt neighbour is likelier than a misplaced key, unless the latter is spelt right.
      candidates.push_back({full_name(field.group, field.key), distance == 0 ? 0 : distance + 2});
    }
  });
  auto nearest =
      std::min_element(candidates.begin(), candidates.end(),
                       [](const Candidate& a, const Candidate& b) { return a.distance < b.distance; });
  size_t near = std::max<size_t>(2, name.size() / 2);
  if (nearest->distance <= near) return "unknown key; did you mean " + nearest->name + "?";
  return "unknown key; known here are " + joined(here, ", ", " and ");
}

// ---- JSON text ----

// Follows the parser to name the key at which it stands, and to refuse a key that appears twice in an object:
// the JSON library would silently take the last one.
class KeyWatch {
 public:
  explicit KeyWatch(const std::string& origin) : origin_(origin) {}

  bool operator()(int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) objects_.emplace_back();
    if (event == json::parse_event_t::object_end) objects_.pop_back();
    if (event == json::parse_event_t::key) {
      Object& object = objects_.back();
      object.key = parsed.get<std::string>();
      if (!object.seen.insert(object.key).second)
        throw UserError(origin_ + ": " + path() + ": appears twice");
    }
    return true;
  }

  std::string path() const {
    std::string path;
    for (const Object& object : objects_) path += (path.empty() ? "" : ".") + quoted_name(object.key);
    return path;
  }

 private:
  struct Object {
    std::string key;
    std::set<std::string> seen;
  };
  std::string origin_;
  std::vector<Object> objects_;
};

// The useful part of the library's message: what follows the marker, in plain characters.
inline std::string detail(const char* message, const char* marker) {
  const char* found = std::strstr(message, marker);
  std::string text = found ? found + std::strlen(marker) : message;
  constexpr size_t longest = 160;
  if (text.size() > longest) text = text.substr(0, longest) + "...";
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

inline json parse_strictly(std::string_view text, const std::string& origin) {
  KeyWatch watch(origin);
  try {
    return json::parse(text.begin(), text.end(), std::ref(watch));
  } catch (const json::parse_error& error) {
    throw UserError(origin + ": not JSON: " + detail(error.what(), "parse error at "));
  } catch (const json::out_of_range& error) {
    std::string path = watch.path();
    throw UserError(origin + ": " + (path.empty() ? "" : path + ": ") +
                    "number too large: " + detail(error.what(), "number overflow parsing "));
  }
}

// The value of a --set argument as JSON of the member's kind, as far as it can be read so.
template <typename Value>
json argument_value(const std::string& text) {
  auto parsed = [](const std::string& candidate) { return json::parse(candidate, nullptr, false); };
  if constexpr (is_text<Value>) {
    if (IsOptional<Value>::value && text == "null") return nullptr;
    if (text.empty() || text.front() != '"') return text;
  }
  json value = parsed(text);
  if constexpr (IsListOfText<Value>::value || IsListOfChoices<Value>::value) {
    if (!value.is_array()) {
      value = json::array();
      for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.find(',', begin), text.size());
        value.push_back(text.substr(begin, end - begin));
        begin = end + 1;
      }
    }
  } else if constexpr (IsList<Value>::value) {
    if (!value.is_array() && !value.is_null()) value = parsed("[" + text + "]");
  }
  if constexpr (IsListOfLists<Value>::value) {  // a single one needs no brackets of its own
    if (value.is_array() && !value.empty() && !value[0].is_array()) value = json::array({value});
  }
  return value.is_discarded() ? json(text) : value;
}

inline std::string json_line(const json& value, const std::string& name) {
  std::string text;
  try {
    text = value.dump();
  } catch (const json::type_error&) {
    throw UserError(name + ": " + show(value) +
                    " is not UTF-8 text, which JSON cannot hold; rename the file");
  }
  // Lists on one line as people write them.
  if (!value.is_array()) return text;
  std::string spaced;
  bool inside = false;  // of a text
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"' && (i == 0 || text[i - 1] != '\\')) inside = !inside;
    spaced += text[i];
    if (text[i] == ',' && !inside) spaced += ' ';
  }
  return spaced;
}

// ---- whole configurations ----

template <typename Root>
void set_in_document(Root& config, const std::string& assignment) {
  size_t equals = assignment.find('=');
  if (equals == std::string::npos)
    throw UserError("--set " + quoted_name(assignment) +
                    ": expected group.key=value, such as training.epochs=5");
  std::string name = assignment.substr(0, equals), text = assignment.substr(equals + 1);
  size_t dot = name.find('.');
  std::string group = dot == std::string::npos ? "" : name.substr(0, dot);
  std::string key = dot == std::string::npos ? name : name.substr(dot + 1);

  std::string where = "--set " + quoted_name(name);
  const std::vector<std::string> groups = group_names<Root>();
  auto is_group = [&](const std::string& word) {
    return !word.empty() && std::find(groups.begin(), groups.end(), word) != groups.end();
  };
  if (dot != std::string::npos && !is_group(group))
    throw UserError(where + ": " + unknown_key<Root>("", group));
  if (dot == std::string::npos && is_group(key))
    throw UserError(where + ": is a group; expected group.key=value, such as training.epochs=5");
  bool known = false;
  visit_fields(config, [&](const Field& field, auto& value, const auto& rule) {
    if (field.group != group || field.key != key) return;
    known = true;
    assign(where, argument_value<std::decay_t<decltype(value)>>(text), value, rule);
  });
  if (!known) throw UserError(where + ": " + unknown_key<Root>(group, key));
}

// Keys and values, whatever they are together.
template <typename Root>
Root parse_values(std::string_view text, const std::string& origin) {
  json document = parse_strictly(text, origin);
  if (!document.is_object()) throw UserError(origin + ": expected an object { ... }, got " + show(document));

  Root config;
  auto read = [&](const std::string& group, const std::string& key, const json& given) {
    std::string where = origin + ": " + (group.empty() ? "" : group + ".") + quoted_name(key);
    bool known = false;
    visit_fields(config, [&](const Field& field, auto& value, const auto& rule) {
      if (field.group != group || field.key != key) return;
      known = true;
      assign(where, given, value, rule);
    });
    if (!known) throw UserError(where + ": " + unknown_key<Root>(group, key));
  };
  const std::vector<std::string> groups = group_names<Root>();
  for (const auto& [name, content] : document.items()) {
    if (name.empty() || std::find(groups.begin(), groups.end(), name) == groups.end()) {
      read("", name, content);
      continue;
    }
    if (!content.is_object())
      throw UserError(origin + ": " + name + ": expected an object { ... }, got " + show(content));
    for (const auto& [key, given] : content.items()) read(name, key, given);
  }

  return config;
}

template <typename Root>
Root parse_document(std::string_view text, const std::string& origin,
                    const std::vector<std::string>& overrides) {
  Root config = parse_values<Root>(text, origin);
  for (const std::string& assignment : overrides) set_in_document(config, assignment);
  check_config(config, origin);
  return config;
}

template <typename Root>
std::string document_text(const Root& config) {
  std::string text = "{", group;
  const char* separator = "\n";
  visit_fields(config, [&](const Field& field, const auto& value, const auto&) {
    if (field.group != group) {
      if (!group.empty()) text += "\n  }";
      text += group.empty() ? "\n" : ",\n";
      if (field.group[0] != '\0') text += std::string("  \"") + field.group + "\": {\n";
      group = field.group;
      separator = "";
    }
    text += separator;
    text += (group.empty() ? "  \"" : "    \"") + std::string(field.key) +
            "\": " + json_line(as_json(value), full_name(group, field.key));
    separator = ",\n";
  });
  return text + "\n}\n";
}

// The table of every key of the groups that `wanted` takes, with a heading for each group.
template <typename Root, typename Wanted>
std::string reference_tables(Wanted wanted) {
  std::string text;
  const Root defaults;
  std::string group = "-";
  visit_fields(defaults, [&](const Field& field, const auto& value, const auto& rule) {
    if (!wanted(field.group)) return;
    if (field.group != group) {
      group = field.group;
      text += "\n## " + (group.empty() ? std::string("Top level") : group) +
              "\n\n| key | default | unit | values | meaning |\n|---|---|---|---|---|\n";
    }
    text += std::string("| `") + field.key + "` | `" + json_line(as_json(value), field.key) + "` | " +
            field.unit + " | " + values_text(value, rule) + " | " + field.meaning + " |\n";
  });
  return text;
}

}  // namespace eelsvae::config_document
