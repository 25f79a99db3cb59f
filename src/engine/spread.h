// Measurements that differ from one repetition to the next.
#pragma once

#include <functional>
#include <span>
#include <utility>
#include <vector>

namespace flashmoe {

struct Spread {
  double median = 0;
  double spread = 0;  // (largest - smallest) / median
};
Spread spread_of(std::vector<double> values);

// The median of one number, a member or a function, of each.
template <typename T, typename Of>
double median_of(std::span<const T> all, Of of) {
  std::vector<double> values;
  for (const T& one : all) values.push_back(std::invoke(of, one));
  return spread_of(std::move(values)).median;
}

}  // namespace flashmoe
