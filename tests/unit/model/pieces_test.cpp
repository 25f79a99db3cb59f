#include "model/pieces.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace flashmoe {
namespace {

std::vector<Piece> shared_out(const std::vector<SharedRows>& matmuls, int64_t n_threads, std::vector<Piece>* room) {
  const auto rows_of = [&](int64_t i) { return matmuls[static_cast<size_t>(i)]; };
  const Shares shares = share_out(static_cast<int64_t>(matmuls.size()), rows_of, n_threads, *room);
  int64_t cost = 0;
  for (const SharedRows& rows : matmuls) cost += rows.n * rows.cost;
  EXPECT_EQ(shares.cost, cost);
  return {shares.pieces.begin(), shares.pieces.end()};
}
std::vector<Piece> shared_out(const std::vector<SharedRows>& matmuls, int64_t n_threads) {
  std::vector<Piece> room(static_cast<size_t>(most_pieces(static_cast<int64_t>(matmuls.size()), n_threads)));
  return shared_out(matmuls, n_threads, &room);
}

// Every row of every matmul once, in order.
void expect_all_rows(const std::vector<SharedRows>& matmuls, const std::vector<Piece>& pieces) {
  size_t next = 0;
  for (size_t i = 0; i < matmuls.size(); ++i) {
    for (int64_t row = 0; row < matmuls[i].n; ++next) {
      ASSERT_LT(next, pieces.size());
      const Piece& piece = pieces[next];
      ASSERT_EQ(piece.matmul, static_cast<int32_t>(i));
      ASSERT_EQ(piece.begin, row);
      ASSERT_GT(piece.end, piece.begin);
      ASSERT_LE(piece.end, matmuls[i].n);
      row = piece.end;
    }
  }
  EXPECT_EQ(next, pieces.size());
}

int64_t cost_of(const std::vector<SharedRows>& matmuls, const Piece& piece) {
  return (piece.end - piece.begin) * matmuls[static_cast<size_t>(piece.matmul)].cost;
}

TEST(Pieces, AllRowsAreSharedOutOnce) {
  const std::vector<std::vector<SharedRows>> loops = {
      {},
      {{1, 1, 32, 32}},
      {{8192, 2048 * 512, 32, 128}},
      {{1, 2048, 32, 32}, {512, 4096, 256, 1}, {2048, 2048, 32, 32}, {7, 1, 32, 32}},
      std::vector<SharedRows>(257, {512, 4096 * 16, 256, 1}),
      {{0, 100, 1, 1}, {1'000'000, 1'000'000, 1, 1}, {5, 0, 1, 1}},
  };
  for (const auto& loop : loops) {
    for (const int64_t n_threads : {1, 2, 3, 16, 200}) expect_all_rows(loop, shared_out(loop, n_threads));
  }
}

TEST(Pieces, BeginAtStepsAndAreNoSmallerThanWorthwhile) {
  const std::vector<SharedRows> loop = {{8192, 2048 * 512, 32, 128}, {1000, 4096, 256, 1}};
  for (const Piece& piece : shared_out(loop, 4)) {
    const SharedRows& rows = loop[static_cast<size_t>(piece.matmul)];
    EXPECT_EQ(piece.begin % rows.step, 0);
    EXPECT_GE(piece.end - piece.begin, rows.least);
  }
}

// Of two threads that take them in turn, the last piece is what one may wait for.
TEST(Pieces, AreFewAndEndSmall) {
  const std::vector<SharedRows> loop = {{8192, 2048 * 512, 32, 128}};
  const auto pieces = shared_out(loop, 2);
  EXPECT_LE(pieces.size(), 20);
  EXPECT_GE(cost_of(loop, pieces.front()), 4 * cost_of(loop, pieces.back()));
  EXPECT_LE(cost_of(loop, pieces.back()), 2 * 128 * 2048 * 512);
  for (size_t i = 1; i + 1 < pieces.size(); ++i) {
    EXPECT_LE(cost_of(loop, pieces[i]), cost_of(loop, pieces[i - 1])) << i;
  }
}

TEST(Pieces, WhatIsNotWorthSharingIsOnePieceEach) {
  const std::vector<SharedRows> loop = {{256, 100, 32, 32}, {32, 1000, 32, 32}};
  EXPECT_EQ(shared_out(loop, 8).size(), 2U);
}

TEST(Pieces, LittleRoomMakesLargePieces) {
  const std::vector<SharedRows> loop(5, {100'000, 1'000'000, 1, 1});
  std::vector<Piece> room(7);
  const auto pieces = shared_out(loop, 16, &room);
  EXPECT_LE(pieces.size(), room.size());
  expect_all_rows(loop, pieces);
}

}  // namespace
}  // namespace flashmoe
