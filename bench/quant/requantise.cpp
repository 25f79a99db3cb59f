// What a format costs a model, without packing it: copies a Hugging Face folder with every large matrix replaced by
// what its encoded form decodes to, as 32-bit floats. `eval` on the copy in exact mode tells what it would on the
// packed model.
//   bench_quant SRC DST EXPERTS TRUNK [--importance FILE] [--minmax]
// EXPERTS and TRUNK are formats as `flashmoe inspect` names them (affine2, Q4_K, BF16 ...). Prints the bytes of both.
// --minmax: affine formats by the range of each group, unsearched.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/check.h"
#include "quant/encode.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

struct Tensors {
  ordered_json header;
  std::vector<std::byte> data;
};

Tensors read_safetensors(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof(length));
  std::string json(length, ' ');
  file.read(json.data(), static_cast<std::streamsize>(length));
  Tensors tensors = {ordered_json::parse(json), {}};
  tensors.data.resize(fs::file_size(path) - 8 - length);
  file.read(reinterpret_cast<char*>(tensors.data.data()), static_cast<std::streamsize>(tensors.data.size()));
  CHECK(file.good());
  return tensors;
}

void write_safetensors(const fs::path& path, const Tensors& tensors) {
  const std::string json = tensors.header.dump();
  const uint64_t length = json.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  file << json;
  file.write(reinterpret_cast<const char*>(tensors.data.data()), static_cast<std::streamsize>(tensors.data.size()));
  CHECK(file.good());
}

std::optional<Format> format_named(const std::string& name) {
  for (int i = 0; i < kFormatCount; ++i) {
    if (format_info(static_cast<Format>(i)).name == name) return static_cast<Format>(i);
  }
  return std::nullopt;
}

struct Plan {
  Format experts, trunk;
  bool minmax = false;
  std::optional<Tensors> importance;
  int64_t expert_bytes = 0, trunk_bytes = 0;
};

// Range rounding, for comparison only.
void round_by_range(int bits, float* x, int64_t n) {
  const auto most = static_cast<float>((1 << bits) - 1);
  for (int64_t i = 0; i < n; i += 64) {
    const auto [low, high] = std::minmax_element(x + i, x + i + 64);
    const float least = *low, step = (*high - least) / most;
    for (int64_t j = i; j < i + 64; ++j)
      x[j] = step == 0 ? least : least + step * std::nearbyint((x[j] - least) / step);
  }
}

const float* importance_of(const Plan& plan, const std::string& name, int64_t row, int64_t rows_per_expert,
                           int64_t cols) {
  if (!plan.importance) return nullptr;
  const ordered_json& header = plan.importance->header;
  if (!header.contains(name)) return nullptr;
  const auto* values =
      reinterpret_cast<const float*>(plan.importance->data.data() + header[name]["data_offsets"][0].get<size_t>());
  return values + row / rows_per_expert * cols;
}

void through(const Plan& plan, Format format, const float* importance, float* x, int64_t cols) {
  const FormatInfo& info = format_info(format);
  if (plan.minmax && info.n_scale_matrices == 2) return round_by_range(info.block_bytes / 4, x, cols);
  const ScaleGrid grid = info.n_scale_matrices > 0 ? ScaleGrid{ScaleType::bf16, 1, 64, 0} : ScaleGrid{};
  std::vector<std::byte> weights(static_cast<size_t>(format_bytes(format, cols)));
  std::vector<std::byte> scales(static_cast<size_t>(scale_row_bytes(grid, cols))), biases(scales.size());
  encode_rows(format, grid, x, 1, cols, importance, {weights.data(), scales.data(), biases.data()});
  info.decode({weights.data(), scales.data(), biases.data(), grid.group_cols, grid.type}, 0, cols, x);
}

// Where calibration keeps a tensor's importance.
std::string importance_name(const std::string& name) {
  const size_t at = name.find(".mlp.experts.");
  if (at == std::string::npos) return name;
  const std::string layer = name.substr(name.find("layers."), at - name.find("layers."));
  return layer + ".experts." + (name.ends_with("gate_up_proj") ? "gate_up" : "down");
}

bool is_matrix(const std::string& name, const std::vector<int64_t>& shape) {
  if (shape.size() == 3) return name.find(".experts.") != std::string::npos;
  return shape.size() == 2 && shape[0] >= 64 && name.find("conv1d") == std::string::npos;
}

void requantise(Tensors& tensors, Plan& plan) {
  std::vector<std::byte> out;
  ordered_json kept;
  for (const auto& [name, stored] : tensors.header.items()) {
    if (name == "__metadata__" || name.starts_with("mtp.")) continue;
    ordered_json entry = stored;
    const auto shape = entry["shape"].get<std::vector<int64_t>>();
    const auto from = entry["data_offsets"][0].get<size_t>(), to = entry["data_offsets"][1].get<size_t>();
    const auto n = static_cast<int64_t>((to - from) / 2);
    CHECK(entry["dtype"] == "BF16" || entry["dtype"] == "F32");
    const bool wide = entry["dtype"] == "F32";
    const int64_t n_values = wide ? n / 2 : n, cols = shape.back();
    std::vector<float> x(static_cast<size_t>(n_values));
    format_info(wide ? Format::f32 : Format::bf16).decode({tensors.data.data() + from}, 0, n_values, x.data());
    const bool expert = shape.size() == 3;
    if (is_matrix(name, shape)) {
      const Format format = expert ? plan.experts : plan.trunk;
      const int64_t rows_per_expert = expert ? shape[1] : n_values / cols;
      for (int64_t row = 0; row < n_values / cols; ++row) {
        through(plan, format, importance_of(plan, importance_name(name), row, rows_per_expert, cols),
                x.data() + row * cols, cols);
      }
      const int64_t scales = n_scale_matrices(format) * n_values / 64 * 2;
      (expert ? plan.expert_bytes : plan.trunk_bytes) += format_bytes(format, n_values) + scales;
    } else {
      plan.trunk_bytes += n_values * 4;
    }
    entry["dtype"] = "F32";
    entry["data_offsets"] = {out.size(), out.size() + x.size() * 4};
    const auto* bytes = reinterpret_cast<const std::byte*>(x.data());
    out.insert(out.end(), bytes, bytes + x.size() * 4);
    kept[name] = std::move(entry);
  }
  tensors.header = std::move(kept);
  tensors.data = std::move(out);
}

int run(int argc, char** argv) {
  if (argc < 5) return fmt::print(stderr, "SRC DST EXPERTS TRUNK [--importance FILE] [--minmax]\n"), 2;
  Plan plan;
  const auto experts = format_named(argv[3]), trunk = format_named(argv[4]);
  if (!experts || !trunk) return fmt::print(stderr, "unknown format\n"), 2;
  plan.experts = *experts, plan.trunk = *trunk;
  for (int i = 5; i < argc; ++i) {
    if (std::strcmp(argv[i], "--minmax") == 0) plan.minmax = true;
    if (std::strcmp(argv[i], "--importance") == 0 && i + 1 < argc) plan.importance = read_safetensors(argv[++i]);
  }
  fs::create_directories(argv[2]);
  for (const auto& file : fs::directory_iterator(argv[1])) {
    const std::string name = file.path().filename().string();
    if (name == "golden.safetensors" || name.ends_with(".index.json")) continue;
    const fs::path to = fs::path(argv[2]) / name;
    if (file.path().extension() != ".safetensors") {
      fs::copy_file(file.path(), to, fs::copy_options::overwrite_existing);
      continue;
    }
    Tensors tensors = read_safetensors(file.path());
    requantise(tensors, plan);
    write_safetensors(to, tensors);
  }
  // Where a tensor is follows from the files.
  ordered_json index = {{"metadata", ordered_json::object()}, {"weight_map", ordered_json::object()}};
  for (const auto& file : fs::directory_iterator(argv[2])) {
    if (file.path().extension() != ".safetensors") continue;
    const Tensors tensors = read_safetensors(file.path());
    for (const auto& [name, entry] : tensors.header.items()) {
      if (name != "__metadata__") index["weight_map"][name] = file.path().filename().string();
    }
  }
  std::ofstream(fs::path(argv[2]) / "model.safetensors.index.json") << index.dump();
  fmt::print("experts {} trunk {} bytes\n", plan.expert_bytes, plan.trunk_bytes);
  return 0;
}

}  // namespace
}  // namespace flashmoe

int main(int argc, char** argv) { return flashmoe::run(argc, argv); }
