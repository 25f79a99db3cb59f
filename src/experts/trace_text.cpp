#include "experts/trace_text.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/error.h"

namespace flashmoe {
namespace {

constexpr int32_t kMostExperts = 65536;
constexpr size_t kMostLayers = 4096;
constexpr size_t kReadBytes = 1 << 20, kLongestLine = 16 << 20;

class TextTrace final : public TraceReader {
 public:
  TextTrace(std::shared_ptr<File> file, const OnLookedThrough& on_looked_through) : file_(std::move(file)) {
    header_.model = std::filesystem::path(file_->path()).filename().string();
    TraceStep step;
    for (uint64_t told = 0; next(step); ++end_.n_steps) {
      if (on_looked_through && read_ != told) on_looked_through(told = read_);
    }
    end_.n_rows = end_.n_decoded = end_.n_steps;
    header_.n_experts = static_cast<int>(round_up(static_cast<uint64_t>(largest_) + 1, 8));
    rewind();
  }

  bool next(TraceStep& step) override {
    do {
      if (!read_line()) return false;
    } while (line_.empty());
    const auto json = nlohmann::json::parse(line_, nullptr, false);
    if (!json.is_object() || !json.contains("layers") || !json["layers"].is_array()) {
      refuse("expected {\"layers\": [[expert ids], ...]}");
    }
    const auto& layers = json["layers"];
    if (header_.n_layers == 0) learn_shape(layers);
    if (layers.size() != static_cast<size_t>(header_.n_layers)) {
      refuse(fmt::format("{} layers, but the first line has {}", layers.size(), header_.n_layers));
    }
    step = {.decode = true, .n_rows = 1, .runs = {{0, 1}}, .layers = std::move(step.layers)};
    step.layers.resize(layers.size());
    for (size_t i = 0; i < layers.size(); ++i) read_picks(layers[i], step.layers[i]);
    return true;
  }

  void rewind() override {
    buffer_.clear();
    at_ = read_ = n_lines_ = 0;
  }

 private:
  // Into line_, without its end. False after the last one.
  bool read_line() {
    line_.clear();
    ++n_lines_;
    while (true) {
      const size_t end = buffer_.find('\n', at_);
      line_.append(buffer_, at_, std::min(end, buffer_.size()) - at_);
      if (line_.size() > kLongestLine) refuse("it is too long");
      at_ = end == std::string::npos ? buffer_.size() : end + 1;
      if (end != std::string::npos) return true;
      if (read_ == file_->size()) return !line_.empty();
      buffer_.resize(static_cast<size_t>(std::min<uint64_t>(kReadBytes, file_->size() - read_)));
      file_->read(read_, std::as_writable_bytes(std::span(buffer_)));
      read_ += buffer_.size();
      at_ = 0;
    }
  }

  [[noreturn]] void refuse(const std::string& why) const {
    fail(Fault::input, "{}: line {}: not a line of a routing trace: {}", file_->path(), n_lines_, why);
  }

  void learn_shape(const nlohmann::json& layers) {
    if (layers.empty() || layers.size() > kMostLayers || !layers[0].is_array() || layers[0].empty()) {
      refuse("a list of layers, each a list of expert ids, is expected");
    }
    header_.n_layers = static_cast<int>(layers.size());
    header_.n_used = static_cast<int>(layers[0].size());
  }

  void read_picks(const nlohmann::json& picks, TraceLayer& layer) {
    if (!picks.is_array() || picks.size() != static_cast<size_t>(header_.n_used)) {
      refuse(fmt::format("{} picks of each layer are expected", header_.n_used));
    }
    layer.experts.clear();
    for (const auto& pick : picks) {
      if (!pick.is_number_unsigned() || pick.get<uint64_t>() >= static_cast<uint64_t>(kMostExperts)) {
        refuse("an expert id is a whole number below 65536");
      }
      const auto expert = pick.get<int32_t>();
      largest_ = std::max(largest_, expert);
      layer.experts.push_back(expert);
    }
    layer.distinct = layer.experts;
    std::sort(layer.distinct.begin(), layer.distinct.end());
    if (std::adjacent_find(layer.distinct.begin(), layer.distinct.end()) != layer.distinct.end()) {
      refuse("an expert is picked twice");
    }
    layer.n_picks.assign(layer.distinct.size(), 1);
  }

  std::shared_ptr<File> file_;
  std::string line_, buffer_;
  size_t at_ = 0;      // in the buffer
  uint64_t read_ = 0;  // of the file
  uint64_t n_lines_ = 0;
  int32_t largest_ = 0;
};

}  // namespace

std::unique_ptr<TraceReader> open_text_trace(std::shared_ptr<File> file, const OnLookedThrough& on_looked_through) {
  return std::make_unique<TextTrace>(std::move(file), on_looked_through);
}

}  // namespace flashmoe
