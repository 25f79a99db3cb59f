// A model on disk as named tensors and metadata; no weights are read here.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/extent.h"
#include "io/file.h"
#include "quant/format.h"

namespace flashmoe {

struct TensorInfo {
  std::string name;
  Format format = Format::f32;
  std::vector<int64_t> shape;  // outermost first, row-major; GGUF's order is reversed on reading
  uint32_t file = 0;           // index into Checkpoint::files()
  uint64_t offset = 0;         // of the first byte, in that file
  uint64_t bytes = 0;          // without scales kept apart
  ScaleGrid grid = {};         // of formats that keep their scales apart, over the last two dimensions: each matrix
                               // of a stack has a grid of its own
  Extent scales, biases;       // the same; of all matrices of a stack
  uint64_t stride = 0;         // from a matrix of a stack to the next, its scales and biases alike; 0: no gaps
  // Of a packed folder's experts, [n_experts]: of the records that the stack's matrices are in.
  std::shared_ptr<const std::vector<uint64_t>> checksums = {};
  // Of a tensor of a packed folder's trunk: XXH3 of its bytes, then its scales, then its biases.
  std::optional<uint64_t> checksum = {};

  int64_t n_values() const;
  uint64_t all_bytes() const { return bytes + scales.bytes + biases.bytes; }
  std::string format_name() const;  // for people: "Q4_K", "MLX 4-bit g64", "FP8 e4m3 128x128"
};

// A tensor that this build cannot run: fatal only if a binding asks for it.
struct UnsupportedTensor {
  std::string name;
  std::string format;
  uint64_t bytes = 0;
  std::string reason;          // what is wrong with it; empty: its format
  std::vector<int64_t> shape;  // as in TensorInfo
  uint32_t file = 0;
  uint64_t offset = 0;
};

enum class Dialect { hugging_face, mlx, gguf };  // which names and conventions the tensors follow

// GGUF metadata values. Numbers keep their sign, not their width; arrays are of one kind.
using MetaValue = std::variant<uint64_t, int64_t, double, bool, std::string, std::vector<int64_t>, std::vector<double>,
                               std::vector<std::string>>;

class Checkpoint {
 public:
  // `path`: a .gguf file (any part of a split: the others are found beside it), a folder with config.json and
  // *.safetensors (or one of those files, or their index), or a folder with one GGUF (or one split) in it. Reads
  // headers only; every count, offset and dimension is checked against the file's size. Throws Error: io (missing,
  // unreadable), input (malformed, truncated, duplicate names, overlapping or out-of-range tensors, missing shards),
  // unsupported (GGUF v1, big endian).
  static std::unique_ptr<Checkpoint> open(const std::string& path);
  virtual ~Checkpoint() = default;

  virtual Dialect dialect() const = 0;
  virtual const std::string& path() const = 0;
  virtual std::string container() const = 0;  // "GGUF v3", "safetensors"
  virtual const std::vector<std::shared_ptr<File>>& files() const = 0;

  virtual const std::map<std::string, TensorInfo, std::less<>>& tensors() const = 0;
  virtual const std::vector<UnsupportedTensor>& unsupported_tensors() const = 0;  // sorted by name
  const TensorInfo* find(std::string_view name) const;
  const UnsupportedTensor* find_unsupported(std::string_view name) const;

  // gguf: the metadata. Others: empty.
  virtual const std::map<std::string, MetaValue, std::less<>>& metadata() const = 0;
  // hugging_face, mlx: config.json. gguf: null.
  virtual const nlohmann::json& config() const = 0;
  // hugging_face, mlx: text of a small file beside the weights (tokenizer.json, chat_template.jinja, ...), at most 64
  // MiB; nothing when it is not there.
  virtual std::optional<std::string> side_file(std::string_view name) const = 0;

  uint64_t file_bytes() const;
};

}  // namespace flashmoe
