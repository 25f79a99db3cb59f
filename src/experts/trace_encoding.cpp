#include "experts/trace_encoding.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/error.h"

namespace flashmoe {
namespace {

constexpr float kWeightSteps = 255;

void put_ids(std::string& out, const std::vector<int32_t>& ids, size_t id_bytes) {
  for (const int32_t id : ids) {
    out.push_back(static_cast<char>(id & 0xff));
    if (id_bytes == 2) out.push_back(static_cast<char>(id >> 8));
  }
}

void put_outcomes(std::string& out, const std::vector<Outcome>& outcomes) {
  for (size_t i = 0; i < outcomes.size(); i += 4) {
    unsigned packed = 0;
    for (size_t j = i; j < std::min(i + 4, outcomes.size()); ++j) {
      packed |= static_cast<unsigned>(outcomes[j]) << (2 * (j - i));
    }
    out.push_back(static_cast<char>(packed));
  }
}

// Takes a block apart; every count is checked against what is left.
class BlockReader {
 public:
  BlockReader(const TraceHeader& header, std::string_view block, const std::string& path)
      : header_(header), block_(block), path_(path) {}

  [[noreturn]] void refuse() const { fail(Fault::input, "{}: not a sound routing trace: a step is damaged", path_); }
  size_t left() const { return block_.size() - at_; }
  uint8_t byte() {
    if (left() == 0) refuse();
    return static_cast<uint8_t>(block_[at_++]);
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const uint8_t b = byte();
      value |= static_cast<uint64_t>(b & 0x7f) << shift;
      if (b < 0x80) return value;
    }
    refuse();
  }
  uint64_t time_ns() {
    const uint64_t ticks = varint();
    if (ticks > (uint64_t{1} << 55)) refuse();
    return ticks * kTraceTickNs;
  }
  void ids(size_t n, std::vector<int32_t>& out) {
    const size_t id_bytes = trace_id_bytes(header_.n_experts);
    if (n > left() / id_bytes) refuse();
    out.resize(n);
    for (int32_t& id : out) {
      id = byte();
      if (id_bytes == 2) id |= byte() << 8;
      if (id >= header_.n_experts) refuse();
    }
  }
  void bytes(size_t n, std::vector<uint8_t>& out) {
    if (n > left()) refuse();
    out.resize(n);
    for (uint8_t& b : out) b = byte();
  }
  void weights(size_t n, std::vector<float>& out) {
    if (n > left()) refuse();
    out.resize(n);
    for (float& weight : out) weight = static_cast<float>(byte()) / kWeightSteps;
  }
  void outcomes(size_t n, std::vector<Outcome>& out) {
    if ((n + 3) / 4 > left()) refuse();
    out.resize(n);
    unsigned packed = 0;
    for (size_t i = 0; i < n; ++i, packed >>= 2) {
      if (i % 4 == 0) packed = byte();
      out[i] = static_cast<Outcome>(packed & 3);
    }
  }

 private:
  const TraceHeader& header_;
  std::string_view block_;
  const std::string& path_;
  size_t at_ = 0;
};

void decode_layer(const TraceHeader& h, BlockReader& in, size_t n_rows, std::vector<int32_t>& count,
                  TraceLayer& layer) {
  const size_t n_picks = n_rows * static_cast<size_t>(h.n_used);
  in.ids(n_picks, layer.experts);
  layer.group(count);
  layer.weights.clear();
  layer.outcomes.clear();
  layer.guesses.clear();
  layer.scores.clear();
  layer.n_guessed = layer.n_guessed_beside = layer.n_warmed_up = 0;
  if (h.has_weights) in.weights(n_picks, layer.weights);
  if (h.has_outcomes) in.outcomes(layer.distinct.size(), layer.outcomes);
  for (uint64_t& ns : layer.stage_ns) ns = h.has_times ? in.time_ns() : 0;
  if (h.has_guesses || h.has_unasked) in.ids(std::min<uint64_t>(in.varint(), kTraceBlockMost), layer.guesses);
  if (h.has_unasked) {
    layer.n_guessed = in.varint();
    layer.n_warmed_up = in.varint();
    layer.n_guessed_beside = h.has_beside ? in.varint() : layer.n_guessed;
  }
  if (h.has_scores) in.bytes(n_rows * static_cast<size_t>(h.n_experts), layer.scores);
}

// The runs cover all rows.
void decode_runs(BlockReader& in, TraceStep& step) {
  for (int n_left = step.n_rows; n_left > 0; n_left -= step.runs.back().n_rows) {
    const uint64_t sequence = in.varint(), n = in.varint();
    if (n == 0 || n > static_cast<uint64_t>(n_left)) in.refuse();
    step.runs.push_back({sequence, static_cast<int>(n)});
  }
}

void decode_given_back(const TraceHeader& h, BlockReader& in, TraceStep& step) {
  step.given_back.resize(h.classes.size());
  for (size_t c = 0; c < h.classes.size(); ++c) {
    const uint64_t n = in.varint();
    if (n > 0 && n >= static_cast<uint64_t>(h.classes[c].n_slots)) in.refuse();  // one at least is left to read into
    step.given_back[c] = static_cast<int32_t>(n);
  }
}

std::array<uint64_t, kTraceEndCounts> counts_of(const TraceEnd& e) {
  return {e.n_steps,    e.n_rows,        e.n_decoded,    uint64_t{e.full}, e.cache.hits,  e.cache.misses,
          e.bytes_read, e.warm_up_bytes, e.wasted_bytes, e.read_busy_ns,   e.read_wait_ns};
}

}  // namespace

void encode_step(const TraceHeader& h, const TraceStep& step, uint64_t last_start_ns, std::string& out) {
  CHECK(step.layers.size() == static_cast<size_t>(h.n_layers));
  const size_t id_bytes = trace_id_bytes(h.n_experts);
  put_varint(out, static_cast<uint64_t>(step.n_rows) << 1 | (step.decode ? 1 : 0));
  put_varint(out, step.start_ns / kTraceTickNs - last_start_ns / kTraceTickNs);
  if (h.has_sequences) {
    for (const TraceRun& run : step.runs) {
      put_varint(out, run.sequence);
      put_varint(out, static_cast<uint64_t>(run.n_rows));
    }
  }
  if (h.has_given_back) {
    for (size_t c = 0; c < h.classes.size(); ++c) {
      put_varint(out, c < step.given_back.size() ? static_cast<uint64_t>(step.given_back[c]) : 0);
    }
  }
  if (h.has_times) {
    for (const uint64_t ns : {step.busy_ns, step.embed_ns, step.logits_ns}) put_varint(out, ns / kTraceTickNs);
  }
  for (const TraceLayer& layer : step.layers) {
    put_ids(out, layer.experts, id_bytes);
    if (h.has_weights) {
      for (const float weight : layer.weights) {
        out.push_back(static_cast<char>(std::lround(std::clamp(weight, 0.0F, 1.0F) * kWeightSteps)));
      }
    }
    if (h.has_outcomes) put_outcomes(out, layer.outcomes);
    if (h.has_times) {
      for (const uint64_t ns : layer.stage_ns) put_varint(out, ns / kTraceTickNs);
    }
    if (h.has_guesses || h.has_unasked) {
      put_varint(out, layer.guesses.size());
      put_ids(out, layer.guesses, id_bytes);
    }
    if (h.has_unasked) {
      put_varint(out, layer.n_guessed);
      put_varint(out, layer.n_warmed_up);
      if (h.has_beside) put_varint(out, layer.n_guessed_beside);
    }
    if (h.has_scores) out.append(layer.scores.begin(), layer.scores.end());
  }
}

size_t most_token_bytes(const TraceHeader& h) {
  constexpr uint64_t kHour_ns = 3'600'000'000'000;
  const auto n_used = static_cast<size_t>(h.n_used);
  const auto n_records = static_cast<uint64_t>(h.n_layers) * static_cast<uint64_t>(h.n_experts);
  TraceStep step{.n_rows = 1, .runs = {{0, 1}}, .start_ns = kHour_ns, .busy_ns = kHour_ns};
  step.embed_ns = step.logits_ns = kHour_ns;
  for (const SlotClass& slots : h.classes) step.given_back.push_back(slots.n_slots);
  TraceLayer layer;
  layer.experts = layer.guesses = std::vector<int32_t>(n_used);
  layer.weights.resize(n_used);
  layer.outcomes.resize(n_used);
  layer.n_guessed = layer.n_guessed_beside = layer.n_warmed_up = n_records;
  layer.scores.resize(h.has_scores ? static_cast<size_t>(h.n_experts) : 0);
  layer.stage_ns.fill(kHour_ns);
  step.layers.assign(static_cast<size_t>(h.n_layers), layer);
  std::string block;
  encode_step(h, step, 0, block);
  return block.size();
}

void decode_step(const TraceHeader& h, std::string_view block, const std::string& path, uint64_t last_start_ns,
                 std::vector<int32_t>& count, TraceStep& step) {
  BlockReader in(h, block, path);
  const uint64_t head = in.varint();
  step.decode = (head & 1) != 0;
  if (head < 2 || (head >> 1) > block.size()) in.refuse();
  step.n_rows = static_cast<int>(head >> 1);
  step.start_ns = last_start_ns + in.time_ns();
  step.runs.clear();
  if (h.has_sequences) {
    decode_runs(in, step);
  } else {
    step.runs.push_back({0, step.n_rows});
  }
  step.given_back.clear();
  if (h.has_given_back) decode_given_back(h, in, step);
  step.busy_ns = h.has_times ? in.time_ns() : 0;
  step.embed_ns = h.has_times ? in.time_ns() : 0;
  step.logits_ns = h.has_times ? in.time_ns() : 0;
  step.layers.resize(static_cast<size_t>(h.n_layers));
  for (TraceLayer& layer : step.layers) decode_layer(h, in, static_cast<size_t>(step.n_rows), count, layer);
  if (in.left() != 0) in.refuse();
}

std::string encode_end(const TraceEnd& end) {
  std::string counts;
  for (const uint64_t count : counts_of(end)) put(counts, count);
  std::string out;
  put(out, uint32_t{0});
  out += counts;
  put(out, trace_checksum(counts));
  return out + std::string(kTraceEndMagic);
}

bool decode_end(std::string_view bytes, TraceEnd& end) {
  std::array<uint64_t, kTraceEndCounts> c;
  const std::string_view counts = bytes.substr(4, sizeof(c));
  uint32_t empty = 0, checksum = 0;
  std::memcpy(&empty, bytes.data(), sizeof(empty));
  std::memcpy(c.data(), counts.data(), sizeof(c));
  std::memcpy(&checksum, bytes.data() + 4 + sizeof(c), sizeof(checksum));
  if (!bytes.ends_with(kTraceEndMagic) || empty != 0 || checksum != trace_checksum(counts)) return false;
  end = {.n_steps = c[0],
         .n_rows = c[1],
         .n_decoded = c[2],
         .full = c[3] != 0,
         .cache = {.hits = c[4], .misses = c[5]},
         .bytes_read = c[6],
         .warm_up_bytes = c[7],
         .wasted_bytes = c[8],
         .read_busy_ns = c[9],
         .read_wait_ns = c[10]};
  return true;
}

}  // namespace flashmoe
