// What a caller may choose. Every default is what a first-time user wants.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace flashmoe {

enum class KernelChoice { automatic, scalar, avx2, avxvnni, avx512, neon };
// uring and pread read past the page cache (O_DIRECT), buffered through it; automatic: by a trial of the drive.
enum class IoChoice { automatic, uring, pread, buffered };
enum class ExpertsChoice { automatic, resident, streamed };
enum class ReadAheadChoice { automatic, on, off };
// When the checksums of a packed folder's experts are compared: at the first read of each, at every read, or never.
enum class VerifyChoice { first, always, never };
// automatic: f32 with exact; else q8 where more than 16,384 tokens are asked for (the context, or a prompt and its
// answer) and the model's heads allow it; else f16.
enum class KvChoice { automatic, f16, q8, f32 };
// Marks such as <|im_end|> in a text become their ids, or stay text.
enum class Marks { parse, as_text };

// A rate-limited report while something takes long.
struct Progress {
  enum class Unit { bytes, tokens, steps };

  const char* what = "";  // "loading", "reading prompt"
  Unit unit = Unit::tokens;
  uint64_t done = 0;   // of `total`, both in `unit`
  uint64_t total = 0;  // 0: not known
  double seconds = 0;  // since it began
};

// A record of what the router picks, for flashmoe trace, simulate and report.
struct TraceOptions {
  std::string path;                           // empty: none
  uint64_t most_bytes = uint64_t{256} << 20;  // of the file; what comes later is left out
  bool guesses = false;                       // also what each layer makes of the next one's picks: costs time
  bool scores = false;                        // also every expert's score
};

struct EngineOptions {
  std::string model_path;            // a GGUF file (any part of a split), or a folder of safetensors
  std::string chat_template_path;    // of a Jinja file in place of the model's own; empty: its own
  uint64_t ram_bytes = 0;            // total for the process; 0: what the cgroup and the machine have free
  std::string ram_source = "--ram";  // who says so, in the plan's table
  int n_threads = 0;                 // 0: the CPUs this process may use
  int context_tokens = 0;            // longest sequence; 0: 8192 or what load() is told, at most the model's own limit
  int prefill_chunk = 0;             // rows per prefill step, rounded up to a multiple of 64; 0: chosen by the planner
  bool exact = false;                // f32 activations end to end
  KernelChoice kernels = KernelChoice::automatic;
  IoChoice io = IoChoice::automatic;
  std::vector<std::string> mirrors;  // folders with copies of the model's files, on other drives
  ExpertsChoice experts = ExpertsChoice::automatic;
  ReadAheadChoice read_ahead = ReadAheadChoice::automatic;
  bool lend = true;   // experts have memory that is planned for sequences and steps until those need it
  bool learn = true;  // which experts are used is kept in the user's cache folder, so that the next start is warm
  VerifyChoice verify_reads = VerifyChoice::first;
  KvChoice kv = KvChoice::automatic;
  TraceOptions trace;
  // Both are called on the caller's thread and may be empty.
  std::function<void(const Progress&)> on_progress;
  // Asked while loading and before every layer of every step; false ends what is going on with Error{interrupted}, or,
  // in generate, with StopReason::interrupted.
  std::function<bool()> keep_going;
};

struct SamplingOptions {
  float temperature = 0;         // 0: greedy
  int top_k = 0;                 // 0: off
  float top_p = 1;               // 1: off
  float min_p = 0;               // 0: off
  float repetition_penalty = 1;  // 1: off; divides positive, multiplies negative logits of tokens seen so far
  float presence_penalty = 0;    // 0: off; subtracted once from every generated token
  float frequency_penalty = 0;   // 0: off; subtracted once per occurrence
  uint64_t seed = 0;             // the same seed gives the same text
};

struct GenerateOptions {
  int max_tokens = 0;  // 0: until the model stops or the context is full
  SamplingOptions sampling;
  std::vector<std::string> stop;  // text that ends the answer; it is not part of it
};

}  // namespace flashmoe
