#include "io/simplon/stream_decoder.h"

namespace eelsvae {

StreamDecoder::Version StreamDecoder::version_of(std::span<const std::byte> part) {
  const int first = part.empty() ? 0 : std::to_integer<int>(part[0]);
  if (first == '{') return Version::one;
  // A map, or the tag that says that it is CBOR.
  if (first >> 5 == 5 || first == 0xd9) return Version::two;
  throw BadMessage(
      "a message that begins neither as JSON nor as a CBOR map: nothing that a DECTRIS detector sends");
}

void StreamDecoder::take(std::span<const std::byte> part, bool last, SeriesEvents& events) {
  const Version before = version_;
  // Until it has been understood, so that an exception leaves it so.
  version_ = last ? Version::unknown : Version::passed_over;
  if (before == Version::passed_over) return;
  if (before != Version::one) version1_.forget_message();
  if (part.size() > most_message_bytes)
    throw BadMessage("a part of " + std::to_string(part.size()) + " bytes; at most " +
                     std::to_string(most_message_bytes) + " are taken");
  const Version version = before == Version::unknown ? version_of(part) : before;
  if (version == Version::one)
    version1_.take(part, last, events);
  else
    version2_.take(part, events);
  if (!last) version_ = version;
}

}  // namespace eelsvae
