#include "eval/scores.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "flashmoe/error.h"

namespace flashmoe {
namespace {

double log_sum_exp(std::span<const float> logits, const char* whose) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - largest));
  const double total = static_cast<double>(largest) + std::log(sum);
  if (std::isfinite(total)) return total;
  throw Error(Fault::input, fmt::format("logits of the {} are NaN or infinite: its weights or its computation are "
                                        "broken; there is nothing to score",
                                        whose));
}

}  // namespace

double surprise(std::span<const float> logits, int32_t id) {
  return log_sum_exp(logits, "model") - static_cast<double>(logits[static_cast<size_t>(id)]);
}

Divergence divergence(std::span<const float> reference, std::span<const float> model) {
  const double reference_total = log_sum_exp(reference, "reference"), model_total = log_sum_exp(model, "model");
  double sum = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double log_p = static_cast<double>(reference[i]) - reference_total;
    const double log_q = static_cast<double>(model[i]) - model_total;
    sum += std::exp(log_p) * (log_p - log_q);
  }
  const auto top = [](std::span<const float> row) { return std::max_element(row.begin(), row.end()) - row.begin(); };
  return {std::max(0.0, sum), top(reference) == top(model)};  // rounding can bring a zero below zero
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto wanted = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(std::max<size_t>(1, wanted) - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

std::vector<Window> make_windows(size_t n_ids, size_t window) {
  std::vector<Window> windows;
  const size_t first_length = std::min(window, n_ids);
  for (size_t first = 0; first < n_ids; first += window) {
    const size_t n = std::min(window, n_ids - first), n_context = std::max<size_t>(1, first_length / 2);
    if (n > n_context) windows.push_back({first, n, n_context});
  }
  return windows;
}

}  // namespace flashmoe
