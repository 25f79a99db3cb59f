#include "model/kv_cache.h"

#include "base/bytes.h"
#include "base/error.h"

namespace flashmoe {
namespace {

// Buffers commit in steps of at most this much, which the planner counts once per buffer.
constexpr uint64_t kGrowthBytes = kMiB;

}  // namespace

KvCache::KvCache(const ModelConfig& config, KvFormat format, int64_t context_tokens, Budget& budget)
    : format_(format), width_(config.attention.n_kv_heads * config.attention.d_head) {
  const uint64_t capacity = bytes_of(context_tokens);
  for (int i = 0; i < config.n_attention_layers(); ++i) {
    layers_.push_back(
        {Buffer::reserve(budget, Allotted::kv_cache, capacity), Buffer::reserve(budget, Allotted::kv_cache, capacity)});
  }
}

uint64_t KvCache::bytes_per_token(const ModelConfig& config, KvFormat format) {
  const int64_t width = config.attention.n_kv_heads * config.attention.d_head;
  return static_cast<uint64_t>(2 * config.n_attention_layers() * width * (format == KvFormat::f16 ? 2 : 4));
}

uint64_t KvCache::bytes(const ModelConfig& config, KvFormat format, int64_t n_tokens) {
  const auto n_buffers = static_cast<uint64_t>(2 * config.n_attention_layers());
  if (n_buffers == 0) return 0;
  const uint64_t per_buffer = bytes_per_token(config, format) / n_buffers * static_cast<uint64_t>(n_tokens);
  return n_buffers * round_up(per_buffer, kGrowthBytes);
}

void KvCache::reserve_positions(int64_t n_tokens) {
  const uint64_t wanted = bytes_of(n_tokens);
  for (Layer& layer : layers_) {
    if (layer.keys.grow(wanted) && layer.values.grow(wanted)) continue;
    fail(Fault::memory_floor,
         "the KV cache's allotment is used up at {} tokens; give more memory with --ram or plan a longer context with "
         "--ctx",
         n_tokens);
  }
}

}  // namespace flashmoe
