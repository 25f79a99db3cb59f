#include "model/pieces.h"

#include <algorithm>

#include "base/check.h"

namespace flashmoe {
namespace {

// Pieces that a thread would take if all were as large as the next. With two threads the first is a sixth of the loop.
constexpr int64_t kPiecesPerThread = 3;

int64_t rounded_up(int64_t rows, int64_t step) { return (rows + step - 1) / step * step; }

// Rows of the next piece, of `left` ones of a matmul.
int64_t rows_of_piece(const SharedRows& rows, int64_t left, int64_t cost) {
  const int64_t wanted = std::max(rows.least, cost / std::max<int64_t>(1, rows.cost));
  const int64_t n = rounded_up(std::max<int64_t>(1, wanted), rows.step);
  return left < n + rows.least ? left : n;
}

}  // namespace

Shares share_out(int64_t n, FunctionRef<SharedRows(int64_t)> rows_of, int64_t n_threads, std::span<Piece> room) {
  CHECK(n <= static_cast<int64_t>(room.size()));
  int64_t total = 0;
  for (int64_t i = 0; i < n; ++i) total += rows_of(i).n * rows_of(i).cost;
  int64_t cost_left = total;
  size_t n_pieces = 0;
  for (int64_t i = 0; i < n; ++i) {
    const SharedRows rows = rows_of(i);
    for (int64_t begin = 0; begin < rows.n;) {
      const bool full = n_pieces + static_cast<size_t>(n - i) >= room.size();
      const int64_t cost = std::max(kPieceCost, cost_left / (kPiecesPerThread * n_threads));
      const int64_t left = rows.n - begin, count = total <= kPieceCost || full ? left : rows_of_piece(rows, left, cost);
      room[n_pieces++] = {static_cast<int32_t>(i), begin, begin + count};
      begin += count;
      cost_left -= count * rows.cost;
    }
  }
  return {room.first(n_pieces), total};
}

}  // namespace flashmoe
