#include "chat/markdown_table.h"

#include <algorithm>
#include <numeric>

namespace flashmoe {
namespace {

constexpr int kLeastCell = 6;  // narrower than that no column is made
constexpr const char* kBetween = "  ";
constexpr int kBetweenColumns = 2;

const Line& cell_of(const Table& table, size_t row, size_t column) {
  static const Line empty;
  return column < table.rows[row].size() ? table.rows[row][column] : empty;
}

std::vector<int> natural_widths(const Table& table) {
  std::vector<int> widths(table.n_columns, 1);
  for (size_t row = 0; row < table.rows.size(); ++row) {
    for (size_t column = 0; column < table.n_columns; ++column) {
      widths[column] = std::max(widths[column], columns_of(cell_of(table, row, column)));
    }
  }
  return widths;
}

// Takes from the widest until they fit; false if they cannot.
bool fit(std::vector<int>& widths, int columns) {
  const int between = kBetweenColumns * (static_cast<int>(widths.size()) - 1);
  while (std::accumulate(widths.begin(), widths.end(), between) > columns) {
    const auto widest = std::max_element(widths.begin(), widths.end());
    if (*widest <= kLeastCell) return false;
    --*widest;
  }
  return true;
}

void append_padded(Line& line, const Line& cell, int width, CellAlignment alignment, bool last) {
  const int missing = std::max(0, width - columns_of(cell));
  const int before = alignment == CellAlignment::left ? 0 : alignment == CellAlignment::right ? missing : missing / 2;
  append(line, kPlain, std::string(static_cast<size_t>(before), ' '));
  for (const Span& span : cell) append(line, span.style, span.text);
  if (!last) append(line, kPlain, std::string(static_cast<size_t>(missing - before), ' ') + kBetween);
}

Line bold(const Line& cell) {
  Line out = cell;
  for (Span& span : out) span.style |= kBold;
  return out;
}

void render_row(const Table& table, size_t row, const std::vector<int>& widths, std::vector<Line>& lines) {
  std::vector<std::vector<Line>> cells;
  size_t height = 1;
  for (size_t column = 0; column < table.n_columns; ++column) {
    const Line& cell = cell_of(table, row, column);
    cells.push_back(wrap(row == 0 ? bold(cell) : cell, widths[column]));
    height = std::max(height, cells.back().size());
  }
  for (size_t at = 0; at < height; ++at) {
    Line line;
    for (size_t column = 0; column < table.n_columns; ++column) {
      append_padded(line, at < cells[column].size() ? cells[column][at] : Line{}, widths[column],
                    table.alignments[column], column + 1 == table.n_columns);
    }
    lines.push_back(std::move(line));
  }
}

std::vector<Line> as_lists(const Table& table, int columns) {
  std::vector<Line> lines;
  for (size_t row = 1; row < table.rows.size(); ++row) {
    if (row > 1) lines.emplace_back();
    for (size_t column = 0; column < table.n_columns; ++column) {
      Line line = bold(cell_of(table, 0, column));
      append(line, kBold, ": ");
      for (const Span& span : cell_of(table, row, column)) append(line, span.style, span.text);
      for (Line& wrapped : wrap(line, columns, {{}, {{kPlain, "  "}}})) lines.push_back(std::move(wrapped));
    }
  }
  return lines;
}

}  // namespace

std::vector<Line> render_table(const Table& table, int columns) {
  if (table.n_columns == 0 || table.rows.empty()) return {};
  std::vector<int> widths = natural_widths(table);
  if (!fit(widths, columns)) return as_lists(table, columns);
  std::vector<Line> lines;
  render_row(table, 0, widths, lines);
  Line rule;
  for (size_t column = 0; column < table.n_columns; ++column) {
    std::string dashes;
    for (int i = 0; i < widths[column]; ++i) dashes += "─";
    append(rule, kDim, dashes + (column + 1 < table.n_columns ? kBetween : ""));
  }
  lines.push_back(std::move(rule));
  for (size_t row = 1; row < table.rows.size(); ++row) render_row(table, row, widths, lines);
  return lines;
}

}  // namespace flashmoe
