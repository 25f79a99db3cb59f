// One file of a remembered conversation (docs/formats.md): the keys and values of a stretch of it, the delta-net state
// at its end, or an answer in the words that it was sampled in.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/file.h"

namespace flashmoe {

enum class SessionPart : uint32_t { kv = 1, state = 2, words = 3 };

struct SessionRecord {
  SessionPart part = SessionPart::kv;
  int64_t n_before = 0;      // tokens before the stretch; 0 for other parts
  std::vector<int32_t> ids;  // of the conversation, from its beginning to the stretch's end; of words: what they are
                             // found by, a byte each
};

// Bytes in pieces, as they lie in memory.
using SessionBytes = std::vector<std::span<std::byte>>;
uint64_t size_of(const SessionBytes& bytes);

// Appears at `path` whole or not at all, readable by its owner only; little of it stays in the page cache. `identity`:
// whoever may read it (model, number formats, kernels). Throws Error{io}.
void write_session_file(const std::string& path, const std::string& identity, const SessionRecord& record,
                        const SessionBytes& payload);
uint64_t session_file_bytes(const std::string& identity, const SessionRecord& record, uint64_t payload_bytes);

class SessionFile {
 public:
  // Reads and checks all but the payload. Throws Error{input} for a file that is damaged or none, Error{unsupported}
  // for one of another version or identity, Error{io}.
  SessionFile(std::shared_ptr<File> file, const std::string& identity);
  const SessionRecord& record() const { return record_; }
  uint64_t payload_bytes() const { return payload_bytes_; }
  // Throws Error{input} when the bytes are not those that were written; then `into` holds anything.
  void read(const SessionBytes& into) const;

 private:
  std::shared_ptr<File> file_;
  SessionRecord record_;
  uint64_t payload_at_ = 0, payload_bytes_ = 0, payload_checksum_ = 0;
};

}  // namespace flashmoe
