// Where routed experts come from. The model sees this page only, never the cache behind it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "flashmoe/stats.h"
#include "io/extent.h"
#include "memory/view.h"

namespace flashmoe {

// What one matrix consists of on disk: its weights, and scales and biases where the format keeps them apart.
inline constexpr size_t kMatrixParts = 3;

// One matrix of one expert where it lies on disk.
struct ExpertMatrix {
  int64_t rows = 0, cols = 0;
  Format format = Format::f32;
  ScaleGrid grid = {};
  std::array<Extent, kMatrixParts> parts = {};  // weights, scales, biases

  uint64_t bytes() const { return parts[0].bytes + parts[1].bytes + parts[2].bytes; }
  // The matrix in memory; at[i] is where parts[i] begins.
  MatrixView view(const std::array<const std::byte*, kMatrixParts>& at) const {
    return {
        at[0], rows, cols, format, grid, parts[1].bytes > 0 ? at[1] : nullptr, parts[2].bytes > 0 ? at[2] : nullptr};
  }
};
// One whose parts have their sizes, and no place yet.
ExpertMatrix expert_matrix(int64_t rows, int64_t cols, Format format, const ScaleGrid& grid = {});

struct ExpertRecord {
  ExpertMatrix gate, up;  // [d_ff, d_model]
  ExpertMatrix down;      // [d_model, d_ff]
  // XXH3 of a packed record, whose parts lie one after the other in the file; nothing: there is none.
  std::optional<uint64_t> checksum = {};
  uint64_t bytes() const { return gate.bytes() + up.bytes() + down.bytes(); }
  std::array<const ExpertMatrix*, 3> matrices() const { return {&gate, &up, &down}; }
};

// All routed experts of a model.
struct ExpertTable {
  int n_layers = 0;
  int n_experts = 0;
  int n_used = 0;                     // picks per token (top-k)
  std::vector<ExpertRecord> records;  // [n_layers, n_experts]
  const ExpertRecord& at(int layer, int expert) const {
    return records[static_cast<size_t>(layer) * static_cast<size_t>(n_experts) + static_cast<size_t>(expert)];
  }
  uint64_t bytes() const;
  bool reads_float_activations() const;  // some matrix is F32, F16 or BF16
};

// One expert's weights in memory.
struct ExpertWeights {
  MatrixView gate, up;  // [d_ff, d_model]
  MatrixView down;      // [d_model, d_ff]
};

class ExpertSource;

// How a picked expert was found when its layer asked for it.
enum class Outcome : uint8_t {
  missed,     // it had to be read
  hit,        // it was in memory
  guessed,    // it was in memory, or on its way, because of a guess
  on_its_way  // for another reason, such as warming up
};

// Reads begun so far that no pick had asked for.
struct UnaskedReads {
  uint64_t guessed = 0;  // experts read on a guess
  uint64_t warm_up = 0;  // experts passed of those that are read while there is nothing else to do, in their order
};

// How a model's experts were used.
struct UseRates {
  double n_tokens = 0;
  std::vector<float> rates;  // [n_layers, n_experts] picks for a token, at most 1
  // [n_layers] of them, those that the layer picked for: a prompt's end before the last one. Empty: all.
  std::vector<double> n_of_layer = {};
};

// Holds the weights of some picks of one layer in memory while it lives: their slots are pinned until destruction.
// Move-only; costs no allocation.
class Lease {
 public:
  Lease(ExpertSource* source, int id) : source_(source), id_(id) {}
  ~Lease();
  Lease(Lease&& other) noexcept : source_(other.source_), id_(other.id_) { other.source_ = nullptr; }
  Lease& operator=(Lease&&) = delete;

  // Indices into the picks given to acquire, of those that have arrived and were not handed out before, or some of
  // them: what was in memory first, then in order of arrival. Blocks until there is at least one; empty once all were
  // handed out. Throws Error{io} naming layer, expert, file and offset when a read failed. Valid until the next call.
  std::span<const int32_t> next();
  // Weights of pick i; blocks until it has arrived. Throws like next().
  const ExpertWeights& wait(int i);
  // Every pick was in memory: there is nothing to wait for.
  bool all_here() const;
  // How the picks given to acquire were found; empty when the source does not tell.
  std::span<const Outcome> outcomes() const;

 private:
  ExpertSource* source_;
  int id_;
};

// The experts of one layer that a step picked, or a wave of them.
struct Picks {
  explicit Picks(std::span<const int32_t> picked) : experts(picked) {}
  Picks(std::span<const int32_t> picked, std::span<const int32_t> begins, int64_t rows)
      : experts(picked), first_row(begins), n_rows(rows) {}

  std::span<const int32_t> experts;    // distinct ids
  std::span<const int32_t> first_row;  // [experts.size() + 1], where each expert's rows begin; empty: one row each
  int64_t n_rows = 1;                  // of the step

  int64_t rows_of(size_t i) const { return first_row.empty() ? 1 : first_row[i + 1] - first_row[i]; }
};

inline constexpr int64_t kGuessedRows = 8;  // steps of at most so many rows are guessed row by row

class ExpertSource {
 public:
  virtual ~ExpertSource() = default;

  // Pins those of the picks that are in memory and starts reading the others at once.
  // At most max_picks() experts over all live leases. Never evicts what a live lease holds.
  virtual Lease acquire(int layer, const Picks& picks) = 0;
  Lease acquire(int layer, std::span<const int32_t> experts) { return acquire(layer, Picks(experts)); }
  virtual int max_picks() const = 0;
  // Called before each step, while no lease lives: a moment to give memory back or take it. max_picks() may change.
  virtual void begin_step() {}

  // Whether guess() would be listened to for the next layer: making guesses costs time.
  virtual bool wants_guess() const { return false; }
  // Picks of a layer that may come soon, in place of what was guessed before: the likeliest of each of the step's
  // n_rows, then the second of each, and so on; of a step with more than kGuessedRows, all that are nearly sure. They
  // are read when nothing asked for is on its way, and what has not begun when the layer is acquired is not read at
  // all. Never changes results.
  virtual void guess(int layer, std::span<const int32_t> experts, int64_t n_rows) {
    (void)layer, (void)experts, (void)n_rows;
  }

  // Called between pieces of work that may take milliseconds: hands the drive what waits for room in its queue.
  virtual void keep_reading() {}

  // Reads now what would else be read when it is first picked, as far as there is memory for it. `on_bytes` gets the
  // bytes read so far. What cannot be read is tried again when it is picked.
  virtual void fill(const std::function<void(uint64_t)>& on_bytes) { (void)on_bytes; }

  virtual CacheStats cache_stats() const = 0;
  virtual IoStats io_stats() const = 0;
  virtual UnaskedReads unasked_reads() const { return {}; }
  // How many slots of each of its slot_classes() are out of use for now, since others have their memory; empty when the
  // source does not tell. Changes between steps alone.
  virtual std::span<const int32_t> slots_given_back() const { return {}; }
  // Picks of each expert for a token so far, [n_layers, n_experts], and over how many tokens.
  virtual UseRates use_rates() const { return {}; }
  // So many tokens of the step end before the layer's experts: they pick none of them.
  virtual void end_before(int layer, int64_t n_rows) { (void)layer, (void)n_rows; }

 protected:
  friend class Lease;
  virtual std::span<const int32_t> next_arrived(int lease) = 0;
  virtual const ExpertWeights& wait_for(int lease, int i) = 0;
  virtual bool is_complete(int lease) const = 0;
  virtual std::span<const Outcome> outcomes_of(int lease) const { return (void)lease, std::span<const Outcome>(); }
  virtual void release(int lease) noexcept = 0;
};

inline Lease::~Lease() {
  if (source_ != nullptr) source_->release(id_);
}
inline std::span<const int32_t> Lease::next() { return source_->next_arrived(id_); }
inline const ExpertWeights& Lease::wait(int i) { return source_->wait_for(id_, i); }
inline bool Lease::all_here() const { return source_->is_complete(id_); }
inline std::span<const Outcome> Lease::outcomes() const { return source_->outcomes_of(id_); }

}  // namespace flashmoe
