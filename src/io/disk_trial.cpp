#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <optional>
#include <random>

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "io/disk_choice.h"
#include "io/page_cache.h"
#include "io/spread_queue.h"

namespace flashmoe {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr double kSliceSeconds = 0.01;         // one trial of one way
constexpr double kLongestQueueSeconds = 0.05;  // for all reads of a full queue
constexpr double kGoodEnough = 0.95;           // of the best of an engine: then the shallower wins
constexpr double kNoWorse = 0.85;              // a deeper queue that a slice shows to be slower may be none
constexpr double kUnattendedSeconds = 0.015;   // that a full queue should last: docs/experiments/0047
constexpr double kThreadsGain = 1.3;           // over io_uring: docs/experiments/0024
// Through the page cache only where its slowest turn is that much faster than the fastest past it: it takes memory and
// cores from everything else, which a slice does not show, and one disturbed slice must not decide
// (docs/experiments/0007).
constexpr double kBufferedGain = 2;
constexpr int kBufferedTurns = 3;
constexpr double kChunkGain = 0.9;    // parts must bring one expert that much sooner
constexpr uint64_t kLeastReads = 64;  // places in a file that is worth a trial
constexpr int kPlacesTried = 8;       // until one is not in the page cache
constexpr std::array<uint64_t, 3> kChunks = {512 * kKiB, 256 * kKiB, 128 * kKiB};

constexpr std::array<ReadWay, 7> kWays = {{{ReadEngine::uring, 8},
                                           {ReadEngine::uring, 16},
                                           {ReadEngine::uring, 32},
                                           {ReadEngine::uring, 64},
                                           {ReadEngine::pread, 4},
                                           {ReadEngine::pread, 8},
                                           {ReadEngine::pread, 16}}};

// Whether a full queue keeps the drive busy until who computes looks after it again.
bool lasts(const ReadWay& way, double read_bytes) {
  return way.depth * read_bytes >= way.gb_per_s * 1e9 * kUnattendedSeconds;
}

class Trial {
 public:
  Trial(const DiskQuestion& question, std::span<std::byte> memory)
      : question_(question), memory_(memory), pages_(*question.file) {
    for (const uint64_t bytes : question.read_bytes) most_bytes_ = std::max(most_bytes_, round_up(bytes, kBlock));
    if (most_bytes_ > 0) slot_bytes_.resize(memory.size() / most_bytes_);
  }

  bool possible() const {
    return most_bytes_ > 0 && question_.file->size() / kLeastReads >= most_bytes_ && n_slots() >= 2;
  }
  DiskChoice run();

 private:
  int n_slots() const { return static_cast<int>(memory_.size() / most_bytes_); }
  bool time_is_over() const { return seconds_since(start_ns_) > kTrialSeconds; }

  bool is_settled() const { return !refused_ && !time_is_over(); }

  std::optional<ReadRequest> request(bool direct, uint64_t slot) {
    const uint64_t bytes = round_up(question_.read_bytes[n_requests_++ % question_.read_bytes.size()], kBlock);
    const uint64_t n_places = (question_.file->size() - bytes) / kBlock;
    for (int i = 0; i < kPlacesTried; ++i) {
      const uint64_t offset = random_() % n_places * kBlock;
      if (!direct && !pages_.drop(offset, bytes)) continue;
      slot_bytes_[slot] = bytes;
      return ReadRequest{.fd = direct ? question_.file->direct_fd() : question_.file->buffered_fd(),
                         .offset = offset,
                         .bytes = bytes,
                         .needed_bytes = bytes,
                         .dest = memory_.data() + slot * most_bytes_,
                         .tag = slot};
    }
    return std::nullopt;
  }

  double mean_read_bytes() const;
  double rate(ReadQueue& queue, bool direct);
  uint64_t time_of_one_expert(ReadQueue& queue);
  std::vector<ReadWay> allowed_ways() const;
  ReadWay best_way(bool direct);
  uint64_t best_chunk(const ReadWay& way);
  double buffered_gain(const ReadWay& way);
  std::unique_ptr<ReadQueue> queue_of(const ReadWay& way);
  std::unique_ptr<ReadQueue> cutting_queue(const ReadWay& way, uint64_t chunk_bytes);

  const DiskQuestion& question_;
  std::span<std::byte> memory_;
  PageCache pages_;
  uint64_t most_bytes_ = 0;
  std::vector<uint64_t> slot_bytes_;  // [n_slots] of the read in each
  uint64_t n_requests_ = 0;
  bool refused_ = false;  // a queue was, which another time may be had
  uint64_t start_ns_ = now_ns();
  std::mt19937_64 random_{std::random_device{}()};
};

// Null where the system refuses it.
std::unique_ptr<ReadQueue> Trial::queue_of(const ReadWay& way) {
  try {
    return make_read_queue(way.engine, way.depth);
  } catch (const Error&) {
    refused_ = true;
    return nullptr;
  }
}

std::unique_ptr<ReadQueue> Trial::cutting_queue(const ReadWay& way, uint64_t chunk_bytes) {
  auto queue = queue_of(way);
  if (queue == nullptr) return nullptr;
  std::vector<Drive> drives(1);
  drives[0].depth = way.depth;  // no files: descriptors are taken as they are
  return make_spread_queue(std::move(queue), std::move(drives), {.chunk_bytes = chunk_bytes});
}

// GB/s with the queue kept full for a slice; 0 when a read failed or no place was left to measure.
double Trial::rate(ReadQueue& queue, bool direct) {
  std::vector<ReadRequest> requests;
  for (int slot = 0; slot < std::min(queue.depth(), n_slots()); ++slot) {
    if (const auto r = request(direct, static_cast<uint64_t>(slot))) requests.push_back(*r);
  }
  uint64_t bytes = 0;
  bool failed = requests.empty();
  const uint64_t start = now_ns();
  while (!requests.empty() || queue.pending() > 0) {
    queue.submit(requests);
    requests.clear();
    const bool go_on = !failed && seconds_since(start) < kSliceSeconds && !time_is_over();
    for (const ReadDone& done : queue.wait(true)) {
      failed = failed || done.error != 0;
      bytes += slot_bytes_[done.tag];
      if (!go_on) continue;
      if (const auto r = request(direct, done.tag)) requests.push_back(*r);
    }
  }
  return failed ? 0 : static_cast<double>(bytes) / static_cast<double>(now_ns() - start);
}

std::vector<ReadWay> Trial::allowed_ways() const {
  std::vector<ReadWay> ways;
  for (const ReadWay& way : kWays) {
    const bool allowed = way.engine == ReadEngine::uring ? question_.may_uring : question_.may_pread;
    if (allowed && way.depth <= n_slots()) ways.push_back(way);
  }
  return ways;
}

ReadWay Trial::best_way(bool direct) {
  std::vector<ReadWay> ways = allowed_ways();
  double best = 0;
  for (int round = 0; round < 2; ++round) {
    for (ReadWay& way : ways) {
      if (time_is_over()) break;
      // On a slow disk a deep queue takes longer than all trials may.
      const double queue_bytes = static_cast<double>(way.depth) * static_cast<double>(most_bytes_);
      if (best > 0 && queue_bytes > best * 1e9 * kLongestQueueSeconds) continue;
      if (const auto queue = queue_of(way)) way.gb_per_s = std::max(way.gb_per_s, rate(*queue, direct));
      best = std::max(best, way.gb_per_s);
    }
  }
  if (best == 0) return {};
  return preferred_way(ways, mean_read_bytes());
}

double Trial::mean_read_bytes() const {
  const auto& sizes = question_.read_bytes;
  const auto all = static_cast<double>(std::accumulate(sizes.begin(), sizes.end(), uint64_t{0}));
  return all / static_cast<double>(sizes.size());
}

uint64_t Trial::time_of_one_expert(ReadQueue& queue) {
  std::vector<ReadRequest> requests;
  for (uint64_t slot = 0; slot < std::min<uint64_t>(question_.read_bytes.size(), memory_.size() / most_bytes_);
       ++slot) {
    requests.push_back(*request(true, slot));
  }
  const uint64_t start = now_ns();
  queue.submit(requests);
  while (queue.pending() > 0) queue.wait(true);
  return now_ns() - start;
}

// Parts help a lone expert on drives that work on many reads at once, but must not cost rate, nor let the queue run dry
// that whole reads would keep full.
uint64_t Trial::best_chunk(const ReadWay& way) {
  constexpr int kRounds = 7;
  const double whole_bytes = mean_read_bytes();
  const bool lasts_whole = lasts(way, whole_bytes);
  const auto may_cut = [&](uint64_t bytes) {
    return !lasts_whole || lasts(way, whole_bytes / std::ceil(whole_bytes / static_cast<double>(bytes)));
  };
  const auto n_chunks = static_cast<size_t>(std::ranges::count_if(kChunks, may_cut));  // the longest
  if (n_chunks == 0) return 0;
  std::vector<std::unique_ptr<ReadQueue>> queues(n_chunks + 1);
  std::vector<std::array<uint64_t, kRounds>> times(n_chunks + 1);
  for (size_t i = 0; i < queues.size(); ++i) {
    queues[i] = cutting_queue(way, i == 0 ? 0 : kChunks[i - 1]);
    if (queues[i] == nullptr) return 0;
  }
  for (size_t round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < queues.size(); ++i) {
      if (time_is_over()) return 0;
      times[i][round] = time_of_one_expert(*queues[i]);
    }
  }
  size_t best = 0;
  for (size_t i = 0; i < queues.size(); ++i) {
    std::nth_element(times[i].begin(), times[i].begin() + kRounds / 2, times[i].end());
    if (times[i][kRounds / 2] < times[best][kRounds / 2]) best = i;
  }
  const auto median = [&](size_t i) { return static_cast<double>(times[i][kRounds / 2]); };
  if (best == 0 || median(best) > kChunkGain * median(0)) return 0;
  const double whole = rate(*queues[0], true), cut = rate(*queues[best], true);
  return cut >= kGoodEnough * whole ? kChunks[best - 1] : 0;
}

// GB/s through the page cache, or 0 when that is not clearly faster.
double Trial::buffered_gain(const ReadWay& way) {
  double direct = way.gb_per_s, buffered = 0;
  for (int turn = 0; turn < kBufferedTurns; ++turn) {
    if (time_is_over()) return 0;
    const auto queue = queue_of(way);
    if (queue == nullptr) return 0;
    direct = std::max(direct, rate(*queue, true));
    const double through_cache = rate(*queue, false);
    buffered = turn == 0 ? through_cache : std::min(buffered, through_cache);
    if (buffered <= kBufferedGain * direct) return 0;
  }
  return buffered;
}

DiskChoice Trial::run() {
  const DiskChoice untried = untried_choice(question_);
  const ReadWay way = best_way(untried.direct);
  if (way.gb_per_s == 0) return untried;
  DiskChoice choice{way.engine, way.depth, untried.direct, 0, way.gb_per_s};
  choice.settled = is_settled();
  if (!choice.direct) return choice;
  if (question_.may_buffered) {
    const double buffered = buffered_gain(way);
    if (buffered > 0) return {way.engine, way.depth, false, 0, buffered, is_settled()};
  }
  choice.chunk_bytes = best_chunk(way);
  choice.settled = is_settled();
  return choice;
}

}  // namespace

const ReadWay& preferred_way(std::span<const ReadWay> ways, double read_bytes) {
  CHECK(!ways.empty());
  const auto best_of = [&](ReadEngine engine) {
    double best = 0;
    for (const ReadWay& way : ways) {
      if (way.engine == engine) best = std::max(best, way.gb_per_s);
    }
    return best;
  };
  const double uring = best_of(ReadEngine::uring), threads = best_of(ReadEngine::pread);
  const ReadEngine engine = threads > kThreadsGain * uring ? ReadEngine::pread : ReadEngine::uring;
  const double best = engine == ReadEngine::pread ? threads : uring;
  const ReadWay* chosen = nullptr;
  for (const ReadWay& way : ways) {
    if (way.engine != engine || way.gb_per_s < (chosen == nullptr ? kGoodEnough : kNoWorse) * best) continue;
    chosen = &way;
    if (engine == ReadEngine::pread || lasts(way, read_bytes)) break;
  }
  return chosen == nullptr ? ways.front() : *chosen;
}

std::unique_ptr<ReadQueue> make_read_queue(ReadEngine engine, int depth) {
  return engine == ReadEngine::uring ? make_uring_queue(depth) : make_pread_queue(depth);
}

DiskChoice untried_choice(const DiskQuestion& question) {
  CHECK(question.may_uring || question.may_pread);
  CHECK(question.may_direct || question.may_buffered);
  const ReadEngine engine = question.may_uring ? ReadEngine::uring : ReadEngine::pread;
  return {engine, engine == ReadEngine::uring ? 32 : 8, question.may_direct, 0, 0};
}

DiskChoice try_disk(const DiskQuestion& question, std::span<std::byte> memory) {
  for (size_t at = 0; at < memory.size(); at += kBlock) memory[at] = std::byte{};  // the first touch is no transfer
  Trial trial(question, memory);
  return trial.possible() ? trial.run() : untried_choice(question);
}

}  // namespace flashmoe
