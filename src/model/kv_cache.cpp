#include "model/kv_cache.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"

namespace flashmoe {
namespace {

// Buffers commit in steps of at most this much, which the planner counts once per buffer.
constexpr uint64_t kGrowthBytes = kMiB;

uint64_t n_tiles(int64_t n_tokens) {
  return round_up(static_cast<uint64_t>(n_tokens), kKvReadable) / static_cast<uint64_t>(kKvTile);
}

}  // namespace

const char* kv_format_refusal(const ModelConfig& config, KvFormat format) {
  const int64_t d_head = config.attention.d_head;
  if (format != KvFormat::q8 || (d_head % kKvScaleDims == 0 && d_head <= kKvMostDimsOfQ8)) return nullptr;
  return "needs attention heads of a multiple of 32 dimensions, at most 1024";
}

KvCache::KvCache(const ModelConfig& config, KvFormat format, int64_t context_tokens, Budget& budget)
    : format_(format), n_heads_(config.attention.n_kv_heads), d_head_(config.attention.d_head) {
  CHECK(kv_format_refusal(config, format) == nullptr);
  for (int i = 0; i < config.n_attention_layers(); ++i) {
    layers_.push_back({Buffer::reserve(budget, Allotted::kv_cache, key_bytes(context_tokens)),
                       Buffer::reserve(budget, Allotted::kv_cache, value_bytes(context_tokens))});
  }
}

uint64_t KvCache::key_bytes(int64_t n_tokens) const { return n_tiles(n_tokens) * static_cast<uint64_t>(key_stride()); }

uint64_t KvCache::value_bytes(int64_t n_tokens) const {
  return n_tiles(n_tokens) * static_cast<uint64_t>(value_stride());
}

uint64_t KvCache::bytes_per_token(const ModelConfig& config, KvFormat format) {
  const AttentionConfig& a = config.attention;
  const int64_t tile = key_tile_bytes(format, a.d_head) + value_tile_bytes(format, a.d_head);
  return static_cast<uint64_t>(config.n_attention_layers() * a.n_kv_heads * tile / kKvTile);
}

uint64_t KvCache::bytes(const ModelConfig& config, KvFormat format, int64_t n_tokens) {
  const AttentionConfig& a = config.attention;
  const uint64_t tiles = n_tiles(n_tokens) * static_cast<uint64_t>(a.n_kv_heads);
  const auto grown = [tiles](int64_t tile_bytes) {
    return round_up(tiles * static_cast<uint64_t>(tile_bytes), kGrowthBytes);
  };
  return static_cast<uint64_t>(config.n_attention_layers()) *
         (grown(key_tile_bytes(format, a.d_head)) + grown(value_tile_bytes(format, a.d_head)));
}

void KvCache::reserve_positions(int64_t n_tokens) {
  for (Layer& layer : layers_) {
    if (layer.keys.grow(key_bytes(n_tokens)) && layer.values.grow(value_bytes(n_tokens))) continue;
    fail(Fault::memory_floor,
         "the KV cache's allotment is used up at {} tokens; give more memory with --ram or plan a longer context with "
         "--ctx",
         n_tokens);
  }
}

void KvCache::put(const KernelTable& kernels, int slot, int64_t position, const float* key, const float* value) {
  for (int64_t head = 0; head < n_heads_; ++head) {
    put_in_tile(kernels, format_, d_head_, position % kKvTile, key + head * d_head_, value + head * d_head_,
                keys_at(slot, position, head), values_at(slot, position, head));
  }
}

}  // namespace flashmoe
