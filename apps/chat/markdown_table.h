// A table as lines for a terminal.
#pragma once

#include <cstddef>
#include <vector>

#include "chat/styled_line.h"

namespace flashmoe {

enum class CellAlignment { left, centre, right };

struct Table {
  size_t n_columns = 0;
  std::vector<CellAlignment> alignments;  // [n_columns]
  std::vector<std::vector<Line>> rows;    // [rows][up to n_columns]; the first one is the heading
};

// Cells are wrapped where the table is wider than `columns`; where even that is too wide, each row becomes a list of
// its cells.
std::vector<Line> render_table(const Table& table, int columns);

}  // namespace flashmoe
