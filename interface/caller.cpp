#include "interface/caller.h"

#include "interface/guard.h"
#include "io/files/message_text.h"

namespace eelsvae {
namespace {

eelsvae_options no_options() {
  eelsvae_options options{};
  options.struct_size = sizeof options;
  return options;
}

}  // namespace

Caller::Caller(const eelsvae_options* options)
    : options_(options ? fields_of(options, sizeof(eelsvae_options), no_options(), "options")
                       : no_options()) {
  if (options_.reserved != 0)
    throw UserError("options: reserved is not 0; let eelsvae_options_init() set all fields first");
  // Where the system has no more threads, OpenMP ends the process.
  constexpr int32_t most_threads = 1024;
  if (options_.threads < 0 || options_.threads > most_threads)
    throw UserError("options: threads is " + std::to_string(options_.threads) + "; give 1 to " +
                    std::to_string(most_threads) + ", or 0 for OpenMP's own setting");
}

void Caller::take_threads(std::optional<ThreadCount>& threads) const {
  if (options_.threads > 0) threads.emplace(options_.threads);
}

void Caller::log(int32_t level, const std::string& text) const {
  if (options_.log && !text.empty()) options_.log(options_.log_user, level, one_line(text).c_str());
}

void Caller::progress(const char* stage, int64_t done, int64_t total) {
  if (options_.progress && options_.progress(options_.progress_user, stage, done, total) != 0) stop();
}

void Caller::begin(const char* stage) {
  progress(stage, 0, 1);
  token().stop_if_requested();
}

}  // namespace eelsvae
