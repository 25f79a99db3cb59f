// How the rows of several matmuls are cut for threads that take pieces from one list.
#pragma once

#include <cstdint>
#include <span>

#include "base/function_ref.h"

namespace flashmoe {

// Multiply-adds below which handing a piece to another thread costs more than it saves: about 2 us of work.
inline constexpr int64_t kPieceCost = 64 * 1024;

// Rows of one matmul.
struct SharedRows {
  int64_t n = 0;
  int64_t cost = 0;   // multiply-adds of one
  int64_t step = 1;   // pieces begin at multiples of it
  int64_t least = 1;  // below this a piece costs noticeably more than its rows
};

struct Piece {
  int32_t matmul = 0;
  int64_t begin = 0, end = 0;  // rows
};

struct Shares {
  std::span<const Piece> pieces;
  int64_t cost = 0;  // of all
};

// Room for all pieces. With less they become larger than they should be; there must be one for each matmul.
constexpr int64_t most_pieces(int64_t n_matmuls, int64_t n_threads) { return n_matmuls + 64 * n_threads; }

// Cuts matmuls [0, n) into pieces, each of one of them, in order. A piece is a part of all that is left: the first are
// large, since each prepares its activations for itself, and the last small, so that threads are done together. Of less
// than kPieceCost in all, each matmul is one piece.
Shares share_out(int64_t n, FunctionRef<SharedRows(int64_t)> rows_of, int64_t n_threads, std::span<Piece> room);

}  // namespace flashmoe
