// manifest.json of a packed folder: which records lie where, in which formats, and their checksums (docs/formats.md).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"
#include "quant/format.h"

namespace flashmoe {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kUnfinishedManifestName = "manifest.unfinished.json";
inline constexpr std::string_view kTrunkName = "trunk.gguf";
inline constexpr int kManifestVersion = 2;
inline constexpr uint64_t kRecordAlignment = 4096;

// One of the three matrices that every record of a layer holds, in the order gate, up, down.
struct PackedMatrix {
  Format format = Format::f32;
  ScaleGrid grid = {};  // of formats that keep their scales apart
  int64_t rows = 0, cols = 0;

  // Of its weights, scales and biases, which follow each other in the record.
  std::array<uint64_t, 3> part_bytes() const;
  uint64_t bytes() const;
  bool operator==(const PackedMatrix&) const = default;
};

struct PackedLayer {
  std::array<PackedMatrix, 3> matrices;  // gate, up, down
  std::vector<uint64_t> checksums;       // [n_experts], XXH3 of record_bytes(); empty: not packed yet

  uint64_t record_bytes() const;
  uint64_t stride() const;  // from a record to the next: a multiple of kRecordAlignment
};

// A tensor of trunk.gguf in a format that GGUF has no type for: bytes, with scales and biases in tensors of their own.
struct PackedTensor {
  std::string name;
  PackedMatrix matrix;         // of the last two dimensions
  std::vector<int64_t> shape;  // outermost first
};

// XXH3 of all that trunk.gguf holds.
struct TrunkChecksums {
  uint64_t header_bytes = 0;  // before the first tensor
  uint64_t header = 0;
  std::map<std::string, uint64_t, std::less<>> tensors;  // of the weights, then the scales, then the biases
  bool operator==(const TrunkChecksums&) const = default;
};

struct Manifest {
  uint64_t trunk_bytes = 0;  // 0: not packed yet
  TrunkChecksums trunk_checksums;
  std::vector<PackedTensor> apart;
  int64_t n_experts = 0;
  std::vector<PackedLayer> layers;
  nlohmann::ordered_json source, settings;  // for people, and for going on with what was begun

  std::string bank_name(size_t layer) const;  // "experts-07.bank"
  uint64_t bank_bytes(size_t layer) const;    // of the whole file
  std::string to_json() const;
  // Throws Error{input} for anything that does not fit together, Error{unsupported} for a later version.
  static Manifest parse(const File& file);
};

// The name of a format as --experts takes it: "q4_k".
std::string format_word(Format format);
std::optional<Format> format_from_word(std::string_view word);

}  // namespace flashmoe
