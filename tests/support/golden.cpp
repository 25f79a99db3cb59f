#include "support/golden.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace flashmoe {
namespace {

template <typename Stored, typename Wanted>
std::vector<Wanted> values_of(const std::string& data, const nlohmann::json& tensor) {
  const size_t begin = tensor["data_offsets"][0], end = tensor["data_offsets"][1];
  std::vector<Stored> stored((end - begin) / sizeof(Stored));
  std::memcpy(stored.data(), data.data() + begin, end - begin);
  std::vector<Wanted> wanted;
  for (const Stored value : stored) wanted.push_back(static_cast<Wanted>(value));
  return wanted;
}

}  // namespace

Golden read_golden(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  uint64_t header_bytes = 0;
  file.read(reinterpret_cast<char*>(&header_bytes), 8);
  std::string header(header_bytes, '\0');
  file.read(header.data(), static_cast<std::streamsize>(header_bytes));
  const std::string data((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  Golden golden;
  const auto tensors = nlohmann::json::parse(header);
  for (const auto& [name, tensor] : tensors.items()) {
    const auto index = [&, dot = name.find('.')] { return std::stoi(name.substr(dot + 1)); };
    if (name == "input_ids") golden.input_ids = values_of<int64_t, int32_t>(data, tensor);
    if (name == "greedy") golden.greedy = values_of<int64_t, int32_t>(data, tensor);
    if (name == "logits") golden.logits = values_of<float, float>(data, tensor);
    if (name.starts_with("hidden.")) golden.hidden[index()] = values_of<float, float>(data, tensor);
    if (name.starts_with("router_topk.")) golden.router_topk[index()] = values_of<int64_t, int32_t>(data, tensor);
  }
  return golden;
}

double relative_error(const std::vector<float>& out, const std::vector<float>& ref) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < ref.size(); ++i) {
    const double d = static_cast<double>(out.at(i)) - static_cast<double>(ref[i]);
    difference += d * d;
    norm += static_cast<double>(ref[i]) * static_cast<double>(ref[i]);
  }
  return std::sqrt(difference / norm);
}

}  // namespace flashmoe
