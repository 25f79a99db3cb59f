// Charts as inline SVG: no script, no outside resource, colours from the page's style.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace flashmoe {

// Text as HTML and SVG hold it.
std::string escaped(std::string_view text);

struct ChartPoint {
  double x = 0, y = 0;
};
// A line; the second of a chart is dashed, so that grey prints tell them apart.
struct ChartLine {
  std::string name;  // in the legend; empty: none
  std::vector<ChartPoint> points;
};
struct LineChart {
  std::string title;  // for those who cannot see it
  std::string x_label, y_label;
  std::vector<ChartLine> lines;
  double x_most = 0;              // from 0 to there; 0: by the points
  double y_most = 0;              // 0: by the points
  std::vector<ChartPoint> marks;  // points that stand out,
  std::string mark_name;          // and what they are
};
std::string draw(const LineChart& chart);

struct ChartBar {
  std::string name;
  double value = 0;
  std::string label;  // the value, for people
};
// Horizontal bars with their names.
std::string draw_bars(const std::string& title, std::span<const ChartBar> bars);
// Upright bars over equal steps from x_first to x_last.
std::string draw_histogram(const std::string& title, const std::string& x_label, double x_first, double x_last,
                           std::span<const double> counts);
// Cells [rows, columns] in eight shades by their square root, the largest the darkest.
std::string draw_heat_map(const std::string& title, const std::string& x_label, const std::string& y_label,
                          std::span<const float> cells, size_t n_rows);

}  // namespace flashmoe
