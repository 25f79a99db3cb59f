#include "experts/use_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/check.h"
#include "base/small_file.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

struct Header {
  std::array<char, 8> magic = {'f', 'm', 'u', 's', 'e', '0', '0', '1'};  // the last three: the version
  uint64_t checksum = 0;                                                 // of all that follows
  double n_tokens = 0;
  uint64_t n_rates = 0;
};
constexpr size_t kUnchecked = offsetof(Header, n_tokens);

// FNV-1a: finds damage, not malice. What a forged file can do is warm up the wrong experts.
uint64_t checksum(const char* bytes, size_t n) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (size_t i = 0; i < n; ++i) hash = (hash ^ static_cast<unsigned char>(bytes[i])) * 0x100000001b3ULL;
  return hash;
}

bool is_sound(const UseRates& use) {
  return std::isfinite(use.n_tokens) && use.n_tokens >= 0 &&
         std::all_of(use.rates.begin(), use.rates.end(), [](float rate) { return rate >= 0 && rate <= 1; });
}

}  // namespace

void UseCount::note(int layer, const Picks& picks) {
  const size_t first = static_cast<size_t>(layer) * static_cast<size_t>(n_experts_);
  for (size_t i = 0; i < picks.experts.size(); ++i) {
    const auto n_rows = static_cast<double>(picks.rows_of(i));
    n_picked_[first + static_cast<size_t>(picks.experts[i])] += n_rows;
    if (layer == 0) n_first_ += n_rows;
  }
}

UseRates UseCount::rates() const {
  UseRates use{n_first_ / std::max(1, n_used_) + n_ended_.front(), std::vector<float>(n_picked_.size())};
  for (const double n_ended : n_ended_) use.n_of_layer.push_back(use.n_tokens - n_ended);
  for (size_t i = 0; i < n_picked_.size(); ++i) {
    const double n_tokens = use.n_of_layer[i / static_cast<size_t>(n_experts_)];
    if (n_tokens > 0) use.rates[i] = static_cast<float>(std::min(1.0, n_picked_[i] / n_tokens));
  }
  return use;
}

std::vector<ExpertId> most_used_first(int n_layers, int n_experts, std::span<const float> rates) {
  std::vector<ExpertId> order;
  for (int layer = 0; layer < n_layers; ++layer) {
    for (int expert = 0; expert < n_experts; ++expert) order.push_back({layer, expert});
  }
  if (rates.empty()) return order;
  const auto rate = [&](ExpertId id) {
    return rates[static_cast<size_t>(id.layer) * static_cast<size_t>(n_experts) + static_cast<size_t>(id.expert)];
  };
  std::stable_sort(order.begin(), order.end(), [&](ExpertId a, ExpertId b) { return rate(a) > rate(b); });
  return order;
}

UseRates load_use_rates(const std::string& path, int n_layers, int n_experts, std::string& note) {
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  const size_t n = static_cast<size_t>(n_layers) * static_cast<size_t>(n_experts);
  const std::string bytes = read_small_file(path, sizeof(Header) + n * sizeof(float)).value_or("");
  Header header, expected;
  UseRates use;
  if (bytes.size() == sizeof(Header) + n * sizeof(float)) {
    std::memcpy(&header, bytes.data(), sizeof(Header));
    use.n_tokens = header.n_tokens;
    use.rates.resize(n);
    std::memcpy(use.rates.data(), bytes.data() + sizeof(Header), n * sizeof(float));
  }
  const bool whole = !use.rates.empty() && header.magic == expected.magic && header.n_rates == n &&
                     header.checksum == checksum(bytes.data() + kUnchecked, bytes.size() - kUnchecked);
  if (whole && is_sound(use)) return use;
  note = fmt::format("{}: not a whole record of this model's experts; it is ignored and will be written anew", path);
  return {};
}

UseRates joined(const UseRates& earlier, const UseRates& run) {
  if (earlier.rates.empty()) return run;
  CHECK(earlier.rates.size() == run.rates.size());
  const double before = std::min(earlier.n_tokens, kRememberedTokens);
  const size_t n_layers = run.n_of_layer.size();
  UseRates both{before + run.n_tokens, earlier.rates};
  for (size_t i = 0; i < both.rates.size(); ++i) {
    const double now = n_layers == 0 ? run.n_tokens : run.n_of_layer[i * n_layers / both.rates.size()];
    if (now > 0) both.rates[i] = static_cast<float>((earlier.rates[i] * before + run.rates[i] * now) / (before + now));
  }
  return both;
}

bool save_use_rates(const std::string& path, const UseRates& use) {
  Header header;
  header.n_tokens = use.n_tokens;
  header.n_rates = use.rates.size();
  std::string bytes(sizeof(Header) + use.rates.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), &header, sizeof(Header));
  std::memcpy(bytes.data() + sizeof(Header), use.rates.data(), use.rates.size() * sizeof(float));
  header.checksum = checksum(bytes.data() + kUnchecked, bytes.size() - kUnchecked);
  std::memcpy(bytes.data(), &header, sizeof(Header));
  return write_small_file(path, bytes);
}

}  // namespace flashmoe
