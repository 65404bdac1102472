#include "interface/guard.h"

#include "io/files/message_text.h"

namespace eelsvae {
namespace {

thread_local std::string message;
thread_local bool lost = false;              // there was no memory for it
thread_local const char* refusal = nullptr;  // instead of it

}  // namespace

const char* last_message() noexcept {
  if (refusal) return refusal;
  return lost ? "no memory, not even for a message" : message.c_str();
}

void forget_message() noexcept {
  message.clear();
  lost = false;
}

eelsvae_status refuse(const char* text) noexcept {
  refusal = text;
  return EELSVAE_MISTAKE;
}

eelsvae_status keep_message(eelsvae_status status, const char* text) noexcept {
  try {
    message = one_line(text);
    lost = false;
  } catch (...) {
    lost = true;
  }
  return status;
}

void check_struct_size(size_t given, size_t first, size_t known, const char* name) {
  if (given >= first && given <= known) return;
  const std::string sizes =
      first == known ? std::to_string(first) : std::to_string(first) + " to " + std::to_string(known);
  throw UserError(std::string(name) + ": struct_size is " + std::to_string(given) + ", and this library (" +
                  eelsvae_version() + ") takes " + sizes +
                  "; let its _init function set it, or compile against this library's header");
}

}  // namespace eelsvae

extern "C" void eelsvae_asks_for_processor() {}
