#include "checkpoint/manifest.h"

#include <algorithm>
#include <span>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/shown_name.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxManifestBytes = 64 * kMiB;
constexpr int64_t kMaxSide = int64_t{1} << 32;
constexpr int64_t kMaxLayers = 1024, kMaxExperts = 65536, kMaxGroup = 65536;
constexpr const char* kRoles[] = {"gate", "up", "down"};
constexpr std::pair<const char*, ScaleType> kScaleTypes[] = {
    {"f32", ScaleType::f32}, {"f16", ScaleType::f16}, {"bf16", ScaleType::bf16}, {"e8m0", ScaleType::e8m0}};

Json show(const PackedMatrix& matrix) {
  Json json = {{"format", format_word(matrix.format)}, {"rows", matrix.rows}, {"cols", matrix.cols}};
  if (matrix.grid.group_cols == 0) return json;
  for (const auto& [name, type] : kScaleTypes) {
    if (type == matrix.grid.type) json["scale_type"] = name;
  }
  json["group_rows"] = matrix.grid.group_rows;
  json["group_cols"] = matrix.grid.group_cols;
  if (matrix.grid.first_row > 0) json["first_row"] = matrix.grid.first_row;
  return json;
}

// All but the checksum itself, as it is written.
std::string shown(const Json& json) { return json.dump(1, ' ', false, Json::error_handler_t::replace); }
uint64_t own_checksum(const Json& json) {
  const std::string text = shown(json);
  return checksum_of(std::as_bytes(std::span(text)));
}

class ManifestReader {
 public:
  explicit ManifestReader(const File& file) : path_(file.path()) {
    root_ = Json::parse(read_text(file, kMaxManifestBytes), nullptr, false);
    if (root_.is_discarded()) bad("is not JSON");
  }

  Manifest read() {
    if (text(root_, "format") != "flashmoe-pack") bad("is not that of a packed folder");
    const int64_t version = number(root_, "version", 0, INT32_MAX);
    if (version != kManifestVersion) {
      fail(Fault::unsupported, "{}: version {} of packed folders; this build reads version {}", path_, version,
           kManifestVersion);
    }
    const uint64_t wanted = checksum(member(root_, "xxh3"));
    root_.erase("xxh3");
    if (own_checksum(root_) != wanted) bad("its checksum is not the one in it");
    Manifest manifest;
    const Json& trunk = member(root_, "trunk");
    if (text(trunk, "file") != kTrunkName) bad("names another trunk than trunk.gguf");
    manifest.trunk_bytes = static_cast<uint64_t>(number(trunk, "bytes", 0, INT64_MAX));
    manifest.trunk_checksums.header_bytes =
        static_cast<uint64_t>(number(trunk, "header_bytes", 0, static_cast<int64_t>(manifest.trunk_bytes)));
    manifest.trunk_checksums.header = checksum(member(trunk, "header_xxh3"));
    const Json& tensors = member(trunk, "tensors");
    if (!tensors.is_object()) bad("'tensors' is not an object");
    for (const auto& [name, value] : tensors.items()) {
      if (!manifest.trunk_checksums.tensors.emplace(name, checksum(value)).second) bad("a tensor is there twice");
    }
    for (const Json& item : list(trunk, "apart")) manifest.apart.push_back(read_tensor(item));
    manifest.n_experts = number(root_, "n_experts", 1, kMaxExperts);
    const Json& layers = list(root_, "layers");
    if (layers.empty() || layers.size() > static_cast<size_t>(kMaxLayers)) bad("has an absurd number of layers");
    for (const Json& item : layers) read_layer(item, manifest);
    manifest.source = root_.value("source", Json::object());
    manifest.settings = root_.value("settings", Json::object());
    return manifest;
  }

 private:
  [[noreturn]] void bad(std::string_view what) const { fail(Fault::input, "{}: {}: damaged, pack anew", path_, what); }

  const Json& member(const Json& object, const char* name) const {
    if (!object.is_object() || !object.contains(name)) bad(fmt::format("'{}' is missing", name));
    return object[name];
  }
  std::string text(const Json& object, const char* name) const {
    const Json& value = member(object, name);
    if (!value.is_string()) bad(fmt::format("'{}' is not a text", name));
    return value.get<std::string>();
  }
  const Json& list(const Json& object, const char* name) const {
    const Json& value = member(object, name);
    if (!value.is_array()) bad(fmt::format("'{}' is not a list", name));
    return value;
  }
  int64_t number(const Json& object, const char* name, int64_t low, int64_t high) const {
    const Json& value = member(object, name);
    if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(high) ||
        value.get<int64_t>() < low) {
      bad(fmt::format("'{}' is not a whole number from {} to {}", name, low, high));
    }
    return value.get<int64_t>();
  }
  uint64_t checksum(const Json& value) const {
    const auto parsed = value.is_string() ? parse_checksum(value.get<std::string>()) : std::nullopt;
    if (!parsed) bad("an xxh3 is not 16 hexadecimal digits");
    return *parsed;
  }

  ScaleGrid read_grid(const Json& item, Format format) const {
    ScaleGrid grid;
    const std::string type = text(item, "scale_type");
    const auto* known = std::find_if(std::begin(kScaleTypes), std::end(kScaleTypes),
                                     [&](const auto& candidate) { return type == candidate.first; });
    if (known == std::end(kScaleTypes)) bad("a scale_type is unknown");
    if ((known->second == ScaleType::e8m0) != (format == Format::mxfp4_split)) bad("a scale_type does not fit");
    grid.type = known->second;
    grid.group_rows = static_cast<int32_t>(number(item, "group_rows", 1, kMaxGroup));
    grid.group_cols = static_cast<int32_t>(number(item, "group_cols", 1, kMaxGroup));
    const bool blocks = format_info(format).block_values > 1;
    if (blocks && (grid.group_rows != 1 || !is_group_width(grid.group_cols))) {
      bad("groups of scales do not fit their format");
    }
    if (item.contains("first_row")) {
      grid.first_row = static_cast<int32_t>(number(item, "first_row", 0, grid.group_rows - 1));
    }
    return grid;
  }

  PackedMatrix read_matrix(const Json& item) const {
    PackedMatrix matrix;
    const auto format = format_from_word(text(item, "format"));
    if (!format) bad(fmt::format("the format {} is unknown", in_quotes(text(item, "format"))));
    matrix.format = *format;
    matrix.rows = number(item, "rows", 1, kMaxSide);
    matrix.cols = number(item, "cols", 1, kMaxSide);
    if (!checked_mul(static_cast<uint64_t>(matrix.rows * 8), static_cast<uint64_t>(matrix.cols * 8)) ||
        matrix.rows > INT64_MAX / 64 / matrix.cols) {
      bad("a matrix has more bytes than 64 bits count");
    }
    if (matrix.cols % format_info(*format).block_values != 0) bad("rows are not whole blocks");
    if (n_scale_matrices(*format) > 0) {
      matrix.grid = read_grid(item, *format);
      if (format_info(*format).block_values > 1 && matrix.cols % matrix.grid.group_cols != 0) {
        bad("rows are not whole groups");
      }
    }
    return matrix;
  }

  PackedTensor read_tensor(const Json& item) const {
    PackedTensor tensor{text(item, "name"), read_matrix(item), {}};
    if (n_scale_matrices(tensor.matrix.format) == 0) bad("a tensor apart has a format of GGUF");
    int64_t outer = 1;
    for (const Json& dim : list(item, "shape")) {
      if (!dim.is_number_unsigned() || dim.get<uint64_t>() < 1 ||
          dim.get<uint64_t>() > static_cast<uint64_t>(kMaxSide)) {
        bad("a shape has an absurd dimension");
      }
      tensor.shape.push_back(dim.get<int64_t>());
    }
    const size_t n = tensor.shape.size();
    if (n < 2 || n > 3 || tensor.shape[n - 2] != tensor.matrix.rows || tensor.shape[n - 1] != tensor.matrix.cols) {
      bad("a shape does not fit its matrix");
    }
    if (n == 3) outer = tensor.shape[0];
    if (outer > INT64_MAX / 64 / matrix_values(tensor.matrix)) bad("a tensor has more bytes than 64 bits count");
    return tensor;
  }
  static int64_t matrix_values(const PackedMatrix& matrix) { return matrix.rows * matrix.cols; }

  void read_layer(const Json& item, Manifest& manifest) const {
    if (text(item, "file") != manifest.bank_name(manifest.layers.size())) bad("a bank has another name than expected");
    PackedLayer layer;
    for (size_t m = 0; m < 3; ++m) layer.matrices[m] = read_matrix(member(item, kRoles[m]));
    const uint64_t record = layer.record_bytes();
    if (record > static_cast<uint64_t>(INT64_MAX) / 2 / static_cast<uint64_t>(manifest.n_experts)) {
      bad("a layer has more bytes than 64 bits count");
    }
    if (static_cast<uint64_t>(number(item, "record_bytes", 1, INT64_MAX)) != record ||
        static_cast<uint64_t>(number(item, "stride", 1, INT64_MAX)) != layer.stride()) {
      bad("sizes of a layer's records do not follow from their matrices");
    }
    for (const Json& value : list(item, "xxh3")) layer.checksums.push_back(checksum(value));
    if (!layer.checksums.empty() && layer.checksums.size() != static_cast<size_t>(manifest.n_experts)) {
      bad("a layer has not one xxh3 for each expert");
    }
    manifest.layers.push_back(std::move(layer));
  }

  std::string path_;
  Json root_;
};

}  // namespace

std::array<uint64_t, 3> PackedMatrix::part_bytes() const {
  std::array<uint64_t, 3> bytes = {static_cast<uint64_t>(format_bytes(format, cols) * rows)};
  for (int i = 1; i <= n_scale_matrices(format); ++i) {
    bytes[static_cast<size_t>(i)] = static_cast<uint64_t>(scale_matrix_bytes(grid, rows, cols));
  }
  return bytes;
}

uint64_t PackedMatrix::bytes() const {
  const auto parts = part_bytes();
  return parts[0] + parts[1] + parts[2];
}

uint64_t PackedLayer::record_bytes() const { return matrices[0].bytes() + matrices[1].bytes() + matrices[2].bytes(); }
uint64_t PackedLayer::stride() const { return round_up(record_bytes(), kRecordAlignment); }

std::string Manifest::bank_name(size_t layer) const { return fmt::format("experts-{:02}.bank", layer); }
uint64_t Manifest::bank_bytes(size_t layer) const { return layers[layer].stride() * static_cast<uint64_t>(n_experts); }

std::string Manifest::to_json() const {
  Json json = {{"format", "flashmoe-pack"}, {"version", kManifestVersion}};
  Json apart_list = Json::array();
  for (const PackedTensor& tensor : apart) {
    Json item = {{"name", tensor.name}, {"shape", tensor.shape}};
    item.update(show(tensor.matrix));
    apart_list.push_back(std::move(item));
  }
  Json tensors = Json::object();
  for (const auto& [name, value] : trunk_checksums.tensors) tensors.emplace(name, show_checksum(value));
  json["trunk"] = {{"file", kTrunkName},
                   {"bytes", trunk_bytes},
                   {"header_bytes", trunk_checksums.header_bytes},
                   {"header_xxh3", show_checksum(trunk_checksums.header)},
                   {"tensors", std::move(tensors)},
                   {"apart", std::move(apart_list)}};
  json["n_experts"] = n_experts;
  json["layers"] = Json::array();
  for (const PackedLayer& layer : layers) {
    Json item = {
        {"file", bank_name(json["layers"].size())}, {"record_bytes", layer.record_bytes()}, {"stride", layer.stride()}};
    for (size_t m = 0; m < 3; ++m) item[kRoles[m]] = show(layer.matrices[m]);
    item["xxh3"] = Json::array();
    for (const uint64_t value : layer.checksums) item["xxh3"].push_back(show_checksum(value));
    json["layers"].push_back(std::move(item));
  }
  json["source"] = source;
  json["settings"] = settings;
  json["xxh3"] = show_checksum(own_checksum(json));
  return shown(json) + "\n";
}

Manifest Manifest::parse(const File& file) { return ManifestReader(file).read(); }

std::string format_word(Format format) {
  std::string word = format_info(format).name;
  std::transform(word.begin(), word.end(), word.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  return word;
}

std::optional<Format> format_from_word(std::string_view word) {
  for (int i = 0; i < kFormatCount; ++i) {
    if (format_word(static_cast<Format>(i)) == word) return static_cast<Format>(i);
  }
  return std::nullopt;
}

}  // namespace flashmoe
