#include "io/containers/zip_archive.h"

#include <zip.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "engine/stop_token.h"
#include "io/files/message_text.h"
#include "kernels/error.h"
#include "kernels/host_memory.h"

namespace eelsvae {

struct ZipArchive::Source {
  std::span<const std::byte> bytes;
  uint64_t position = 0;
  uint64_t last_read = 0;  // where the last read began
  zip_error_t error = {};

  static zip_int64_t command(void* user_data, void* data, zip_uint64_t length, zip_source_cmd_t what);
};

namespace {

std::string message(zip_error_t* error) {
  return one_line(zip_error_strerror(error));
}

// The numbers of a member that lies in the file as it is.
class PlainValues : public ImageValues {
 public:
  PlainValues(std::shared_ptr<const MappedFile> file, uint64_t begin, const ZipMember& member,
              const std::string& context, std::shared_ptr<const ImageValues> values)
      : file_(std::move(file)),
        begin_(begin),
        member_(member),
        context_(context),
        values_(std::move(values)) {}

  bool read(const ArrayPart& part, std::span<const int64_t> out_stride, float* out,
            const StopToken& stop) const override {
    if (checksum() != member_.crc) throw UserError(context_ + " is damaged: its checksum is wrong");
    return values_->read(part, out_stride, out, stop);
  }

 private:
  uint32_t checksum() const {
    constexpr int64_t piece = int64_t{4} << 20;
    const auto size = static_cast<int64_t>(member_.size);
    const int64_t pieces = (size + piece - 1) / piece;
    std::vector<uint32_t> sums(static_cast<size_t>(pieces));
    const std::byte* first = file_->data() + begin_;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < pieces; ++i) {
      const std::byte* data = first + i * piece;
      const int64_t length = std::min(piece, size - i * piece);
      sums[static_cast<size_t>(i)] =
          static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(data), static_cast<uInt>(length)));
      file_->release(data, data + length);
    }
    uLong sum = 0;
    for (int64_t i = 0; i < pieces; ++i)
      sum = crc32_combine(sum, sums[static_cast<size_t>(i)], std::min(piece, size - i * piece));
    return static_cast<uint32_t>(sum);
  }

  std::shared_ptr<const MappedFile> file_;
  uint64_t begin_;
  ZipMember member_;
  std::string context_;
  std::shared_ptr<const ImageValues> values_;
};

}  // namespace

// A member's bytes from the first to the last.
class ZipStream {
 public:
  ZipStream(const ZipArchive& archive, const ZipMember& member)
      : archive_(archive), member_(member), left_(member.size) {
    if (member.encrypted) fail("is encrypted, which cannot be read");
    if (member.method != ZIP_CM_STORE && member.method != ZIP_CM_DEFLATE)
      fail("is compressed by method " + std::to_string(member.method) +
           "; stored and deflated members can be read");
    // A deflated byte unpacks to 1032 bytes at most (RFC 1951: a match of 258 bytes takes two bits).
    const bool deflated = member.method == ZIP_CM_DEFLATE;
    if (member.packed_size > archive.file().size() || (!deflated && member.packed_size != member.size) ||
        (deflated && member.size / 1032 > member.packed_size))
      fail("is damaged: " + std::to_string(member.packed_size) + " bytes of the archive cannot hold the " +
           std::to_string(member.size) + " bytes that its directory states");
    file_ = zip_fopen_index(archive.archive_, member.index, 0);
    if (!file_) fail("cannot be read: " + message(zip_get_error(archive.archive_)));
  }
  ~ZipStream() {
    if (file_) zip_fclose(file_);
  }
  ZipStream(const ZipStream&) = delete;
  ZipStream& operator=(const ZipStream&) = delete;

  void read(std::span<std::byte> bytes) {
    while (!bytes.empty()) {
      const zip_int64_t count = zip_fread(file_, bytes.data(), bytes.size());
      if (count < 0) fail("is damaged: " + message(zip_file_get_error(file_)));
      if (count == 0)
        fail("is cut off: " + std::to_string(member_.size) + " bytes should be there, " +
             std::to_string(member_.size - left_) + " are");
      bytes = bytes.subspan(static_cast<size_t>(count));
      left_ -= std::min(left_, static_cast<uint64_t>(count));
    }
  }

  // Lets go of the archive's pages that have been read.
  void release() const {
    const MappedFile& file = archive_.file();
    file.release(file.data(), file.data() + archive_.source_->position);
  }

  // Expects the end, where libzip compares the checksum.
  void finish() {
    std::byte more;
    const zip_int64_t count = zip_fread(file_, &more, 1);
    if (count < 0) fail("is damaged: " + message(zip_file_get_error(file_)));
    if (count > 0)
      fail("is damaged: it is longer than the " + std::to_string(member_.size) + " bytes stated");
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw UserError(archive_.context(member_) + " " + what);
  }

  const ZipArchive& archive_;
  const ZipMember& member_;
  uint64_t left_;
  zip_file_t* file_ = nullptr;
};

namespace {

// The numbers of a deflated member, which is unpacked block by block in the order in which it is stored.
//
// A step is one along the slowest axes that are too large for a block, and of the next one. A block holds as
// many of them as it can that follow each other along that axis.
class PackedValues : public ImageValues {
 public:
  PackedValues(std::shared_ptr<const ZipArchive> archive, const ZipMember& member, uint64_t offset,
               StoredArray array, int64_t block_bytes)
      : archive_(std::move(archive)),
        member_(member),
        offset_(offset),
        array_(std::move(array)),
        block_bytes_(block_bytes),
        axes_(array_.shape.size()) {
    std::iota(axes_.begin(), axes_.end(), size_t{0});
    std::stable_sort(axes_.begin(), axes_.end(), [&](size_t a, size_t b) {
      return array_.stride[a] > array_.stride[b] ||  // axes of size 1 share the stride of the next
             (array_.stride[a] == array_.stride[b] && array_.shape[a] > array_.shape[b]);
    });
    while (stepped_ + 1 < axes_.size() && array_.stride[axes_[stepped_]] > block_bytes_) ++stepped_;
  }

  // Where more is read next, the stream stays open behind what was wanted, and goes on from there.
  bool read(const ArrayPart& part, std::span<const int64_t> out_stride, float* out,
            const StopToken& stop) const override {
    const std::lock_guard turn(turn_);
    const bool empty = element_count(array_.shape, element_size(array_.type)) <= 0;
    const int64_t steps = empty ? 0 : steps_before(array_.shape, true);
    const bool nothing = std::ranges::find(part.size, 0) != part.size.end();
    int64_t first = 0, last = steps;
    if (!empty && !nothing) {
      std::vector<int64_t> end = part.first;
      for (size_t d = 0; d < end.size(); ++d) end[d] += part.size[d];
      first = steps_before(part.first, false);
      if (part.more) last = steps_before(end, true);
    }
    std::unique_ptr<ZipStream> stream = std::move(open_);  // of no use if something is thrown
    if (!stream || next_ > first) {
      stream = std::make_unique<ZipStream>(*archive_, member_);
      std::vector<std::byte> header(static_cast<size_t>(offset_));
      stream->read(header);
      next_ = 0;
    }
    bool finite = true;
    while (next_ < last) {
      stop.stop_if_requested();
      const int64_t count = steps_in_block(last);
      finite &= convert(*stream, next_, count, part, out_stride, out);
      next_ += count;
    }
    if (part.more)
      open_ = std::move(stream);
    else
      stream->finish();
    block_ = part.more ? std::move(block_) : decltype(block_)();
    return finite;
  }

  std::vector<int64_t> together() const override {
    std::vector<int64_t> sizes = array_.shape;
    // Of a series one frame may be wanted, which is unpacked row by row.
    size_t alone = 0;
    while (alone + 3 < axes_.size() && axes_[alone] == alone) ++alone;
    for (size_t i = 0; i <= alone && i < axes_.size(); ++i) sizes[axes_[i]] = 1;
    return sizes;
  }

 private:
  // Steps from the array's first to that of a place; or to the one behind the last element before `end`.
  int64_t steps_before(const std::vector<int64_t>& place, bool end) const {
    int64_t steps = 0;
    for (size_t i = 0; i <= stepped_ && i < axes_.size(); ++i)
      steps = steps * array_.shape[axes_[i]] + place[axes_[i]] - (end ? 1 : 0);
    return steps + (end ? 1 : 0);
  }

  int64_t steps_in_block(int64_t last) const {
    if (axes_.empty()) return 1;
    const size_t axis = axes_[stepped_];
    const int64_t size = array_.shape[axis], here = next_ % size;
    return std::min(
        {std::clamp<int64_t>(block_bytes_ / array_.stride[axis], 1, size), size - here, last - next_});
  }

  // Reads `count` steps from the one on at which the stream stands.
  bool convert(ZipStream& stream, int64_t step, int64_t count, const ArrayPart& wanted,
               std::span<const int64_t> out_stride, float* out) const {
    StoredArray block = array_;
    std::vector<int64_t> place(axes_.size());
    for (size_t i = axes_.empty() ? 0 : stepped_ + 1; i-- > 0;) {
      const size_t axis = axes_[i];
      place[axis] = step % array_.shape[axis];
      step /= array_.shape[axis];
      block.shape[axis] = i == stepped_ ? count : 1;
    }
    const auto bytes =
        element_count(block.shape, element_size(block.type)) * static_cast<int64_t>(element_size(block.type));
    block_.resize(static_cast<size_t>(bytes));
    stream.read(block_);
    if (bytes >= block_bytes_ / 2) stream.release();
    const std::optional<Overlap> overlap = overlap_of(place, block.shape, wanted);
    if (!overlap) return true;
    for (size_t d = 0; d < place.size(); ++d) out += overlap->in_wanted[d] * out_stride[d];
    const auto [part, begin] = part_of(block, overlap->in_box);
    return convert_array(block_.data() + begin, part, out_stride, out);
  }

  std::shared_ptr<const ZipArchive> archive_;
  ZipMember member_;
  uint64_t offset_;
  StoredArray array_;
  int64_t block_bytes_;
  std::vector<size_t> axes_;  // slowest first
  size_t stepped_ = 0;        // of these: that of the steps

  mutable std::mutex turn_;
  mutable std::unique_ptr<ZipStream> open_;  // if there is more to be read,
  mutable int64_t next_ = 0;                 // from this step on
  mutable std::vector<std::byte, HostAllocator<std::byte>> block_;
};

}  // namespace

zip_int64_t ZipArchive::Source::command(void* user_data, void* data, zip_uint64_t length,
                                        zip_source_cmd_t what) {
  Source& source = *static_cast<Source*>(user_data);
  const uint64_t size = source.bytes.size();
  switch (what) {
    case ZIP_SOURCE_OPEN:
      source.position = 0;
      return 0;
    case ZIP_SOURCE_READ: {
      const uint64_t count = std::min<uint64_t>(length, size - source.position);
      source.last_read = source.position;
      if (count > 0) std::memcpy(data, source.bytes.data() + source.position, count);
      source.position += count;
      return static_cast<zip_int64_t>(count);
    }
    case ZIP_SOURCE_SEEK: {
      const zip_int64_t place =
          zip_source_seek_compute_offset(source.position, size, data, length, &source.error);
      if (place < 0) return -1;
      source.position = static_cast<uint64_t>(place);
      return 0;
    }
    case ZIP_SOURCE_TELL:
      return static_cast<zip_int64_t>(source.position);
    case ZIP_SOURCE_STAT: {
      zip_stat_t status;
      zip_stat_init(&status);
      status.size = size;
      status.valid = ZIP_STAT_SIZE;
      std::memcpy(data, &status, sizeof status);
      return sizeof status;
    }
    case ZIP_SOURCE_ERROR:
      return zip_error_to_data(&source.error, data, length);
    case ZIP_SOURCE_SUPPORTS:
      return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE,
                                            ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE,
                                            ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS, -1);
    default:
      return 0;
  }
}

ZipArchive::ZipArchive(std::shared_ptr<const MappedFile> file)
    : file_(std::move(file)), source_(std::make_unique<Source>()) {
  source_->bytes = file_->bytes();
  if (source_->bytes.empty())  // to libzip an archive without members
    throw UserError(file_->path() + ": damaged or cut off zip archive: empty file");
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_function_create(Source::command, source_.get(), &error);
  if (source) archive_ = zip_open_from_source(source, ZIP_RDONLY, &error);
  if (!archive_) {
    if (source) zip_source_free(source);
    const std::string reason = message(&error);
    zip_error_fini(&error);
    throw UserError(file_->path() + ": damaged or cut off zip archive: " + reason);
  }
  std::set<std::string> names;
  for (zip_int64_t i = 0, count = zip_get_num_entries(archive_, 0); i < count; ++i) {
    zip_stat_t status;
    zip_stat_init(&status);
    std::string mistake;
    if (zip_stat_index(archive_, static_cast<zip_uint64_t>(i), 0, &status) != 0) {
      mistake = "damaged zip archive: " + message(zip_get_error(archive_));
    } else {
      members_.push_back({status.name, static_cast<uint64_t>(i), status.size, status.comp_size, status.crc,
                          status.comp_method, status.encryption_method != ZIP_EM_NONE});
      if (!names.insert(status.name).second) mistake = "member '" + one_line(status.name) + "' appears twice";
    }
    if (mistake.empty()) continue;
    zip_discard(archive_);
    throw UserError(file_->path() + ": " + mistake);
  }
}

ZipArchive::~ZipArchive() {
  zip_discard(archive_);
}

const ZipMember* ZipArchive::find(std::string_view name) const {
  const auto found =
      std::find_if(members_.begin(), members_.end(), [&](const ZipMember& m) { return m.name == name; });
  return found == members_.end() ? nullptr : &*found;
}

std::string ZipArchive::context(const ZipMember& member) const {
  constexpr size_t longest = 80;
  const std::string name = one_line(member.name);
  return file_->path() + ": member '" + (name.size() <= longest ? name : name.substr(0, longest) + "...") +
         "'";
}

std::vector<std::byte> ZipArchive::read(const ZipMember& member, size_t limit) const {
  if (member.size > limit)
    throw UserError(context(member) + " has " + std::to_string(member.size) + " bytes, at most " +
                    std::to_string(limit) + " make sense");
  ZipStream stream(*this, member);
  std::vector<std::byte> bytes(static_cast<size_t>(member.size));
  stream.read(bytes);
  stream.finish();
  return bytes;
}

std::vector<std::byte> ZipArchive::read_start(const ZipMember& member, size_t limit) const {
  ZipStream stream(*this, member);
  std::vector<std::byte> bytes(static_cast<size_t>(std::min<uint64_t>(member.size, limit)));
  stream.read(bytes);
  return bytes;
}

uint64_t ZipArchive::stored_offset(const ZipMember& member) const {
  ZipStream stream(*this, member);
  std::byte first;
  stream.read({&first, 1});
  return source_->last_read;
}

std::shared_ptr<const ImageValues> zip_values(const std::shared_ptr<const ZipArchive>& archive,
                                              const ZipMember& member, uint64_t offset, StoredArray array,
                                              Checksum checksum, int64_t block_bytes) {
  if (member.method != ZIP_CM_STORE || member.size == 0)
    return std::make_shared<PackedValues>(archive, member, offset, std::move(array), block_bytes);
  const std::string context = archive->context(member);
  const uint64_t begin = archive->stored_offset(member);
  if (member.size > archive->file().size() - begin)
    throw UserError(context + " is cut off: the archive ends");
  auto values = mapped_values(archive->file_, begin + offset, std::move(array), context);
  if (checksum == Checksum::ignored) return values;
  return std::make_shared<PlainValues>(archive->file_, begin, member, context, std::move(values));
}

// A local header: signature, 22 bytes, length of the name, length of what follows it, the name
// (APPNOTE.TXT 6.3.10, 4.3.7).
std::string_view first_zip_member(std::string_view start) {
  constexpr size_t header = 30;
  if (start.size() < header || !start.starts_with("PK\x03\x04")) return "";
  const size_t length = static_cast<uint8_t>(start[26]) | static_cast<size_t>(static_cast<uint8_t>(start[27]))
                                                              << 8;
  return start.substr(header, length);
}

}  // namespace eelsvae
