#include "support/loaded_model.h"

#include <algorithm>
#include <cstring>

#include "engine/memory_planner.h"
#include "experts/streamed.h"
#include "model/file_rows.h"

namespace flashmoe {

LoadedModel::LoadedModel(const std::string& path, const LoadOptions& options)
    : options_(options), bound_(bind_model(path)), pool_(options.n_threads) {
  for (int i = 0; i < kAllottedCount; ++i) budget_.allot(static_cast<Allotted>(i), options.allotment_bytes);
  const auto kernels = kernels_by_name(options.kernels);
  if (!kernels) throw std::runtime_error("this machine cannot run the kernels " + options.kernels);
  const KernelTable* const interleave_for = options.exact || options.as_stored ? nullptr : *kernels;
  const auto make_queue = options.queue ? options.queue : [] { return make_pread_queue(2); };
  const auto trunk_queue = make_pread_queue(2);
  const RowsOf embedding = bound_.binder->rows() == nullptr ? RowsOf::memory : options.embedding;
  trunk_.load(*bound_.binder, *bound_.checkpoint, {*trunk_queue, pool_, false, true, interleave_for, embedding},
              budget_, {});
  const ExpertTable& table = bound_.experts;
  const auto& files = bound_.checkpoint->files();
  const uint32_t alignment = options.direct ? 4096 : 1;
  const StreamedSizes sizes = streamed_sizes(table, alignment);
  budget_.allot(Allotted::expert_cache,
                options.streamed ? std::max(options.cache_bytes, sizes.floor_bytes) : sizes.full_bytes);
  budget_.lend(options.lent_bytes);
  experts_ = make_streamed_experts(table, files, make_queue(),
                                   {.direct = options.direct,
                                    .alignment = alignment,
                                    .read_ahead = options.read_ahead,
                                    .warm_up = options.warm_up,
                                    .interleave_for = interleave_for,
                                    .pool = &pool_,
                                    .rates = options.rates},
                                   budget_);
  if (!options.streamed) experts_->fill({});
  workspace_ = std::make_unique<Workspace>(
      config(), workspace_shape(table, options.max_rows, options.exact, options.n_threads), budget_);
  forward_ = std::make_unique<Forward>(*bound_.family, **kernels, pool_, *experts_, *workspace_, options.exact);
  if (embedding == RowsOf::file) {
    forward_->set_embedding(
        std::make_unique<FileRows>(*bound_.binder->rows(), *bound_.checkpoint, make_queue(), alignment, budget_));
  }
}

std::unique_ptr<Sequence> LoadedModel::new_sequence() {
  return std::make_unique<Sequence>(config(), options_.kv, options_.context_tokens, budget_);
}

std::vector<float> LoadedModel::logits(std::span<const int32_t> ids, int64_t chunk) {
  const auto sequence = new_sequence();
  std::vector<float> all;
  const auto total = static_cast<int64_t>(ids.size());
  for (int64_t done = 0; done < total; done += chunk) {
    const int64_t n = std::min(chunk, total - done);
    forward_->step(ids.subspan(static_cast<size_t>(done), static_cast<size_t>(n)), *sequence);
    for (int64_t row = 0; row < n; row += kLogitRows) {
      const auto block = forward_->logits(row, std::min(kLogitRows, n - row));
      all.insert(all.end(), block.begin(), block.end());
    }
  }
  return all;
}

std::vector<int32_t> LoadedModel::greedy(std::span<const int32_t> ids, size_t n) {
  const auto sequence = new_sequence();
  const auto max_rows = static_cast<size_t>(forward_->max_rows());
  size_t n_last = 0;
  for (size_t done = 0; done < ids.size(); done += n_last) {
    n_last = std::min(max_rows, ids.size() - done);
    forward_->step(ids.subspan(done, n_last), *sequence);
  }
  std::vector<int32_t> answer;
  auto logits = forward_->logits(static_cast<int64_t>(n_last) - 1, 1);
  while (answer.size() < n) {
    answer.push_back(argmax(logits));
    forward_->step({&answer.back(), 1}, *sequence);
    logits = forward_->logits(0, 1);
  }
  return answer;
}

int32_t argmax(std::span<const float> values) {
  return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace flashmoe
