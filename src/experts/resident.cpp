#include "experts/resident.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "experts/read_failure.h"

namespace flashmoe {
namespace {

constexpr uint64_t kBlock = 4096;      // satisfies every O_DIRECT alignment
constexpr uint64_t kChunk = 2 * kMiB;  // one read: large enough for full speed, small enough to report progress
constexpr size_t kChunksAtOnce = 256;  // submitted together

// A stretch of a file in which parts of matrices lie side by side, and its place in memory. Whole blocks.
struct Stretch {
  uint32_t file = 0;
  uint64_t offset = 0, bytes = 0;
  uint64_t at = 0;
};

// One part of a matrix.
struct PartPlace {
  Extent extent;
  size_t record = 0;
  size_t matrix = 0;  // 0 gate, 1 up, 2 down
  size_t part = 0;    // 0 weights, 1 scales, 2 biases
  size_t stretch = 0;
};

struct Plan {
  std::vector<PartPlace> places;  // by file and offset
  std::vector<Stretch> stretches;
  uint64_t bytes = 0;
};

Plan plan_stretches(const ExpertTable& table) {
  Plan plan;
  for (size_t r = 0; r < table.records.size(); ++r) {
    const auto matrices = table.records[r].matrices();
    for (size_t m = 0; m < matrices.size(); ++m) {
      for (size_t p = 0; p < kMatrixParts; ++p) {
        if (matrices[m]->parts[p].bytes > 0) plan.places.push_back({matrices[m]->parts[p], r, m, p});
      }
    }
  }
  std::sort(plan.places.begin(), plan.places.end(), [](const PartPlace& a, const PartPlace& b) {
    return a.extent.file != b.extent.file ? a.extent.file < b.extent.file : a.extent.offset < b.extent.offset;
  });
  for (PartPlace& place : plan.places) {
    const Extent& extent = place.extent;
    const uint64_t first = round_down(extent.offset, kBlock);
    const uint64_t end = round_up(extent.offset + extent.bytes, kBlock);
    Stretch* last = plan.stretches.empty() ? nullptr : &plan.stretches.back();
    if (last == nullptr || last->file != extent.file || first > last->offset + last->bytes) {
      plan.stretches.push_back({.file = extent.file, .offset = first, .bytes = 0, .at = plan.bytes});
      last = &plan.stretches.back();
    }
    last->bytes = std::max(last->bytes, end - last->offset);
    plan.bytes = last->at + last->bytes;
    place.stretch = plan.stretches.size() - 1;
  }
  return plan;
}

struct Chunk {
  ReadRequest request;
  uint32_t file = 0;
  int n_tries = 0;
};

// Reads all stretches, a bounded number of chunks at a time.
class Loader {
 public:
  Loader(const ExpertTable& table, const Plan& plan, const std::vector<std::shared_ptr<File>>& files, ReadQueue& queue,
         const std::function<void(uint64_t)>& on_bytes)
      : table_(table), plan_(plan), files_(files), queue_(queue), on_bytes_(on_bytes) {}

  void load(std::byte* memory, bool direct) {
    cut(memory, direct);
    std::vector<ReadRequest> requests;
    for (size_t next = 0, n_done = 0; n_done < chunks_.size();) {
      for (; next < chunks_.size() && next - n_done < kChunksAtOnce; ++next) requests.push_back(start(next));
      if (!requests.empty()) queue_.submit(requests);
      requests.clear();
      for (const ReadDone& done : queue_.wait(true)) {
        const Chunk& chunk = chunks_[done.tag];
        if (worth_another_try(done.error, chunk.n_tries)) {
          requests.push_back(start(done.tag));
          continue;
        }
        if (done.error != 0) fail_chunk(chunk, done.error);
        bytes_read_ += chunk.request.needed_bytes;
        ++n_done;
      }
      if (on_bytes_) on_bytes_(bytes_read_);
    }
  }
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  void cut(std::byte* memory, bool direct) {
    for (const Stretch& stretch : plan_.stretches) {
      const File& file = *files_[stretch.file];
      for (uint64_t at = 0; at < stretch.bytes; at += kChunk) {
        const uint64_t offset = stretch.offset + at;
        const uint64_t bytes = std::min(kChunk, stretch.bytes - at);
        chunks_.push_back({.request = {.fd = direct ? file.direct_fd() : file.buffered_fd(),
                                       .offset = offset,
                                       .bytes = bytes,
                                       .needed_bytes = std::min(bytes, needed_end(stretch) - offset),
                                       .dest = memory + stretch.at + at,
                                       .tag = chunks_.size()},
                           .file = stretch.file});
      }
    }
  }

  // The last block of a stretch may reach beyond the end of the file, its parts may not.
  uint64_t needed_end(const Stretch& stretch) const {
    return std::min(stretch.offset + stretch.bytes, files_[stretch.file]->size());
  }

  ReadRequest start(size_t chunk) {
    ++chunks_[chunk].n_tries;
    return chunks_[chunk].request;
  }

  [[noreturn]] void fail_chunk(const Chunk& chunk, int error) const {
    static constexpr const char* kNames[] = {"gate", "up", "down"};
    const auto place = std::find_if(plan_.places.begin(), plan_.places.end(), [&](const PartPlace& p) {
      return p.extent.file == chunk.file && p.extent.offset + p.extent.bytes > chunk.request.offset;
    });
    CHECK(place != plan_.places.end());
    const auto n_experts = static_cast<size_t>(table_.n_experts);
    fail_read({.layer = static_cast<int>(place->record / n_experts),
               .expert = static_cast<int>(place->record % n_experts),
               .matrices = kNames[place->matrix],
               .path = files_[chunk.file]->path(),
               .offset = chunk.request.offset,
               .bytes = chunk.request.bytes,
               .error = error,
               .n_tries = chunk.n_tries});
  }

  const ExpertTable& table_;
  const Plan& plan_;
  const std::vector<std::shared_ptr<File>>& files_;
  ReadQueue& queue_;
  const std::function<void(uint64_t)>& on_bytes_;
  std::vector<Chunk> chunks_;
  uint64_t bytes_read_ = 0;
};

class ResidentExperts final : public ExpertSource {
 public:
  ResidentExperts(ExpertTable table, const std::vector<std::shared_ptr<File>>& files, std::unique_ptr<ReadQueue> queue,
                  bool direct, Budget& budget, const std::function<void(uint64_t)>& on_bytes)
      : table_(std::move(table)) {
    const Plan plan = plan_stretches(table_);
    memory_ = Buffer(budget, Allotted::expert_cache, plan.bytes);
    const uint64_t start = now_ns();
    Loader loader(table_, plan, files, *queue, on_bytes);
    try {
      loader.load(memory_.data(), direct);
    } catch (...) {
      queue.reset();  // waits for reads in flight while memory_ is still there
      throw;
    }
    io_.mode = fmt::format("{}, {}, depth {}, all experts in memory", queue->name(), direct ? "direct" : "buffered",
                           queue->depth());
    io_.bytes_read = loader.bytes_read();
    io_.busy_ns = io_.wait_ns = now_ns() - start;
    bind(plan);
  }

  Lease acquire(int layer, std::span<const int32_t> experts) override {
    if (idle_.empty()) {
      idle_.reserve(leases_.size() + 1);  // so that release never allocates
      idle_.push_back(static_cast<int>(leases_.size()));
      leases_.emplace_back();
    }
    const int id = idle_.back();
    idle_.pop_back();
    LeaseState& lease = leases_[static_cast<size_t>(id)];
    lease.records.clear();
    lease.picks.clear();
    lease.handed_out = false;
    for (size_t i = 0; i < experts.size(); ++i) {
      CHECK(experts[i] >= 0 && experts[i] < table_.n_experts);
      lease.records.push_back(static_cast<size_t>(layer) * static_cast<size_t>(table_.n_experts) +
                              static_cast<size_t>(experts[i]));
      lease.picks.push_back(static_cast<int32_t>(i));
    }
    stats_.hits += experts.size();
    return {this, id};
  }

  int max_picks() const override { return table_.n_layers * table_.n_experts; }
  bool always_ready() const override { return true; }
  CacheStats cache_stats() const override { return stats_; }
  IoStats io_stats() const override { return io_; }

 protected:
  std::span<const int32_t> next_arrived(int id) override {
    LeaseState& lease = leases_[static_cast<size_t>(id)];
    if (std::exchange(lease.handed_out, true)) return {};
    return lease.picks;
  }
  const ExpertWeights& wait_for(int id, int i) override {
    const LeaseState& lease = leases_[static_cast<size_t>(id)];
    CHECK(i >= 0 && static_cast<size_t>(i) < lease.records.size());
    return weights_[lease.records[static_cast<size_t>(i)]];
  }
  void release(int id) noexcept override { idle_.push_back(id); }

 private:
  struct LeaseState {
    std::vector<size_t> records;  // [n_picks]
    std::vector<int32_t> picks;   // 0, 1, 2, ...
    bool handed_out = false;
  };

  void bind(const Plan& plan) {
    std::vector<std::array<std::array<const std::byte*, kMatrixParts>, 3>> at(table_.records.size());
    for (const PartPlace& place : plan.places) {
      const Stretch& stretch = plan.stretches[place.stretch];
      at[place.record][place.matrix][place.part] = memory_.data() + stretch.at + (place.extent.offset - stretch.offset);
    }
    for (size_t r = 0; r < at.size(); ++r) {
      const ExpertRecord& record = table_.records[r];
      weights_.push_back({record.gate.view(at[r][0]), record.up.view(at[r][1]), record.down.view(at[r][2])});
    }
  }

  ExpertTable table_;
  Buffer memory_;
  std::vector<ExpertWeights> weights_;  // [n_layers, n_experts]
  std::vector<LeaseState> leases_;
  std::vector<int> idle_;
  CacheStats stats_;
  IoStats io_;
};

}  // namespace

uint64_t resident_bytes(const ExpertTable& table) { return plan_stretches(table).bytes; }

std::unique_ptr<ExpertSource> make_resident_experts(ExpertTable table, std::vector<std::shared_ptr<File>> files,
                                                    std::unique_ptr<ReadQueue> queue, bool direct, Budget& budget,
                                                    const std::function<void(uint64_t)>& on_bytes) {
  for (const auto& file : files) {
    if (direct && file->direct_fd() < 0) {
      fail(Fault::unsupported, "{}: its file system has no direct reads (O_DIRECT); use --io buffered", file->path());
    }
  }
  CHECK(resident_bytes(table) <= budget.allotted(Allotted::expert_cache));
  return std::make_unique<ResidentExperts>(std::move(table), files, std::move(queue), direct, budget, on_bytes);
}

}  // namespace flashmoe
