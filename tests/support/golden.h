// Reference results: what the reference implementation computed on a checkpoint (golden.safetensors).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace flashmoe {

struct Golden {
  std::vector<int32_t> input_ids;                   // [T]
  std::vector<float> logits;                        // [T, V]
  std::map<int, std::vector<float>> hidden;         // [T, H] by index: 0 embedding, the last final-normed
  std::map<int, std::vector<int32_t>> router_topk;  // [T, K] by layer
  std::vector<int32_t> greedy;                      // continuation of input_ids; may be empty
  int64_t n_tokens() const { return static_cast<int64_t>(input_ids.size()); }
  int64_t vocab_size() const { return static_cast<int64_t>(logits.size()) / n_tokens(); }
};

Golden read_golden(const std::string& path);

// ||out - ref|| / ||ref||
double relative_error(const std::vector<float>& out, const std::vector<float>& ref);

}  // namespace flashmoe
