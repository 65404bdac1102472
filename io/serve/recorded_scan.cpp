#include "io/serve/recorded_scan.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "io/files/npy.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

[[noreturn]] void fail(const char* doing, const std::string& name) {
  throw UserError(std::string("cannot ") + doing + " " + name + ": " + std::strerror(errno));
}

void write_all(int descriptor, const void* bytes, size_t size, uint64_t offset, const std::string& name) {
  for (size_t done = 0; done < size;) {
    const ssize_t written = pwrite(descriptor, static_cast<const char*>(bytes) + done, size - done,
                                   static_cast<off_t>(offset + done));
    if (written > 0)
      done += static_cast<size_t>(written);
    else if (written == 0 || errno != EINTR)
      fail("write", name);
  }
}

void read_all(int descriptor, void* bytes, size_t size, uint64_t offset, const std::string& name) {
  for (size_t done = 0; done < size;) {
    const ssize_t got =
        pread(descriptor, static_cast<char*>(bytes) + done, size - done, static_cast<off_t>(offset + done));
    if (got == 0) throw UserError("cannot read " + name + ": it was cut off");
    if (got > 0)
      done += static_cast<size_t>(got);
    else if (errno != EINTR)
      fail("read", name);
  }
}

}  // namespace

RecordedScan::RecordedScan(const std::string& folder, const ScanPlan& plan, int64_t rows)
    : plan_(plan),
      folder_(folder),
      path_(folder + "/scan.npy"),
      rest_name_(folder + "/rest.XXXXXX"),
      rows_(std::clamp<int64_t>(rows, 0, plan.height)),
      there_(static_cast<size_t>(plan.height * plan.width)) {
  try {
    if (rows_ > 0) {
      const std::string header = npy_float32_header({rows_, plan.width, plan.energy.size});
      header_bytes_ = header.size();
      const auto values = static_cast<uint64_t>(rows_ * plan.width * plan.energy.size);
      first_rows_ = open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (first_rows_ < 0 ||
          ftruncate(first_rows_, static_cast<off_t>(header_bytes_ + values * sizeof(float))) != 0)
        fail("write", path_);
      write_all(first_rows_, header.data(), header.size(), 0, path_);
    }
    if (rows_ < plan.height) {
      rest_ = mkostemp(rest_name_.data(), O_CLOEXEC);
      if (rest_ < 0 || unlink(rest_name_.c_str()) != 0) fail("write", rest_name_);
    }
  } catch (...) {
    if (first_rows_ >= 0) {
      close(first_rows_);
      discard();
    }
    if (rest_ >= 0) close(rest_);
    throw;
  }
}

RecordedScan::~RecordedScan() {
  if (first_rows_ >= 0) close(first_rows_);
  if (rest_ >= 0) close(rest_);
}

RecordedScan::Place RecordedScan::place_of(int64_t pixel) const {
  const auto spectrum_bytes = static_cast<uint64_t>(plan_.energy.size) * sizeof(float);
  const int64_t in_first = rows_ * plan_.width;
  if (pixel < in_first)
    return {first_rows_, header_bytes_ + static_cast<uint64_t>(pixel) * spectrum_bytes, in_first - pixel};
  return {rest_, static_cast<uint64_t>(pixel - in_first) * spectrum_bytes,
          plan_.height * plan_.width - pixel};
}

void RecordedScan::write(int64_t first, int64_t count, std::span<const float> spectra) {
  for (int64_t done = 0; done < count;) {
    const Place place = place_of(first + done);
    const int64_t now = std::min(count - done, place.pixels);
    write_all(place.descriptor, spectra.data() + done * plan_.energy.size,
              static_cast<size_t>(now * plan_.energy.size) * sizeof(float), place.offset,
              place.descriptor == first_rows_ ? path_ : rest_name_);
    std::fill_n(there_.begin() + first + done, now, uint8_t{1});
    done += now;
  }
}

void RecordedScan::replay(
    int64_t first, int64_t last,
    const std::function<void(int64_t first, int64_t count, std::span<const float> spectra)>& take) const {
  std::vector<float> spectra;
  for (int64_t pixel = first; pixel < last; ++pixel) {
    if (!there_[static_cast<size_t>(pixel)]) continue;
    const Place place = place_of(pixel);
    const int64_t row_end = (pixel / plan_.width + 1) * plan_.width;
    const int64_t end = std::min({last, row_end, pixel + place.pixels});
    int64_t count = 1;
    while (pixel + count < end && there_[static_cast<size_t>(pixel + count)]) ++count;
    spectra.resize(static_cast<size_t>(count * plan_.energy.size));
    read_all(place.descriptor, spectra.data(), spectra.size() * sizeof(float), place.offset,
             place.descriptor == first_rows_ ? path_ : rest_name_);
    take(pixel, count, spectra);
    pixel += count - 1;
  }
}

double RecordedScan::share_there() const {
  const auto pixels = static_cast<ptrdiff_t>(rows_ * plan_.width);
  return static_cast<double>(std::count(there_.begin(), there_.begin() + pixels, 1)) /
         static_cast<double>(std::max<ptrdiff_t>(pixels, 1));
}

void RecordedScan::discard() const {
  if (rows_ == 0) return;
  unlink(path_.c_str());
  rmdir(folder_.c_str());
}

void RecordedScan::write_mask(const std::string& file) const {
  std::vector<uint8_t> mask(static_cast<size_t>(rows_ * plan_.width));
  for (size_t i = 0; i < mask.size(); ++i)
    mask[i] = there_[i] == 0 || (!plan_.excluded.empty() && plan_.excluded[i] != 0);
  write_npy(file, {rows_, plan_.width}, mask.data());
}

}  // namespace eelsvae
