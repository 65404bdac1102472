#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace eelsvae {

// Makes sure, before long work starts, that its results can be saved: creates the folder and its parents
// where they are missing, checks that files can be made in it, and that its disk has required_bytes free (0:
// not checked). Throws UserError otherwise, and then has created nothing for want of space. Whether it
// created the folder.
bool prepare_output_folder(const std::filesystem::path& folder, uint64_t required_bytes = 0);

// "17 bytes", "1.5 KiB", "3.1 GiB"
std::string human_bytes(uint64_t bytes);

}  // namespace eelsvae
