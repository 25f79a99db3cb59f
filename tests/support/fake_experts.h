// Experts on a disk in memory, in the layouts that checkpoints have.
#pragma once

#include <memory>
#include <vector>

#include "experts/streamed.h"
#include "memory/budget.h"
#include "support/fake_read_queue.h"

namespace flashmoe {

enum class Layout {
  stacked,       // three tensors a layer, [n_experts, ...] each, as in GGUF
  gate_up,       // gate and up of an expert side by side, down elsewhere
  per_expert,    // an expert's three matrices side by side, down first
  scales_apart,  // nine tensors a layer: scales and biases of each matrix beside its weights, as in MLX
  scattered,     // every matrix on its own, in two files, at odd offsets
};
inline constexpr Layout kLayouts[] = {Layout::stacked, Layout::gate_up, Layout::per_expert, Layout::scales_apart,
                                      Layout::scattered};

struct FakeExperts {
  std::shared_ptr<FakeDisk> disk;
  std::vector<std::shared_ptr<File>> files;
  ExpertTable table;
};

// Every other layer has a larger number format for `down` when `mixed`. Files end right behind their last matrix.
FakeExperts make_fake_experts(Layout layout, int n_layers, int n_experts, int n_used, bool mixed = false);

// Whether the weights hold the bytes that the disk has for this expert.
bool same_as_on_disk(const FakeExperts& experts, int layer, int expert, const ExpertWeights& weights);

// All picks of an acquire through next(), each checked against the disk; false when one is wrong or missing.
bool all_arrive(const FakeExperts& experts, int layer, std::span<const int32_t> picks, Lease& lease);

std::unique_ptr<ExpertSource> make_streamed(const FakeExperts& experts, uint64_t cache_bytes, uint32_t alignment,
                                            uint32_t seed, Budget& budget, StreamedOptions options = {});

}  // namespace flashmoe
