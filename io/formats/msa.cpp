#include "io/formats/msa.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "io/files/mapped_file.h"
#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr size_t longest_file = size_t{256} << 20;

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return std::isspace(static_cast<unsigned char>(c)) || c == '\0'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

std::string upper(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return result;
}

std::string_view without_mark(std::string_view text) {
  constexpr std::string_view utf8_mark = "\xef\xbb\xbf";
  if (text.starts_with(utf8_mark)) text.remove_prefix(utf8_mark.size());
  return text;
}

bool recognises_msa(const std::string&, std::string_view start) {
  const std::string first = upper(without_mark(start).substr(0, 80));
  return first.starts_with("#FORMAT") && first.find("EMSA") != std::string::npos;
}

std::optional<double> number(std::string_view text) {
  text = trimmed(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// A file taken apart.
struct Spectrum {
  std::map<std::string, std::string> keywords;  // in capitals; what appears several times in as many lines
  std::vector<double> numbers;                  // after #SPECTRUM
  bool ends = false;                            // with #ENDOFDATA
};

class Parser {
 public:
  explicit Parser(std::string path) : path_(std::move(path)) {}

  Spectrum parse(std::string_view text) {
    Spectrum spectrum;
    bool data = false;
    for (text = without_mark(text); !text.empty() && !spectrum.ends;) {
      const size_t end = std::min(text.find_first_of("\r\n"), text.size());
      const std::string_view line = trimmed(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
      if (line.starts_with('#')) {
        const auto [keyword, value] = entry(line);
        if (keyword == "SPECTRUM")
          data = true;
        else if (keyword == "ENDOFDATA")
          spectrum.ends = true;
        else if (std::string& all = spectrum.keywords[keyword]; true)
          all += (all.empty() ? "" : "\n") + value;
      } else if (data) {
        add_numbers(line, spectrum.numbers);
      }
    }
    if (!data) throw UserError(path_ + ": has no line #SPECTRUM, after which the counts would stand");
    return spectrum;
  }

 private:
  // "#XPERCHAN   : 0.5" -> XPERCHAN, 0.5. Units may follow the keyword: "#BEAMKV   -kV: 120".
  static std::pair<std::string, std::string> entry(std::string_view line) {
    line.remove_prefix(std::min(line.find_first_not_of('#'), line.size()));
    const size_t colon = std::min(line.find(':'), line.size());
    std::string_view keyword = line.substr(0, colon);
    keyword = keyword.substr(0, keyword.find_first_of(" \t"));
    return {upper(keyword), std::string(trimmed(line.substr(std::min(colon + 1, line.size()))))};
  }

  void add_numbers(std::string_view line, std::vector<double>& numbers) const {
    while (true) {
      line.remove_prefix(std::min(line.find_first_not_of(" \t,;"), line.size()));
      if (line.empty()) return;
      const std::string_view word = line.substr(0, line.find_first_of(" \t,;"));
      const std::optional<double> value = number(word);
      if (!value)
        throw UserError(path_ + ": '" + one_line(word.substr(0, 40)) + "' among the counts is no number");
      numbers.push_back(*value);
      line.remove_prefix(word.size());
    }
  }

  std::string path_;
};

// Numbers that were read already.
class NumbersInMemory : public ImageValues {
 public:
  explicit NumbersInMemory(std::vector<double> numbers) : numbers_(std::move(numbers)) {}
  bool read(const ArrayPart& part, std::span<const int64_t> out_stride, float* out,
            const StopToken&) const override {
    const StoredArray all = StoredArray::dense(ElementType::float64, false, {std::ssize(numbers_)}, {0});
    const PartOfArray wanted = part_of(all, part);
    return convert_array(reinterpret_cast<const std::byte*>(numbers_.data()) + wanted.begin, wanted.array,
                         out_stride, out);
  }

 private:
  std::vector<double> numbers_;
};

// "Energy Loss (eV)" -> eV
std::string unit_of(const std::string& text) {
  const size_t open = text.find('('), close = text.find(')');
  if (open == std::string::npos || close == std::string::npos || close < open) return text;
  return text.substr(open + 1, close - open - 1);
}

std::vector<StoredImage> open_msa(const std::string& path) {
  const MappedFile file(path);
  if (file.size() > longest_file)
    throw UserError(path + ": has " + std::to_string(file.size() >> 20) +
                    " MB, more than a single spectrum needs as text");
  Spectrum spectrum = Parser(path).parse({reinterpret_cast<const char*>(file.data()), file.size()});
  const auto text = [&](const char* keyword) {
    const auto found = spectrum.keywords.find(keyword);
    return found == spectrum.keywords.end() ? std::string() : found->second;
  };
  const auto value = [&](const char* keyword, double otherwise) {
    const std::string stated = text(keyword);
    if (stated.empty()) return otherwise;
    const std::optional<double> result = number(stated);
    if (!result || !std::isfinite(*result))
      throw UserError(path + ": #" + keyword + " is '" + one_line(stated.substr(0, 40)) +
                      "', which is no number");
    return *result;
  };
  std::vector<double> energies;
  const std::string type = upper(text("DATATYPE"));
  if (type == "XY") {
    if (spectrum.numbers.size() % 2 != 0)
      throw UserError(path + ": cut off: DATATYPE is XY, and the last energy has no counts");
    std::vector<double> counts;
    for (size_t i = 0; i < spectrum.numbers.size(); ++i)
      (i % 2 == 0 ? energies : counts).push_back(spectrum.numbers[i]);
    spectrum.numbers = std::move(counts);
  } else if (!type.empty() && type != "Y") {
    throw UserError(path + ": DATATYPE is '" + one_line(type.substr(0, 40)) + "'; Y and XY are read");
  }
  const auto points = static_cast<double>(spectrum.numbers.size());
  const double stated = value("NPOINTS", points);
  // Some writers pad the last line.
  if (stated >= 0 && stated < points && spectrum.ends && std::floor(stated) == stated) {
    spectrum.numbers.resize(static_cast<size_t>(stated));
    if (!energies.empty()) energies.resize(spectrum.numbers.size());
  } else if (stated != points) {
    throw UserError(path + ": " + (spectrum.ends ? "" : "cut off: ") + "#NPOINTS is " +
                    one_line(text("NPOINTS").substr(0, 40)) + ", and there are " +
                    std::to_string(spectrum.numbers.size()) + " counts");
  }

  Axis energy;
  energy.name = text("XLABEL").empty() ? "Energy loss" : text("XLABEL");
  energy.units = unit_of(text("XUNITS"));
  energy.offset = value("OFFSET", 0);
  energy.scale = value("XPERCHAN", 1);
  energy.size = std::ssize(spectrum.numbers);
  if (!energies.empty()) calibrate_by_positions(energy, energies, path + ": the energy axis");

  StoredImage image;
  ImageInfo& info = image.info;
  info.title = text("TITLE").empty() ? std::filesystem::path(path).stem().string() : text("TITLE");
  const std::string signal = upper(text("SIGNALTYPE"));
  info.signal = signal == "ELS" || signal == "EELS"  ? "EELS"
                : signal == "EDS" || signal == "EDX" ? "EDS_TEM"
                                                     : signal;
  info.kind = image_kind(0, 1);
  info.shape = {energy.size};
  info.dtype = element_name(ElementType::float64);
  info.axes = {energy};
  image.values = std::make_shared<NumbersInMemory>(std::move(spectrum.numbers));
  image.metadata = [title = info.title, type_of_signal = info.signal,
                    keywords = std::move(spectrum.keywords)] {
    return json{
        {"metadata", {{"General", {{"title", title}}}, {"Signal", {{"signal_type", type_of_signal}}}}},
        {"original_metadata", keywords}};
  };
  return {std::move(image)};
}

}  // namespace

const ImageFormat msa_format = {"EMSA/MAS", ".msa", recognises_msa, open_msa};

}  // namespace eelsvae
