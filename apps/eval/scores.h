// Numbers about rows of logits, in double. Of logits that are NaN or infinite there are none: surprise and divergence
// throw Error{input}. Single ones may be -inf.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace flashmoe {

// -ln of the probability that softmax(logits) gives `id`.
double surprise(std::span<const float> logits, int32_t id);

struct Divergence {
  double nats = 0;        // KL(reference || model)
  bool same_top = false;  // both think the same token likeliest
};
Divergence divergence(std::span<const float> reference, std::span<const float> model);

double mean(const std::vector<double>& values);
// The smallest value that at least `share` of all values do not exceed. 0 for none.
double percentile(std::vector<double> values, double share);

// Ids cut into windows of at most `window`; only the second half of each is scored, so that every score has context.
// A last piece without a second half is dropped, unless it is all there is.
struct Window {
  size_t first = 0, n = 0;
  size_t n_context = 0;  // ids [first + n_context, first + n) are predicted and scored
};
std::vector<Window> make_windows(size_t n_ids, size_t window);

}  // namespace flashmoe
