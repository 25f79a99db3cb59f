#include "svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace flashmoe {
namespace {

// In units of the view box, which a phone shows about one to one.
constexpr double kWidth = 360, kHeight = 230, kLeft = 46, kRight = 12, kTop = 24, kBottom = 38;
constexpr double kPlotWidth = kWidth - kLeft - kRight, kPlotHeight = kHeight - kTop - kBottom;
constexpr int kTicks = 4;
constexpr size_t kShades = 8;

std::string open_svg(const std::string& title, double height) {
  return fmt::format("<svg viewBox=\"0 0 {} {:g}\" role=\"img\" aria-label=\"{}\">", kWidth, height, escaped(title));
}

std::string text(double x, double y, std::string_view anchor, std::string_view words, std::string_view more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>", x, y, anchor, more,
                     escaped(words));
}

// The step of about kTicks ticks: 1, 2 or 5 times a power of ten.
double tick_step(double range) {
  const double rough = std::max(range, 1e-9) / kTicks;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

struct Axes {
  double x_first, x_last, y_most;
  double x(double value) const { return kLeft + (value - x_first) / (x_last - x_first) * kPlotWidth; }
  double y(double value) const { return kTop + kPlotHeight * (1 - value / y_most); }
};

std::string draw_axes(const Axes& axes, const std::string& x_label, const std::string& y_label) {
  std::string out;
  const double y_step = tick_step(axes.y_most), x_step = tick_step(axes.x_last - axes.x_first);
  for (double v = 0; v <= axes.y_most * 1.0001; v += y_step) {
    out += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}h{:.1f}\"/>", kLeft, axes.y(v), kPlotWidth);
    out += text(kLeft - 5, axes.y(v) + 3.5, "end", fmt::format("{:.4g}", v));
  }
  for (double v = std::ceil(axes.x_first / x_step) * x_step; v <= axes.x_last * 1.0001; v += x_step) {
    out += text(std::min(axes.x(v), kWidth - 14), kHeight - kBottom + 14, "middle", fmt::format("{:.5g}", v));
  }
  out += text(kLeft, 12, "start", y_label);
  return out + text(kLeft + kPlotWidth / 2, kHeight - 6, "middle", x_label);
}

// y_most such that the last tick is at the top or above all.
double rounded_up(double y) {
  const double step = tick_step(y);
  return std::max(step, std::ceil(y / step - 1e-9) * step);
}

Axes axes_of(const LineChart& chart) {
  Axes axes{1e300, -1e300, 0};
  const auto take = [&](const ChartPoint& p) {
    axes.x_first = std::min(axes.x_first, p.x);
    axes.x_last = std::max(axes.x_last, p.x);
    axes.y_most = std::max(axes.y_most, p.y);
  };
  for (const ChartLine& line : chart.lines) std::for_each(line.points.begin(), line.points.end(), take);
  std::for_each(chart.marks.begin(), chart.marks.end(), take);
  if (chart.x_most > 0) {
    axes.x_first = 0;
    axes.x_last = chart.x_most;
  }
  if (axes.x_last <= axes.x_first) axes.x_last = axes.x_first + 1;
  axes.y_most = chart.y_most > 0 ? chart.y_most : axes.y_most > 0 ? rounded_up(axes.y_most) : 1;
  return axes;
}

std::string draw_line(const ChartLine& line, const Axes& axes, size_t number) {
  std::string path;
  for (const ChartPoint& p : line.points) {
    path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", axes.x(p.x), axes.y(p.y));
  }
  std::string out = fmt::format("<path class=\"line line{}\" d=\"{}\"/>", number, path);
  if (line.name.empty()) return out;
  const double x = kWidth - kRight - 110, y = kTop + 14 + 14 * static_cast<double>(number);
  return out + fmt::format("<path class=\"line line{}\" d=\"M{:.1f} {:.1f}h18\"/>", number, x, y - 4) +
         text(x + 23, y, "start", line.name);
}

}  // namespace

std::string escaped(std::string_view words) {
  std::string out;
  for (const char c : words) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string draw(const LineChart& chart) {
  const Axes axes = axes_of(chart);
  std::string out = open_svg(chart.title, kHeight) + draw_axes(axes, chart.x_label, chart.y_label);
  for (size_t i = 0; i < chart.lines.size(); ++i) out += draw_line(chart.lines[i], axes, i);
  for (const ChartPoint& mark : chart.marks) {
    const double x = axes.x(mark.x), y = axes.y(mark.y);
    const bool left = x > kLeft + 0.6 * kPlotWidth;
    out += fmt::format("<path class=\"mark\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>", x, kTop, kTop + kPlotHeight);
    out += fmt::format("<circle class=\"dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"/>", x, y);
    const bool low = mark.y * 2 < axes.y_most;  // the other half has room
    out += text(x + (left ? -6 : 6), low ? kTop + 12 : kTop + kPlotHeight - 6, left ? "end" : "start", chart.mark_name);
  }
  return out + "</svg>";
}

std::string draw_bars(const std::string& title, std::span<const ChartBar> bars) {
  constexpr double kName = 62, kValue = 104, kRow = 22;
  constexpr double kMost = kWidth - kName - kValue;
  double most = 1e-300;
  for (const ChartBar& bar : bars) most = std::max(most, bar.value);
  std::string out = open_svg(title, 8 + kRow * static_cast<double>(bars.size()));
  for (size_t i = 0; i < bars.size(); ++i) {
    const double y = 4 + kRow * static_cast<double>(i), width = kMost * bars[i].value / most;
    out += text(kName - 6, y + 14, "end", bars[i].name);
    out +=
        fmt::format("<rect class=\"bar\" x=\"{}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"16\"/>", kName, y + 2, width);
    out += text(kName + width + 5, y + 14, "start", bars[i].label);
  }
  return out + "</svg>";
}

std::string draw_histogram(const std::string& title, const std::string& x_label, double x_first, double x_last,
                           std::span<const double> counts) {
  const double most = *std::max_element(counts.begin(), counts.end());
  const Axes axes{x_first, x_last, rounded_up(most)};
  std::string out = open_svg(title, kHeight) + draw_axes(axes, x_label, "tokens");
  const double step = kPlotWidth / static_cast<double>(counts.size());
  for (size_t i = 0; i < counts.size(); ++i) {
    const double y = axes.y(counts[i]);
    out += fmt::format("<rect class=\"bar\" x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.1f}\"/>",
                       kLeft + step * static_cast<double>(i), y, std::max(0.5, step - 0.8), kTop + kPlotHeight - y);
  }
  return out + "</svg>";
}

std::string draw_heat_map(const std::string& title, const std::string& x_label, const std::string& y_label,
                          std::span<const float> cells, size_t n_rows) {
  const size_t n_columns = cells.size() / n_rows;
  const double most = std::max(1e-9, static_cast<double>(*std::max_element(cells.begin(), cells.end())));
  const double width = kPlotWidth / static_cast<double>(n_columns);
  const double height = std::clamp(kPlotWidth / static_cast<double>(n_rows) / 1.6, 3.0, 16.0);
  const double bottom = kTop + height * static_cast<double>(n_rows);
  std::array<std::string, kShades> paths;  // a path of all cells of a shade, runs as one
  for (size_t r = 0; r < n_rows; ++r) {
    for (size_t c = 0; c < n_columns;) {
      const auto shade_of = [&](size_t column) {
        const double value = std::sqrt(static_cast<double>(cells[r * n_columns + column]) / most);
        return std::min(kShades - 1, static_cast<size_t>(value * kShades));
      };
      const size_t shade = shade_of(c), begin = c;
      while (c < n_columns && shade_of(c) == shade) ++c;
      paths[shade] += fmt::format("M{:.2f} {:.1f}h{:.2f}v{:.2f}h{:.2f}z", kLeft + width * static_cast<double>(begin),
                                  kTop + height * static_cast<double>(r), width * static_cast<double>(c - begin),
                                  height, -width * static_cast<double>(c - begin));
    }
  }
  std::string out = open_svg(title, bottom + 58);
  for (size_t s = 1; s < kShades; ++s) out += fmt::format("<path class=\"heat s{}\" d=\"{}\"/>", s, paths[s]);
  out += fmt::format("<rect class=\"frame\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{:.1f}\"/>", kLeft, kTop,
                     kPlotWidth, bottom - kTop);
  out += text(kLeft, 12, "start", y_label) + text(kLeft - 5, kTop + 9, "end", "0") +
         text(kLeft - 5, bottom - 1, "end", std::to_string(n_rows - 1)) + text(kLeft, bottom + 13, "start", "0") +
         text(kWidth - kRight, bottom + 13, "end", std::to_string(n_columns - 1)) +
         text(kLeft + kPlotWidth / 2, bottom + 13, "middle", x_label);
  for (size_t s = 0; s < kShades; ++s) {
    out += fmt::format("<rect class=\"heat s{} key\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"16\" height=\"10\"/>", s,
                       kLeft + 30 + 16 * static_cast<double>(s), bottom + 32);
  }
  out += text(kLeft + 25, bottom + 41, "end", "0");
  return out + text(kLeft + 36 + 16 * kShades, bottom + 41, "start", fmt::format("{:.3g} picks a token", most)) +
         "</svg>";
}

}  // namespace flashmoe
