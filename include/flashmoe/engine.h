// A model, opened and ready. Start here: open, new_session, generate.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flashmoe/forecast.h"
#include "flashmoe/memory_plan.h"
#include "flashmoe/options.h"

namespace flashmoe {

class Session;

// Sums by number format, largest first.
struct FormatBytes {
  std::string format;
  uint64_t n_tensors = 0;
  uint64_t bytes = 0;
};

// What the file has beside the model that is run: "draft head".
struct PartNotRun {
  std::string what;
  uint64_t bytes = 0;
};

// What a checkpoint holds, told without loading it.
struct ModelReport {
  std::string path;
  std::vector<std::string> files;
  std::string name;       // as the file names itself; may be empty
  std::string container;  // "GGUF v3", "safetensors", "MLX safetensors"
  std::string family;     // "qwen3_5_moe"
  int n_layers = 0, n_attention_layers = 0;
  int64_t d_model = 0, d_ff_expert = 0, d_ff_shared = 0, vocab_size = 0, context_tokens = 0;
  int n_experts = 0, n_experts_used = 0;
  int n_heads = 0, n_kv_heads = 0, d_head = 0;
  int n_key_heads = 0, n_value_heads = 0, d_key = 0, d_value = 0;  // Gated DeltaNet
  uint64_t file_bytes = 0, n_tensors = 0, n_parameters = 0;
  uint64_t trunk_bytes = 0, expert_bytes = 0;  // whole model
  uint64_t bytes_per_expert = 0;               // largest record
  uint64_t embedding_bytes = 0;         // of the trunk, that stay in the file where experts are streamed; 0: none can
  uint64_t trunk_bytes_per_token = 0;   // read from RAM for each decoded token
  uint64_t expert_bytes_per_token = 0;  // at full top-k; from disk when nothing is cached
  uint64_t kv_bytes_per_token = 0, state_bytes = 0;  // f16 KV; delta-net state of one sequence
  std::vector<FormatBytes> formats;
  std::vector<PartNotRun> not_run;
  std::vector<std::string> unused_tensors;  // in the file, but bound to nothing
  uint64_t unused_bytes = 0;                // of these
  bool has_tokenizer = false, has_chat_template = false;
};

// Mean squares of what a matrix multiplies, by input column: how much each column's error matters. Of routed experts,
// one row each.
struct ColumnImportance {
  std::string name;  // the tensor's in the checkpoint, or layers.N.experts.{gate_up,down}
  int64_t cols = 0;
  std::vector<int64_t> counts;      // [n] rows of activations that went in: n experts, or 1
  std::vector<float> mean_squares;  // [n, cols]; 0 where the count is 0
};

// A routing trace that has ended.
struct TraceSize {
  uint64_t n_tokens = 0;  // in it
  bool full = false;      // the size limit was reached before the run ended
};

// One thread at a time may use an engine and its session.
class Engine {
 public:
  // Reads headers only. Throws Error (input, unsupported, io).
  static ModelReport inspect(const std::string& model_path);

  // Reads headers, tokenizer and chat template, and checks that every tensor is there; no weights yet: see load.
  // Throws Error like inspect.
  static std::unique_ptr<Engine> open(const EngineOptions& options);

  virtual ~Engine() = default;

  // Plans memory, loads the trunk, opens the experts; once. A sequence of `prompt_tokens` must fit the context, with
  // one token of the answer if there is to be one, and `answer_tokens` should: they widen a context that no option has
  // set. Throws Error: input (the prompt is longer than the model's context), usage (an option cannot be honoured),
  // memory_floor (with the plan's table), io, interrupted.
  virtual void load(int64_t prompt_tokens = 0, int64_t answer_tokens = 0) = 0;

  // What load would do with the memory, without loading. Throws Error like load.
  virtual MemoryPlan plan(int64_t prompt_tokens = 0, int64_t answer_tokens = 0) const = 0;

  // What the plan for such a sequence will give in tokens a second, from measuring the machine with this model's
  // threads, kernels, files and matrices for some seconds. `hit_rate` of the expert cache in decode; below 0: what
  // benchmarks of this model had, or what is usual for its size. Throws Error like load; usage also for a hit_rate
  // where all experts have a place in memory.
  virtual Forecast forecast(int64_t prompt_tokens, int64_t answer_tokens, double hit_rate = -1) const = 0;

  virtual const ModelReport& report() const = 0;
  // After load:
  virtual const MemoryPlan& memory_plan() const = 0;
  virtual int64_t context_tokens() const = 0;
  // Warnings worth telling, one line each: tensors that nothing uses, more threads than CPUs; after load also a record
  // of the experts' use that could not be taken.
  virtual const std::vector<std::string>& notes() const = 0;

  // Text -> ids. Throws Error{unsupported} when the checkpoint has no tokenizer.
  virtual std::vector<int32_t> tokenize(std::string_view text, Marks marks) const = 0;
  // Ids -> bytes, special tokens included. Throws Error{input} for an id out of range.
  virtual std::string detokenize(std::span<const int32_t> ids) const = 0;

  // An OpenAI-shaped request ({"messages": [...], "tools": [...], "enable_thinking": bool, ...}) -> ids of the prompt
  // up to and including the assistant's opening. Marks inside user, system and tool text stay text.
  // Throws Error{input} for bad JSON or whatever the template raises; Error{unsupported} without a template.
  virtual std::vector<int32_t> chat_prompt(std::string_view request_json) const = 0;

  // From here on every step adds to what importance() tells; loads if that has not been done. Throws Error{usage}
  // unless the engine is exact.
  virtual void start_calibration() = 0;
  virtual std::vector<ColumnImportance> importance() const = 0;  // by name; empty before start_calibration

  // One conversation. Loads if that has not been done. The engine must outlive it. Throws Error like load, and usage
  // while another session lives.
  virtual std::unique_ptr<Session> new_session() = 0;

  // Completes the routing trace that was asked for, if one was; nothing is recorded after that. The destructor does the
  // same, but cannot tell what went wrong. Throws Error{io}.
  virtual TraceSize end_trace() = 0;
};

// Where the built-in model is, seen from the running binary; empty if it is not installed.
std::string builtin_model_path();

}  // namespace flashmoe
