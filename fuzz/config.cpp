// A configuration and, behind zero bytes, settings as after --set.

#include "io/config/config.h"

#include "fuzz/input_file.h"

using namespace eelsvae;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> parts;
  while (parts.empty() || !rest.empty()) {
    parts.emplace_back(rest.substr(0, rest.find('\0')));
    rest.remove_prefix(std::min(rest.size(), parts.back().size() + 1));
  }
  unless_refused([&] {
    const Config config = parse_config(parts[0], "input", {parts.begin() + 1, parts.end()});
    const std::string text = to_json_text(config);
    if (to_json_text(parse_config(text, "written")) != text) std::abort();
  });
  return 0;
}
