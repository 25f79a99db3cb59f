// How a step is packed into a block of a trace: shared by writer and reader.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "experts/routing_trace.h"

namespace flashmoe {

inline constexpr uint64_t kTraceTickNs = 100;  // what times are counted in
inline constexpr size_t kTraceHeaderMost = 4 << 20;
inline constexpr size_t kTraceBlockMost = 256 << 20;
inline constexpr size_t kTraceEndCounts = 11;
// A block of no bytes, the counts, their checksum, the mark.
inline constexpr size_t kTraceEndBytes = 4 + 8 * kTraceEndCounts + 4 + kTraceEndMagic.size();

// Bytes that an expert's number takes.
inline size_t trace_id_bytes(int n_experts) { return n_experts <= 256 ? 1 : 2; }

template <typename T>
void put(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

// Seven bits a byte, the lowest first; the top bit says that more follow.
inline void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

// Appends the step. `last_start_ns`: of the step before.
void encode_step(const TraceHeader& header, const TraceStep& step, uint64_t last_start_ns, std::string& out);
// Bytes that the step of one token takes at most, however it goes; of times longer than an hour a few more.
size_t most_token_bytes(const TraceHeader& header);
// Throws Error{input} that names `path` and ends in `where` unless the block is exactly one step. `count` [n_experts]
// is all 0, and stays so.
void decode_step(const TraceHeader& header, std::string_view block, const std::string& path, uint64_t last_start_ns,
                 std::vector<int32_t>& count, TraceStep& step);

std::string encode_end(const TraceEnd& end);
// False when the bytes [kTraceEndBytes] are no end.
bool decode_end(std::string_view bytes, TraceEnd& end);

}  // namespace flashmoe
