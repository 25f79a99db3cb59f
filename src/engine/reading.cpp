#include "engine/reading.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/bytes.h"
#include "base/error.h"
#include "engine/cache_folder.h"
#include "experts/slot_layout.h"
#include "io/direct_alignment.h"
#include "io/disk_record.h"
#include "io/mirror.h"
#include "io/obtainable_queue.h"
#include "io/page_cache.h"
#include "memory/buffer.h"

namespace flashmoe {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr int kLoadingThreads = 4;
// Copies from the page cache are two to three times as fast as a good drive, reads through it half as fast as past it.
constexpr double kCachedShare = 0.9;
constexpr int kPagesLookedAt = 1024;  // of all files

// The alignment that O_DIRECT transfers work with on every file, or 0 where one of them refuses.
uint32_t direct_alignment(const std::vector<Drive>& drives, IoChoice io) {
  if (io == IoChoice::buffered) return 0;
  uint32_t alignment = 1;
  for (const Drive& drive : drives) {
    for (const auto& file : drive.files) {
      const uint32_t found = probe_direct_alignment(*file);
      if (found == 0 && io != IoChoice::automatic) {
        fail(Fault::unsupported, "--io {}: {} cannot be read past the page cache (O_DIRECT) here; use --io buffered",
             io == IoChoice::uring ? "uring" : "pread", file->path());
      }
      if (found == 0) return 0;
      alignment = std::max(alignment, found);
    }
  }
  return alignment;
}

// Whether the page cache has nearly all of the files.
bool is_cached(const std::vector<std::shared_ptr<File>>& files) {
  double bytes = 0, there = 0;
  for (const auto& file : files) bytes += static_cast<double>(file->size());
  for (const auto& file : files) {
    const auto size = static_cast<double>(file->size());
    there += size * PageCache(*file).share(1 + static_cast<int>(kPagesLookedAt * size / bytes));
  }
  return there >= kCachedShare * bytes;
}

bool same_device(const File& a, const File& b) {
  struct stat x = {}, y = {};
  return ::stat(a.path().c_str(), &x) == 0 && ::stat(b.path().c_str(), &y) == 0 && x.st_dev == y.st_dev;
}

Mirror open_copies(const Checkpoint& checkpoint, const std::string& folder) {
  try {
    return open_mirror(checkpoint.files(), folder);
  } catch (const Error& error) {
    const auto& tensors = checkpoint.tensors();
    const bool packed = std::any_of(tensors.begin(), tensors.end(), [](const auto& t) { return t.second.checksum; });
    if (error.fault() != Fault::input || !packed) throw;
    fail(Fault::input, "{}; flashmoe pack --verify of each folder tells", error.what());
  }
}

// The reads of the first expert: those of others are about as long.
std::vector<uint64_t> read_sizes(const ExpertTable& experts, uint32_t alignment) {
  const SlotLayout layout = lay_out_slot(experts.records.front(), alignment);
  std::vector<uint64_t> sizes;
  for (int i = 0; i < layout.n_reads; ++i) sizes.push_back(layout.reads[static_cast<size_t>(i)].bytes);
  return sizes;
}

}  // namespace

Reading::Reading(const Checkpoint& checkpoint, const EngineOptions& options) : io_(options.io) {
  const auto& files = checkpoint.files();
  const std::string folder = std::filesystem::path(files.front()->path()).parent_path().string();
  drives_.push_back({.name = folder.empty() ? "." : folder, .files = files});
  open_mirrors(options.mirrors, checkpoint);
  if (io_ == IoChoice::pread) {
    may_uring_ = false;
  } else {
    try {
      make_uring_queue(1);
    } catch (const Error& error) {
      if (io_ == IoChoice::uring) throw;
      may_uring_ = false;
      remark(short_refusal(error.what()));
    }
  }
  const uint32_t found = direct_alignment(drives_, io_);
  alignment_ = std::max<uint32_t>(found, 1);
  direct_ = found > 0;
  cached_ = direct_ && io_ == IoChoice::automatic && is_cached(files);
}

void Reading::remark(std::string_view text) {
  if (remark_.find(text) != std::string::npos) return;  // each queue that is opened may say the same
  if (!remark_.empty()) remark_ += "; ";
  remark_ += text;
}

void Reading::open_mirrors(const std::vector<std::string>& folders, const Checkpoint& checkpoint) {
  for (const std::string& folder : folders) {
    Mirror opened = open_copies(checkpoint, folder);
    if (!opened.remark.empty()) remark(opened.remark);
    Drive mirror{.name = folder, .files = std::move(opened.files)};
    for (const Drive& other : drives_) {
      if (!same_device(*mirror.files.front(), *other.files.front())) continue;
      remark(fmt::format("{} is on the same drive as {}", folder, other.name));
      break;
    }
    drives_.push_back(std::move(mirror));
  }
}

DiskChoice Reading::choose(const Drive& drive, const ExpertTable& experts, Budget& budget) const {
  const auto& files = drive.files;
  const auto largest =
      std::max_element(files.begin(), files.end(), [](const auto& a, const auto& b) { return a->size() < b->size(); });
  const DiskQuestion question{.file = largest->get(),
                              .read_bytes = read_sizes(experts, alignment_),
                              .may_uring = may_uring_,
                              .may_pread = io_ != IoChoice::uring,
                              .may_direct = alignment_ > 1,
                              .may_buffered = alignment_ == 1 || io_ == IoChoice::automatic};
  const std::string key = disk_key(question);
  if (const auto known = load_disk_choice(user_cache_folder(), key)) return *known;
  const uint64_t free_bytes = budget.allotted(Allotted::expert_cache) - budget.used(Allotted::expert_cache);
  Buffer memory(budget, Allotted::expert_cache, round_down(std::min(kTrialMemoryBytes, free_bytes), kBlock));
  const DiskChoice choice = try_disk(question, memory.span());
  if (choice.settled) save_disk_choice(user_cache_folder(), key, choice);
  return choice;
}

std::unique_ptr<ReadQueue> Reading::streaming_queue(const ExpertTable& experts, Budget& budget) {
  std::vector<DiskChoice> choices;
  for (const Drive& drive : drives_) choices.push_back(choose(drive, experts, budget));
  direct_ = alignment_ > 1 && std::all_of(choices.begin(), choices.end(), [](const auto& c) { return c.direct; });
  return open_queue(choices);
}

std::unique_ptr<ReadQueue> Reading::loading_queue() {
  direct_ = loads_direct();
  return untried_queue();
}

std::unique_ptr<ReadQueue> Reading::untried_queue() {
  const DiskChoice choice = direct_
                                ? untried_choice({.may_uring = may_uring_, .may_pread = io_ != IoChoice::uring})
                                : DiskChoice{.engine = ReadEngine::pread, .depth = kLoadingThreads, .direct = false};
  return open_queue(std::vector<DiskChoice>(drives_.size(), choice));
}

// One engine serves all drives: the first one's. Each has its own depth.
std::unique_ptr<ReadQueue> Reading::open_queue(const std::vector<DiskChoice>& choices) {
  int depth = 0;
  for (const DiskChoice& choice : choices) depth += choice.depth;
  ObtainableQueue got = obtain_queue(choices.front().engine, depth, io_ != IoChoice::uring);
  if (!got.refusal.empty()) remark(got.refusal);
  std::vector<Drive> drives = drives_;
  for (size_t d = 0; d < drives.size(); ++d) {
    drives[d].depth = std::max(1, choices[d].depth * std::min(depth, got.queue->depth()) / depth);
    if (choices[d].gb_per_s > 0) drives[d].gb_per_s = choices[d].gb_per_s;
  }
  return make_spread_queue(std::move(got.queue), std::move(drives),
                           {.chunk_bytes = choices.front().chunk_bytes, .remark = remark_});
}

}  // namespace flashmoe
