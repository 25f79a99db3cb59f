#include "checkpoint/quantisation.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "checkpoint/shown_name.h"

namespace flashmoe {
namespace {

using nlohmann::json;

constexpr int64_t kMaxBlock = 65536;

// A member of config.json or of its text_config.
const json* section(const json& config, const char* name) {
  for (const json* object : {&config, config.contains("text_config") ? &config["text_config"] : nullptr}) {
    if (object == nullptr || !object->is_object()) continue;
    const auto found = object->find(name);
    if (found != object->end() && found->is_object()) return &*found;
  }
  return nullptr;
}

// Why a tensor cannot be read; empty: it can.
using Reason = std::string;

const TensorInfo* find(const CheckpointContents& contents, const std::string& name) {
  const auto found = contents.tensors.find(name);
  return found == contents.tensors.end() ? nullptr : &found->second;
}

std::optional<ScaleType> scale_type(Format format) {
  switch (format) {
    case Format::f32:
      return ScaleType::f32;
    case Format::f16:
      return ScaleType::f16;
    case Format::bf16:
      return ScaleType::bf16;
    default:
      return std::nullopt;
  }
}

std::string show(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

Extent extent_of(const TensorInfo& tensor) { return {tensor.file, tensor.offset, tensor.bytes}; }

TensorInfo with_format(const UnsupportedTensor& packed, Format format, std::vector<int64_t> shape) {
  TensorInfo tensor;
  tensor.name = packed.name;
  tensor.format = format;
  tensor.shape = std::move(shape);
  tensor.file = packed.file;
  tensor.offset = packed.offset;
  tensor.bytes = packed.bytes;
  return tensor;
}

class Pairing {
 public:
  virtual ~Pairing() = default;
  // Whether this tensor may have scales of its own.
  virtual bool is_packed(const UnsupportedTensor& tensor) const = 0;
  // Fills `tensor` and the names of the tensors that it absorbs.
  virtual Reason pair(const UnsupportedTensor& packed, TensorInfo& tensor, std::vector<std::string>& absorbed) = 0;
};

class MlxPairing final : public Pairing {
 public:
  MlxPairing(const CheckpointContents& contents, const json* settings) : contents_(contents), settings_(settings) {}

  bool is_packed(const UnsupportedTensor& tensor) const override {
    return tensor.format == "U32" && tensor.name.ends_with(kWeight);
  }

  Reason pair(const UnsupportedTensor& packed, TensorInfo& tensor, std::vector<std::string>& absorbed) override {
    const std::string path = packed.name.substr(0, packed.name.size() - kWeight.size());
    Setting setting;
    if (Reason reason = read_setting(path, setting); !reason.empty()) return reason;
    if (packed.shape.size() < 2) return fmt::format("has shape {}, expected rows of packed values", show(packed.shape));
    std::vector<int64_t> shape = packed.shape;
    shape.back() = shape.back() * 32 / setting.bits;
    if (packed.shape.back() * 32 % setting.bits != 0 || shape.back() % setting.group != 0) {
      return fmt::format("has rows of {} packed words, which are not whole groups of {} values of {} bits",
                         packed.shape.back(), setting.group, setting.bits);
    }
    std::vector<int64_t> groups = shape;
    groups.back() /= setting.group;
    tensor = with_format(packed, setting.format, std::move(shape));
    tensor.grid = {setting.type, 1, static_cast<int32_t>(setting.group), 0};
    absorbed = {path + ".scales"};
    if (setting.format == Format::mxfp4_split) return find_exponents(absorbed[0], groups, tensor);
    absorbed.push_back(path + ".biases");
    return find_scales(absorbed, groups, tensor);
  }

 private:
  static constexpr std::string_view kWeight = ".weight";

  struct Setting {
    std::string mode = "affine";
    int64_t bits = 0, group = 0;
    Format format = Format::affine4;
    ScaleType type = ScaleType::e8m0;
  };

  // What `settings` says about bits, group and mode; the rest stays.
  static Reason read_into(const json& settings, Setting& setting) {
    for (const auto& [name, value] : {std::pair("bits", &setting.bits), std::pair("group_size", &setting.group)}) {
      const auto found = settings.find(name);
      if (found == settings.end()) continue;
      if (!found->is_number_unsigned()) return fmt::format("config.json's quantization: its {} is not a number", name);
      *value = static_cast<int64_t>(std::min<uint64_t>(found->get<uint64_t>(), INT32_MAX));
    }
    const auto mode = settings.find("mode");
    if (mode == settings.end()) return {};
    if (!mode->is_string()) return "config.json's quantization: its mode is not a text";
    setting.mode = mode->get<std::string>();
    return {};
  }

  // Before anything is read from an override: MLX makes its layer from the override alone, with these defaults.
  static Setting what_mlx_assumes(const json& own) {
    Setting setting;
    const auto mode = own.find("mode");
    if (mode == own.end() || *mode == "affine") setting.bits = 4, setting.group = 64;
    return setting;
  }

  Reason read_setting(const std::string& path, Setting& setting) const {
    if (settings_ == nullptr) return "packed, and config.json has no quantization that says how";
    if (Reason reason = read_into(*settings_, setting); !reason.empty()) return reason;
    const auto own = settings_->find(path);
    if (own != settings_->end() && own->is_object()) {
      setting = what_mlx_assumes(*own);
      if (Reason reason = read_into(*own, setting); !reason.empty()) return reason;
    } else if (own != settings_->end() && *own != json(true)) {
      return "packed, but config.json's quantization says it is not quantised";
    }
    return choose_format(setting);
  }

  static Reason choose_format(Setting& setting) {
    if (setting.mode == "mxfp4") {
      if (setting.bits == 0) setting.bits = 4;
      if (setting.group == 0) setting.group = 32;
      setting.format = Format::mxfp4_split;
      if (setting.bits == 4 && setting.group == 32) return {};
    } else if (setting.mode == "affine") {
      constexpr std::pair<int64_t, Format> kFormats[] = {{2, Format::affine2}, {3, Format::affine3},
                                                         {4, Format::affine4}, {5, Format::affine5},
                                                         {6, Format::affine6}, {8, Format::affine8}};
      for (const auto& [bits, format] : kFormats) {
        setting.format = format;
        if (setting.bits == bits && is_group_width(setting.group)) return {};
      }
    }
    return fmt::format(
        "quantised in mode {}, {} bits, groups of {}; this version reads affine with 2, 3, 4, 5, 6 or 8 bits and "
        "groups "
        "of 32, 64 or 128, and mxfp4",
        in_quotes(setting.mode), setting.bits, setting.group);
  }

  Reason find_exponents(const std::string& name, const std::vector<int64_t>& groups, TensorInfo& tensor) const {
    const auto found = std::find_if(contents_.unsupported.begin(), contents_.unsupported.end(),
                                    [&](const UnsupportedTensor& t) { return t.name == name; });
    if (found == contents_.unsupported.end()) return fmt::format("its scales {} are missing", in_quotes(name));
    if (found->format != "U8" || found->shape != groups) {
      return fmt::format("its scales are {} of {}, expected {} of U8", show(found->shape), found->format, show(groups));
    }
    tensor.scales = {found->file, found->offset, found->bytes};
    return {};
  }

  Reason find_scales(const std::vector<std::string>& names, const std::vector<int64_t>& groups, TensorInfo& tensor) {
    const TensorInfo *scales = find(contents_, names[0]), *biases = find(contents_, names[1]);
    if (scales == nullptr) return fmt::format("its scales {} are missing", in_quotes(names[0]));
    if (biases == nullptr) return fmt::format("its biases {} are missing", in_quotes(names[1]));
    const auto type = scale_type(scales->format);
    if (!type || scales->shape != groups) {
      return fmt::format("its scales are {} of {}, expected {} of floats", show(scales->shape), scales->format_name(),
                         show(groups));
    }
    if (biases->format != scales->format || biases->shape != groups) {
      return fmt::format("its biases are {} of {}, its scales {} of {}", show(biases->shape), biases->format_name(),
                         show(groups), scales->format_name());
    }
    tensor.grid.type = *type;
    tensor.scales = extent_of(*scales);
    tensor.biases = extent_of(*biases);
    return {};
  }

  const CheckpointContents& contents_;
  const json* settings_;
};

class Fp8Pairing final : public Pairing {
 public:
  Fp8Pairing(const CheckpointContents& contents, const json& settings) : contents_(contents) {
    const auto type = settings.find("fmt");
    if (type != settings.end() && *type != "e4m3") {
      fail(Fault::unsupported, "{}: config.json's quantization_config has FP8 of type {}, this version reads e4m3",
           contents.path, printable(type->dump()));
    }
    const auto block = settings.find("weight_block_size");
    const auto is_side = [](const json& side) {
      return side.is_number_unsigned() && side.get<uint64_t>() >= 1 && side.get<uint64_t>() <= kMaxBlock;
    };
    if (block == settings.end() || block->is_null()) {
      fail(Fault::unsupported,
           "{}: config.json's quantization_config has no weight_block_size; this version reads FP8 with a scale for "
           "each block",
           contents.path);
    }
    if (!block->is_array() || block->size() != 2 || !is_side((*block)[0]) || !is_side((*block)[1])) {
      fail(Fault::input, "{}: config.json's weight_block_size is {}, expected two numbers from 1 to {}", contents.path,
           printable(block->dump()), kMaxBlock);
    }
    rows_ = (*block)[0].get<int64_t>();
    cols_ = (*block)[1].get<int64_t>();
  }

  bool is_packed(const UnsupportedTensor& tensor) const override { return tensor.format == "F8_E4M3"; }

  Reason pair(const UnsupportedTensor& packed, TensorInfo& tensor, std::vector<std::string>& absorbed) override {
    absorbed = {packed.name + "_scale_inv"};
    const TensorInfo* scales = find(contents_, absorbed[0]);
    if (scales == nullptr) return fmt::format("its scales {} are missing", in_quotes(absorbed[0]));
    if (packed.shape.size() < 2) return fmt::format("has shape {}, expected a matrix", show(packed.shape));
    std::vector<int64_t> blocks = packed.shape;
    const auto count = [](int64_t& n, int64_t side) { n = (n - 1) / side + 1; };
    count(blocks[blocks.size() - 2], rows_);
    count(blocks.back(), cols_);
    const auto type = scale_type(scales->format);
    if (!type || scales->shape != blocks) {
      return fmt::format("its scales are {} of {}, expected {} of floats, one for each {} x {} weights",
                         show(scales->shape), scales->format_name(), show(blocks), rows_, cols_);
    }
    tensor = with_format(packed, Format::fp8_e4m3, packed.shape);
    tensor.grid = {*type, static_cast<int32_t>(rows_), static_cast<int32_t>(cols_), 0};
    tensor.scales = extent_of(*scales);
    return {};
  }

 private:
  const CheckpointContents& contents_;
  int64_t rows_ = 0, cols_ = 0;  // of a block
};

// The pairing that config.json asks for.
std::unique_ptr<Pairing> make_pairing(const CheckpointContents& contents) {
  const json* mlx = section(contents.config, "quantization");
  const json* other = section(contents.config, "quantization_config");
  if (mlx == nullptr && other != nullptr && other->contains("quant_method")) {
    const json& method = (*other)["quant_method"];
    if (method == "fp8") return std::make_unique<Fp8Pairing>(contents, *other);
    fail(Fault::unsupported,
         "{}: config.json's quantization_config has the method {}, which this version does not read; it reads GGUF, "
         "MLX, FP8 and unquantised folders",
         contents.path, printable(method.dump()));
  }
  return std::make_unique<MlxPairing>(contents, mlx != nullptr ? mlx : other);
}

bool has_mlx_names(const CheckpointContents& contents) {
  const auto is_mlx = [](const std::string& name) { return name.find(".switch_mlp.") != std::string::npos; };
  return std::any_of(contents.tensors.begin(), contents.tensors.end(),
                     [&](const auto& t) { return is_mlx(t.first); }) ||
         std::any_of(contents.unsupported.begin(), contents.unsupported.end(),
                     [&](const UnsupportedTensor& t) { return is_mlx(t.name); });
}

}  // namespace

void pair_scales(CheckpointContents& contents) {
  if (has_mlx_names(contents)) {
    contents.dialect = Dialect::mlx;
    contents.container = "MLX safetensors";
  }
  refuse_duplicates(contents);
  const std::unique_ptr<Pairing> pairing = make_pairing(contents);
  std::vector<TensorInfo> paired;
  std::set<std::string, std::less<>> gone;
  for (UnsupportedTensor& packed : contents.unsupported) {
    if (!pairing->is_packed(packed)) continue;
    TensorInfo tensor;
    std::vector<std::string> absorbed;
    packed.reason = pairing->pair(packed, tensor, absorbed);
    if (!packed.reason.empty()) continue;
    gone.insert(packed.name);
    gone.insert(absorbed.begin(), absorbed.end());
    paired.push_back(std::move(tensor));
  }
  std::erase_if(contents.unsupported, [&](const UnsupportedTensor& tensor) { return gone.contains(tensor.name); });
  std::erase_if(contents.tensors, [&](const auto& tensor) { return gone.contains(tensor.first); });
  for (TensorInfo& tensor : paired) contents.tensors.emplace(tensor.name, tensor);
}

}  // namespace flashmoe
