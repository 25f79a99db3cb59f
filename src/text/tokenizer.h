// Text <-> token ids: byte-level BPE with added tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "flashmoe/options.h"

namespace flashmoe {

class Tokenizer {
 public:
  // From tokenizer.json or GGUF metadata. Null when the checkpoint has none. Throws Error{input} when it is malformed,
  // Error{unsupported} when it is of another kind (the kind is named).
  static std::unique_ptr<Tokenizer> load(const Checkpoint& checkpoint);
  static std::unique_ptr<Tokenizer> from_json(std::string_view tokenizer_json);
  virtual ~Tokenizer() = default;

  // Equal, id for id, to the reference `tokenizers` library (add_special_tokens = false). Invalid UTF-8 is replaced by
  // U+FFFD, one per maximal ill-formed part, as Python's errors="replace" does.
  virtual std::vector<int32_t> encode(std::string_view text, Marks marks) const = 0;

  // The bytes of one token; for an added token its text. Throws Error{input} for an id out of range.
  virtual std::string_view bytes(int32_t id) const = 0;
  virtual bool is_special(int32_t id) const = 0;  // added and marked special: dropped from output
  virtual bool ends_turn(int32_t id) const = 0;   // <|im_end|>, <|endoftext|>, and what the checkpoint names as EOS
  virtual std::optional<int32_t> id_of(std::string_view token) const = 0;  // added tokens
  virtual int32_t size() const = 0;                                        // ids are [0, size)
  virtual const std::vector<std::string>& added_tokens() const = 0;        // their texts
};

}  // namespace flashmoe
