#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace eelsvae {

// What a pickle of Python holds (https://docs.python.org/3/library/pickletools.html), as JSON: None,
// booleans, numbers, texts, lists, tuples and dictionaries, arrays of such objects and single numbers of
// NumPy. A pickle is a program; nothing of what it names is called here, and whatever else it names is
// refused. Bytes and arrays of numbers become null. UserError that begins with `context`, also where it is
// damaged, longer than 1 MiB, nests deeper than 100, or holds more than 200,000 values or 16 MiB of text,
// where an object counts as often as it is named.
nlohmann::json parse_pickle(std::span<const std::byte> content, const std::string& context);

}  // namespace eelsvae
