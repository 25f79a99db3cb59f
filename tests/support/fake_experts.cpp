#include "support/fake_experts.h"

#include <algorithm>
#include <cstring>

#include "experts/streamed.h"

namespace flashmoe {
namespace {

constexpr int64_t kModel = 64, kFf = 96;

// Hands out places in files that grow.
class Placer {
 public:
  void place(ExpertMatrix& matrix, uint32_t file, uint64_t gap_bytes) { place(matrix.parts[0], file, gap_bytes); }
  void place(Extent& part, uint32_t file, uint64_t gap_bytes) {
    part.file = file;
    part.offset = ends_[file] + gap_bytes;
    ends_[file] = part.offset + part.bytes;
  }
  uint64_t end(uint32_t file) const { return ends_[file]; }

 private:
  uint64_t ends_[2] = {100, 33};
};

void place_layer(ExpertTable& table, int layer, Layout layout, Placer& placer) {
  const auto record = [&](int expert) -> ExpertRecord& {
    return table.records[static_cast<size_t>(layer * table.n_experts + expert)];
  };
  const auto file = static_cast<uint32_t>(layer % 2);
  const int n = table.n_experts;
  switch (layout) {
    case Layout::stacked:
      for (int e = 0; e < n; ++e) placer.place(record(e).gate, file, e == 0 ? 4096 * 3 + 32 : 0);
      for (int e = 0; e < n; ++e) placer.place(record(e).up, file, e == 0 ? 4096 * 2 : 0);
      for (int e = 0; e < n; ++e) placer.place(record(e).down, file, e == 0 ? 4096 * 2 : 0);
      break;
    case Layout::gate_up:
      for (int e = 0; e < n; ++e) {
        placer.place(record(e).gate, file, e == 0 ? 9999 : 0);
        placer.place(record(e).up, file, 0);
      }
      for (int e = 0; e < n; ++e) placer.place(record(e).down, file, e == 0 ? 20000 : 0);
      break;
    case Layout::per_expert:
      for (int e = 0; e < n; ++e) {
        placer.place(record(e).down, file, e % 3 == 0 ? 10000 : 0);
        placer.place(record(e).gate, file, 0);
        placer.place(record(e).up, file, 0);
      }
      break;
    case Layout::scales_apart:
      for (const auto matrix : {&ExpertRecord::gate, &ExpertRecord::up, &ExpertRecord::down}) {
        for (size_t part = kMatrixParts; part-- > 0;) {  // biases, scales, weights: as sorted by name
          for (int e = 0; e < n; ++e) placer.place((record(e).*matrix).parts[part], file, e == 0 ? 4096 * 2 + 7 : 0);
        }
      }
      break;
    case Layout::scattered:
      for (int e = 0; e < n; ++e) {
        placer.place(record(e).up, 1 - file, 12345);
        placer.place(record(e).down, file, 7);
        placer.place(record(e).gate, 1 - file, 8191 * 2);
      }
      break;
  }
}

std::vector<std::byte> noise(uint64_t bytes, uint32_t file) {
  std::vector<std::byte> content(bytes);
  uint64_t state = file + 1;
  for (std::byte& b : content) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    b = static_cast<std::byte>(state >> 56);
  }
  return content;
}

bool same_matrix(const FakeExperts& experts, const ExpertMatrix& matrix, const MatrixView& view) {
  if (view.rows != matrix.rows || view.cols != matrix.cols || view.format != matrix.format) return false;
  const std::array<const std::byte*, kMatrixParts> in_memory = {view.data, view.scales, view.biases};
  for (size_t p = 0; p < kMatrixParts; ++p) {
    const Extent& part = matrix.parts[p];
    if ((part.bytes > 0) != (in_memory[p] != nullptr)) return false;
    if (part.bytes == 0) continue;
    const std::byte* expected = experts.disk->content(static_cast<int>(part.file)).data() + part.offset;
    if (std::memcmp(expected, in_memory[p], part.bytes) != 0) return false;
  }
  return true;
}

}  // namespace

FakeExperts make_fake_experts(Layout layout, int n_layers, int n_experts, int n_used, bool mixed) {
  FakeExperts experts;
  experts.disk = std::make_shared<FakeDisk>();
  experts.table.n_layers = n_layers;
  experts.table.n_experts = n_experts;
  experts.table.n_used = n_used;
  Placer placer;
  for (int layer = 0; layer < n_layers; ++layer) {
    const bool large = mixed && layer % 2 == 1;
    const bool apart = layout == Layout::scales_apart;
    const auto matrix = [&](int64_t rows, int64_t cols, bool larger) {
      if (!apart) return expert_matrix(rows, cols, larger ? Format::f16 : Format::q8_0);
      const ScaleGrid grid = {.type = ScaleType::bf16, .group_rows = 1, .group_cols = 32};
      return expert_matrix(rows, cols, larger ? Format::affine8 : Format::affine4, grid);
    };
    for (int e = 0; e < n_experts; ++e) {
      experts.table.records.push_back(
          {.gate = matrix(kFf, kModel, false), .up = matrix(kFf, kModel, false), .down = matrix(kModel, kFf, large)});
    }
    place_layer(experts.table, layer, layout, placer);
  }
  for (uint32_t file = 0; file < 2; ++file) {
    experts.files.push_back(experts.disk->add("fake/model-" + std::to_string(file), noise(placer.end(file), file)));
  }
  return experts;
}

bool same_as_on_disk(const FakeExperts& experts, int layer, int expert, const ExpertWeights& weights) {
  const ExpertRecord& record = experts.table.at(layer, expert);
  return same_matrix(experts, record.gate, weights.gate) && same_matrix(experts, record.up, weights.up) &&
         same_matrix(experts, record.down, weights.down);
}

bool all_arrive(const FakeExperts& experts, int layer, std::span<const int32_t> picks, Lease& lease) {
  std::vector<bool> seen(picks.size());
  while (true) {
    const auto arrived = lease.next();
    if (arrived.empty()) break;
    for (const int32_t i : arrived) {
      if (seen[static_cast<size_t>(i)]) return false;
      seen[static_cast<size_t>(i)] = true;
      if (!same_as_on_disk(experts, layer, picks[static_cast<size_t>(i)], lease.wait(i))) return false;
    }
  }
  return std::all_of(seen.begin(), seen.end(), [](bool b) { return b; });
}

std::unique_ptr<ExpertSource> make_streamed(const FakeExperts& experts, uint64_t cache_bytes, uint32_t alignment,
                                            uint32_t seed, Budget& budget, StreamedOptions options) {
  budget.allot(Allotted::expert_cache, cache_bytes);
  options.direct = alignment > 1;
  options.alignment = alignment;
  return make_streamed_experts(experts.table, experts.files, std::make_unique<FakeReadQueue>(experts.disk, seed),
                               options, budget);
}

}  // namespace flashmoe
