#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <string>

#include "engine/stop_token.h"
#include "include/eelsvae/eelsvae.h"
#include "kernels/error.h"
#include "kernels/processor.h"

// Between C and C++: no exception gets out, and what it said is kept for whoever asks.
namespace eelsvae {

// What this thread's last call had to say; "" where all went well.
const char* last_message() noexcept;
void forget_message() noexcept;
eelsvae_status keep_message(eelsvae_status status, const char* text) noexcept;
// On a processor on which nothing else of the library can run, this and eelsvae.cpp do. text: lives on.
eelsvae_status refuse(const char* text) noexcept;

// Does the work of a call. `work` has no result; it leaves it in what it refers to.
template <class Work>
eelsvae_status guarded(const Work& work) noexcept {
  if (const char* missing = missing_of_processor()) return refuse(missing);
  try {
    work();
    forget_message();
    return EELSVAE_OK;
  } catch (const Interrupted&) {
    return keep_message(EELSVAE_STOPPED, "stopped, as it was asked to");
  } catch (const UserError& error) {
    return keep_message(EELSVAE_MISTAKE, error.what());
  } catch (const std::bad_alloc&) {
    return keep_message(EELSVAE_NO_MEMORY, "the system gave no more memory");
  } catch (const std::exception& error) {
    return keep_message(EELSVAE_DEFECT, error.what());
  } catch (...) {
    return keep_message(EELSVAE_DEFECT, "an exception of an unknown kind");
  }
}

// What a caller has to give. UserError for NULL.
template <class T>
T& needed(T* given, const char* name) {
  if (!given) throw UserError(std::string(name) + " is NULL; give one");
  return *given;
}

// Whether a caller's structure begins as this library's does. `first`: its size in the first version that had
// it. UserError if it was made for another interface.
void check_struct_size(size_t given, size_t first, size_t known, const char* name);

// A caller's structure with the fields that it does not know at their defaults. UserError for NULL, and as
// above.
template <class T>
T fields_of(const T* given, size_t first, const T& defaults, const char* name) {
  size_t size = 0;  // nothing behind it may be read
  std::memcpy(&size, &needed(given, name), sizeof size);
  check_struct_size(size, first, sizeof(T), name);
  T fields = defaults;
  std::memcpy(static_cast<void*>(&fields), given, size);
  return fields;
}

// The other way: as much as the caller's structure has room for.
template <class T>
void hand_out(T fields, T* to, size_t size, size_t first, const char* name) {
  check_struct_size(size, first, sizeof(T), name);
  fields.struct_size = size;
  std::memcpy(static_cast<void*>(&needed(to, name)), &fields, size);
}

}  // namespace eelsvae
