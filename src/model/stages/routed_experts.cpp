#include "model/stages/routed_experts.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "model/matmul.h"

namespace flashmoe {
namespace {

// The slots of one picked expert.
struct Group {
  int64_t first = 0, n = 0;
};

Group group_of(const Step& step, int index) {
  const auto i = static_cast<size_t>(index);
  return {step.ws.moe.group_begin[i], step.ws.moe.group_begin[i + 1] - step.ws.moe.group_begin[i]};
}

template <typename T>
void copy_row(const T* from, int64_t from_row, T* to, int64_t to_row, int64_t width) {
  std::memcpy(to + to_row * width, from + from_row * width, static_cast<size_t>(width) * sizeof(T));
}

// Rows of h that belong to the slots, side by side. A single row is used where it lies.
Activations gather(Step& step, Group group) {
  auto& moe = step.ws.moe;
  const ActivationBuffer& h = step.ws.h;
  const int32_t* rows = moe.row_of.data() + group.first;
  if (group.n == 1) return h.rows(rows[0], 1);
  ActivationBuffer& to = moe.gathered;
  const int64_t blocks = h.cols / kActivationBlock;
  for (int64_t i = 0; i < group.n; ++i) {
    const int64_t slot = group.first + i;
    if (!to.f32.empty()) copy_row(h.f32.data(), rows[i], to.f32.data(), slot, h.cols);
    if (to.q8.empty()) continue;
    copy_row(h.q8.data(), rows[i], to.q8.data(), slot, h.cols);
    copy_row(h.scale.data(), rows[i], to.scale.data(), slot, blocks);
    copy_row(h.sum.data(), rows[i], to.sum.data(), slot, blocks);
  }
  return to.rows(group.first, group.n);
}

// Computes the experts of `arrived` (indices into the wave that starts at distinct[first]) in three parallel loops.
void compute(Step& step, Lease& lease, int first, std::span<const int32_t> arrived) {
  const Timed timed(step.profile, Stage::experts);
  auto& moe = step.ws.moe;
  const int64_t d_ff = step.config.d_ff_expert, d_model = step.config.d_model;
  const auto tasks = step.ws.tasks;
  size_t n_tasks = 0;
  for (const int32_t i : arrived) {
    const ExpertWeights& w = lease.wait(i);
    const Group group = group_of(step, first + i);
    const Activations x = gather(step, group);
    tasks[n_tasks++] = {w.gate, x, moe.gate.data() + group.first * d_ff, d_ff};
    tasks[n_tasks++] = {w.up, x, moe.up.data() + group.first * d_ff, d_ff};
  }
  matmul(step, tasks.first(n_tasks));
  for (const int32_t i : arrived) {
    const Group group = group_of(step, first + i);
    const int64_t at = group.first * d_ff;
    step.kernels.silu_mul(moe.gate.data() + at, moe.up.data() + at, group.n * d_ff, moe.act.f32.data() + at);
    quantise(step, moe.act, group.first, group.n);
  }
  n_tasks = 0;
  for (const int32_t i : arrived) {
    const Group group = group_of(step, first + i);
    tasks[n_tasks++] = {lease.wait(i).down, moe.act.rows(group.first, group.n), moe.out.data() + group.first * d_model,
                        d_model};
  }
  matmul(step, tasks.first(n_tasks));
}

Lease acquire(Step& step, int layer, int first, int n_distinct) {
  const Timed timed(step.profile, Stage::fetch);
  const int n = std::min(n_distinct - first, step.experts.max_picks());
  return step.experts.acquire(layer, step.ws.moe.distinct.subspan(static_cast<size_t>(first), static_cast<size_t>(n)));
}

std::span<const int32_t> wait_for_some(Step& step, Lease& lease) {
  const Timed timed(step.profile, Stage::fetch);
  return lease.next();
}

}  // namespace

Lease fetch(Step& step, int layer, int n_distinct) { return acquire(step, layer, 0, n_distinct); }

void routed_experts(Step& step, int layer, int n_distinct, Lease first_wave) {
  const int wave = step.experts.max_picks();
  std::optional<Lease> lease(std::move(first_wave));
  for (int first = 0; first < n_distinct; first += wave) {
    if (first > 0) {
      lease.reset();  // frees its slots for this wave
      lease.emplace(acquire(step, layer, first, n_distinct));
    }
    for (auto arrived = wait_for_some(step, *lease); !arrived.empty(); arrived = wait_for_some(step, *lease)) {
      compute(step, *lease, first, arrived);
    }
  }
}

}  // namespace flashmoe
