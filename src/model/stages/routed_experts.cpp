#include "model/stages/routed_experts.h"

#include <algorithm>
#include <optional>
#include <utility>

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

const int32_t* rows_of(const Step& step, Group group) { return step.ws.moe.row_of.data() + group.first; }

// Computes the experts of `arrived` (indices into the wave that starts at distinct[first]), and with them the shared
// expert if it is given, in two parallel loops.
void compute(Step& step, int layer, Lease& lease, int first, std::span<const int32_t> arrived,
             const SharedExpertWeights* shared) {
  const Timed timed(step.profile, Stage::experts);
  auto& moe = step.ws.moe;
  const int64_t d_model = step.config.d_model;
  const auto gated = step.ws.gated;
  const auto tasks = step.ws.tasks;
  const size_t n_shared = shared == nullptr ? 0 : 1;
  SharedExpertTasks beside;
  if (shared != nullptr) beside = shared_expert_tasks(step, *shared);

  size_t n_tasks = 0;
  for (const int32_t i : arrived) {
    const ExpertWeights& w = lease.wait(i);
    const Group group = group_of(step, first + i);
    gated[n_tasks++] = {w.gate, w.up, &step.ws.h, rows_of(step, group), group.n, &moe.act, group.first};
  }
  if (shared != nullptr) gated[n_tasks] = beside.gated;
  matmul(step, {&beside.mix, n_shared}, gated.first(n_tasks + n_shared));
  n_tasks = 0;
  for (const int32_t i : arrived) {
    const Group group = group_of(step, first + i);
    tasks[n_tasks++] = {lease.wait(i).down, moe.act.rows(group.first, group.n), moe.out.data() + group.first * d_model,
                        d_model};
  }
  if (shared != nullptr) tasks[n_tasks] = beside.down;
  matmul(step, tasks.first(n_tasks + n_shared));
  if (step.observer == nullptr) return;
  for (const int32_t i : arrived) {
    const Group group = group_of(step, first + i);
    step.observer->expert_read(layer, moe.distinct[static_cast<size_t>(first + i)], step.ws.h,
                               {rows_of(step, group), static_cast<size_t>(group.n)},
                               moe.act.rows(group.first, group.n));
  }
}

// Experts that are leased together: all, or half of what the source holds, so that the next half can be on its way.
int wave_of(const Step& step, int n_distinct) {
  const int most = step.experts.max_picks();
  return n_distinct <= most ? n_distinct : std::max(1, most / 2);
}

Lease acquire(Step& step, int layer, int first, int n_distinct) {
  const Timed timed(step.profile, Stage::fetch);
  const auto& moe = step.ws.moe;
  const auto n = static_cast<size_t>(std::min(n_distinct - first, wave_of(step, n_distinct)));
  const auto at = static_cast<size_t>(first);
  Lease lease =
      step.experts.acquire(layer, {moe.distinct.subspan(at, n), moe.group_begin.subspan(at, n + 1), step.n()});
  if (step.observer != nullptr) step.observer->fetched(layer, lease.outcomes());
  return lease;
}

std::span<const int32_t> wait_for_some(Step& step, Lease& lease) {
  const Timed timed(step.profile, Stage::fetch);
  return lease.next();
}

}  // namespace

Lease fetch(Step& step, int layer, int n_distinct) { return acquire(step, layer, 0, n_distinct); }

void experts(Step& step, int layer, int n_distinct, Lease first_wave, const SharedExpertWeights* shared,
             const NextRouter* next) {
  const int wave = wave_of(step, n_distinct);
  std::optional<Lease> lease(std::move(first_wave));
  if (shared != nullptr && !lease->all_here()) {
    shared_expert(step, *shared);
    shared = nullptr;
  }
  // A guess costs some time of the processor, which is best spent while reads are on their way. By then what was here
  // is computed, and tells more of the next layer's state; a later wave's share of it is not worth counting.
  const auto guess = [&](int first, std::span<const int32_t> computed) {
    if (next == nullptr || first + wave < n_distinct) return;
    guess_picks(step, *std::exchange(next, nullptr), n_distinct, computed);
  };
  const bool holds_two = 2 * wave <= step.experts.max_picks();
  for (int first = 0; first < n_distinct; first += wave) {
    const bool more = first + wave < n_distinct;
    std::optional<Lease> following;
    if (more && holds_two) following.emplace(acquire(step, layer, first + wave, n_distinct));
    if (lease->all_here()) guess(first, {});
    for (auto arrived = wait_for_some(step, *lease); !arrived.empty(); arrived = wait_for_some(step, *lease)) {
      compute(step, layer, *lease, first, arrived, std::exchange(shared, nullptr));
      guess(first, first == 0 ? arrived : std::span<const int32_t>());
    }
    if (!more && step.observer != nullptr) step.observer->computed(layer);
    lease.reset();  // frees its slots for the wave after the next, or for the next where only one fits
    if (!more) break;
    if (!following) following.emplace(acquire(step, layer, first + wave, n_distinct));
    lease.emplace(*std::move(following));
  }
}

}  // namespace flashmoe
