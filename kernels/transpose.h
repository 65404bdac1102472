#pragma once

#include <utility>

namespace eelsvae {

// Exchanges the bit `Bit` of the rows' and the columns' numbers.
template <int Bit, typename Row, int Count, int... Columns>
[[gnu::always_inline]] inline void exchange_bit(Row (&rows)[Count], std::integer_sequence<int, Columns...>) {
#pragma GCC unroll 16
  for (int r = 0; r < Count; ++r) {
    if (r & Bit) continue;
    const Row a = rows[r], b = rows[r | Bit];
    rows[r] = __builtin_shufflevector(a, b, (Columns & Bit ? Count + Columns - Bit : Columns)...);
    rows[r | Bit] = __builtin_shufflevector(a, b, (Columns & Bit ? Count + Columns : Columns + Bit)...);
  }
}

// Transposes 16 rows, vectors of 16 numbers each.
template <typename Row>
[[gnu::always_inline]] inline void transpose(Row (&rows)[16]) {
  constexpr std::make_integer_sequence<int, 16> columns;
  exchange_bit<1>(rows, columns);
  exchange_bit<2>(rows, columns);
  exchange_bit<4>(rows, columns);
  exchange_bit<8>(rows, columns);
}

}  // namespace eelsvae
