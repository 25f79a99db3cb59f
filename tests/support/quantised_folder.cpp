#include "support/quantised_folder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/check.h"
#include "checkpoint/checkpoint.h"
#include "memory/view.h"
#include "quant/fp8_e4m3.h"
#include "quant/mxfp4.h"
#include "support/safetensors_writer.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

struct Tensor {
  std::string name;
  std::vector<uint64_t> shape;
  std::vector<float> values;
};

// A tensor's bytes, and those of its scales and biases.
struct Encoded {
  std::string weights, scales, biases;
};

bool is_affine(Format format) { return n_scale_matrices(format) == 2; }
int bits_of(Format format) { return format_info(format).block_bytes / 4; }

// Stores a scale and returns what is left of its value.
float put_scale(std::string& to, ScaleType type, float value) {
  std::byte bytes[4] = {};
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t half = type == ScaleType::f16 ? f32_to_f16(value) : static_cast<uint16_t>((bits + 0x8000) >> 16);
  if (type == ScaleType::f32) {
    std::memcpy(bytes, &value, 4);
  } else if (type == ScaleType::e8m0) {
    bytes[0] = static_cast<std::byte>(bits >> 23);  // a power of two
  } else {
    std::memcpy(bytes, &half, 2);
  }
  to.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(scale_bytes(type)));
  return load_scale(type, bytes, 0);
}

uint8_t nearest_mxfp4(float wanted) {
  const auto distance = [wanted](int code) {
    return std::fabs(0.5f * static_cast<float>(kMxfp4Levels[code]) - wanted);
  };
  int best = 0;
  for (int code = 1; code < 16; ++code) {
    if (distance(code) < distance(best)) best = code;
  }
  return static_cast<uint8_t>(best);
}

// Of a value that is not negative; codes 0 to 126 are finite and ascend.
uint8_t nearest_e4m3(float wanted) {
  static const auto kValues = [] {
    std::array<float, 127> values{};
    for (size_t code = 0; code < values.size(); ++code) values[code] = e4m3_to_f32(static_cast<uint8_t>(code));
    return values;
  }();
  auto above = std::lower_bound(kValues.begin(), kValues.end() - 1, wanted);
  if (above != kValues.begin() && wanted - above[-1] <= *above - wanted) --above;
  return static_cast<uint8_t>(above - kValues.begin());
}

float largest(const Tensor& t, size_t first, size_t n) {
  float most = 1e-9f;
  for (size_t i = first; i < first + n; ++i) most = std::max(most, std::fabs(t.values[i]));
  return most;
}

void put_bits(std::string& to, const std::vector<uint8_t>& quants, int bits) {
  uint64_t pending = 0;
  int n_pending = 0;
  for (const uint8_t q : quants) {
    pending |= uint64_t{q} << n_pending;
    for (n_pending += bits; n_pending >= 8; n_pending -= 8, pending >>= 8) to += static_cast<char>(pending & 255);
  }
}

Encoded encode_groups(const Tensor& t, Format format, const ScaleGrid& grid) {
  Encoded out;
  std::vector<uint8_t> quants;
  const auto group = static_cast<size_t>(grid.group_cols);
  for (size_t first = 0; first < t.values.size(); first += group) {
    const auto values = t.values.begin() + static_cast<std::ptrdiff_t>(first);
    if (is_affine(format)) {
      const auto [low, high] = std::minmax_element(values, values + grid.group_cols);
      const int last = (1 << bits_of(format)) - 1;
      const float scale = put_scale(out.scales, grid.type, std::max(*high - *low, 1e-6f) / static_cast<float>(last));
      const float bias = put_scale(out.biases, grid.type, *low);
      for (size_t i = 0; i < group; ++i) {
        const float q = std::round((t.values[first + i] - bias) / scale);
        quants.push_back(static_cast<uint8_t>(std::clamp(q, 0.0f, static_cast<float>(last))));
      }
    } else {
      const float power = std::exp2(std::ceil(std::log2(largest(t, first, group) / 6)));
      const float scale = put_scale(out.scales, grid.type, power);
      for (size_t i = 0; i < group; ++i) {
        quants.push_back(nearest_mxfp4(t.values[first + i] / scale));
      }
    }
  }
  put_bits(out.weights, quants, is_affine(format) ? bits_of(format) : 4);
  return out;
}

Encoded encode_fp8(const Tensor& t, const ScaleGrid& grid) {
  Encoded out;
  out.weights.resize(t.values.size());
  const size_t cols = t.shape.back(), rows = t.shape[t.shape.size() - 2];
  const auto high = static_cast<size_t>(grid.group_rows), wide = static_cast<size_t>(grid.group_cols);
  for (size_t matrix = 0; matrix < t.values.size(); matrix += rows * cols) {
    for (size_t row = 0; row < rows; row += high) {
      for (size_t col = 0; col < cols; col += wide) {
        const size_t n_rows = std::min(high, rows - row), n_cols = std::min(wide, cols - col);
        float most = 0;
        for (size_t r = row; r < row + n_rows; ++r) most = std::max(most, largest(t, matrix + r * cols + col, n_cols));
        const float scale = put_scale(out.scales, grid.type, most / 400);
        for (size_t r = row; r < row + n_rows; ++r) {
          for (size_t i = matrix + r * cols + col; i < matrix + r * cols + col + n_cols; ++i) {
            const float wanted = std::fabs(t.values[i]) / scale;
            const uint8_t code = nearest_e4m3(wanted);
            out.weights[i] = static_cast<char>(code | (t.values[i] < 0 ? 0x80 : 0));
          }
        }
      }
    }
  }
  return out;
}

// What the quantised tensor holds.
void decode(Tensor& t, const Encoded& encoded, Format format, const ScaleGrid& grid) {
  const auto cols = static_cast<int64_t>(t.shape.back()), rows = static_cast<int64_t>(t.shape[t.shape.size() - 2]);
  const auto bytes = [](const std::string& text) { return reinterpret_cast<const std::byte*>(text.data()); };
  const auto n = static_cast<int64_t>(t.values.size()) / (rows * cols);
  for (int64_t m = 0; m < n; ++m) {
    const int64_t scales = m * scale_matrix_bytes(grid, rows, cols);
    const MatrixView view = {bytes(encoded.weights) + m * rows * format_bytes(format, cols),
                             rows,
                             cols,
                             format,
                             grid,
                             bytes(encoded.scales) + scales,
                             bytes(encoded.biases) + scales};
    for (int64_t r = 0; r < rows; ++r) view.decode(r, 0, cols, t.values.data() + (m * rows + r) * cols);
  }
}

std::string as_bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

class Writer {
 public:
  explicit Writer(const FolderQuantisation& how) : how_(how), is_mlx_(how.format != Format::fp8_e4m3) {}

  void add(Tensor t) {
    const bool is_norm =
        t.name.find("norm.weight") != std::string::npos && !t.name.ends_with("linear_attn.norm.weight");
    const bool is_matrix = t.shape.size() >= 2 && t.name.find("conv1d") == std::string::npos;
    const std::string source_name = t.name;
    if (is_matrix && is_mlx_ && t.name.ends_with(".experts.gate_up_proj")) return add_gate_up(std::move(t));
    if (is_mlx_) t.name = mlx_name(t.name);
    if (is_matrix) {
      add_matrix(t);
    } else {
      Tensor stored = t;
      if (is_mlx_ && is_norm && how_.zero_centred)
        std::for_each(stored.values.begin(), stored.values.end(), [](float& w) { w += 1; });
      if (is_mlx_ && t.shape.size() == 3) stored.shape = {t.shape[0], t.shape[2], t.shape[1]};
      quantised_.add_tensor(stored.name, "F32", stored.shape, as_bytes(stored.values));
    }
    plain_.add_tensor(source_name, "F32", t.shape, as_bytes(t.values));
  }

  void write(const std::string& source, const std::string& quantised, const std::string& plain) const {
    nlohmann::json config = nlohmann::json::parse(read_bytes(source + "/config.json"));
    write_bytes(plain + "/config.json", config.dump());
    plain_.write(plain + "/model.safetensors");
    if (is_mlx_) {
      config["quantization"] = settings_of(how_.format, how_.grid);
      for (const auto& [path, settings] : overrides_.items()) config["quantization"][path] = settings;
    } else {
      config["quantization_config"] = {{"quant_method", "fp8"},
                                       {"fmt", "e4m3"},
                                       {"activation_scheme", "dynamic"},
                                       {"weight_block_size", {how_.grid.group_rows, how_.grid.group_cols}}};
    }
    write_bytes(quantised + "/config.json", config.dump());
    quantised_.write(quantised + "/model.safetensors");
  }

 private:
  static nlohmann::json settings_of(Format format, const ScaleGrid& grid) {
    nlohmann::json settings = {{"group_size", grid.group_cols}, {"bits", is_affine(format) ? bits_of(format) : 4}};
    settings["mode"] = is_affine(format) ? "affine" : "mxfp4";
    return settings;
  }

  std::string mlx_name(const std::string& name) const {
    const size_t experts = name.find(".experts.");
    if (experts == std::string::npos) return how_.prefix + name;
    return how_.prefix + name.substr(0, experts) + ".switch_mlp." + name.substr(experts + 9) + ".weight";
  }

  // MLX keeps gate and up apart; the plain copy has them together as the source does.
  void add_gate_up(Tensor both) {
    const size_t n = both.shape[0], half = both.values.size() / n / 2;
    const std::string prefix = both.name.substr(0, both.name.size() - std::string("gate_up_proj").size());
    for (const size_t which : {size_t{0}, size_t{1}}) {
      Tensor part = {mlx_name(prefix + (which == 0 ? "gate_proj" : "up_proj")), both.shape, {}};
      part.shape[1] /= 2;
      const auto at = [&](size_t e) {
        return both.values.begin() + static_cast<std::ptrdiff_t>((e * 2 + which) * half);
      };
      for (size_t e = 0; e < n; ++e)
        part.values.insert(part.values.end(), at(e), at(e) + static_cast<std::ptrdiff_t>(half));
      add_matrix(part);
      for (size_t e = 0; e < n; ++e) {
        std::copy_n(part.values.begin() + static_cast<std::ptrdiff_t>(e * half), half, at(e));
      }
    }
    plain_.add_tensor(both.name, "F32", both.shape, as_bytes(both.values));
  }

  void add_matrix(Tensor& t) {
    Format format = how_.format;
    ScaleGrid grid = how_.grid;
    // Rows of heads are finer than blocks of FP8.
    const bool is_fine = t.name.ends_with("in_proj_ba.weight") && !is_mlx_;
    const bool is_router =
        is_fine || t.name.ends_with("mlp.gate.weight") || t.name.ends_with("shared_expert_gate.weight");
    if (is_router && (!is_mlx_ || how_.routers == Format::f32)) {
      quantised_.add_tensor(t.name, "F32", t.shape, as_bytes(t.values));
      if (is_mlx_) overrides_[t.name.substr(0, t.name.size() - 7)] = false;
      return;
    }
    if (is_router && how_.routers != how_.format) {
      format = how_.routers;
      grid = {ScaleType::bf16, 1, 32, 0};
      overrides_[t.name.substr(0, t.name.size() - 7)] = settings_of(format, grid);
      if (is_affine(format)) overrides_[t.name.substr(0, t.name.size() - 7)].erase("mode");  // as mlx-lm has it
    }
    const Encoded encoded = format == Format::fp8_e4m3 ? encode_fp8(t, grid) : encode_groups(t, format, grid);
    decode(t, encoded, format, grid);
    std::vector<uint64_t> shape = t.shape, scales = t.shape;
    scales.back() = (scales.back() - 1) / static_cast<uint64_t>(grid.group_cols) + 1;
    uint64_t& rows = scales[scales.size() - 2];
    rows = (rows - 1) / static_cast<uint64_t>(grid.group_rows) + 1;
    if (is_mlx_) shape.back() = shape.back() * static_cast<uint64_t>(is_affine(format) ? bits_of(format) : 4) / 32;
    const char* type = grid.type == ScaleType::f32    ? "F32"
                       : grid.type == ScaleType::f16  ? "F16"
                       : grid.type == ScaleType::bf16 ? "BF16"
                                                      : "U8";
    const std::string stem = is_mlx_ ? t.name.substr(0, t.name.size() - 7) : t.name;
    quantised_.add_tensor(t.name, is_mlx_ ? "U32" : "F8_E4M3", shape, encoded.weights);
    quantised_.add_tensor(stem + (is_mlx_ ? ".scales" : "_scale_inv"), type, scales, encoded.scales);
    if (is_affine(format)) quantised_.add_tensor(stem + ".biases", type, scales, encoded.biases);
  }

  FolderQuantisation how_;
  bool is_mlx_;
  SafetensorsWriter quantised_, plain_;
  nlohmann::json overrides_ = nlohmann::json::object();
};

}  // namespace

void write_quantised(const std::string& source, const FolderQuantisation& how, const std::string& quantised,
                     const std::string& plain) {
  const auto model = Checkpoint::open(source);
  Writer writer(how);
  for (const auto& [name, tensor] : model->tensors()) {
    std::vector<std::byte> bytes(tensor.bytes);
    model->files()[tensor.file]->read(tensor.offset, bytes);
    std::vector<float> values(static_cast<size_t>(tensor.n_values()));
    format_info(tensor.format).decode({bytes.data()}, 0, tensor.n_values(), values.data());
    writer.add({name, {tensor.shape.begin(), tensor.shape.end()}, std::move(values)});
  }
  writer.write(source, quantised, plain);
}

}  // namespace flashmoe
