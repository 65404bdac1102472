#pragma once

namespace eelsvae {

// What this processor lacks that all of the library needs, as a line for the user; null: nothing. All but
// this is compiled for processors that have it. A program ends with that line before anything else of it
// runs. A library that other programs load, and that asks here before it does anything, defines
// eelsvae_asks_for_processor().
const char* missing_of_processor() noexcept;

}  // namespace eelsvae

extern "C" void eelsvae_asks_for_processor();
