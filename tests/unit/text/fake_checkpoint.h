// A checkpoint that is metadata and small files only.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace flashmoe {

class FakeCheckpoint final : public Checkpoint {
 public:
  explicit FakeCheckpoint(Dialect dialect) : dialect_(dialect) {}

  Dialect dialect() const override { return dialect_; }
  const std::string& path() const override { return path_; }
  std::string container() const override { return "fake"; }
  const std::vector<std::shared_ptr<File>>& files() const override { return files_; }
  const std::map<std::string, TensorInfo, std::less<>>& tensors() const override { return tensors_; }
  const std::vector<UnsupportedTensor>& unsupported_tensors() const override { return unsupported_; }
  const std::map<std::string, MetaValue, std::less<>>& metadata() const override { return meta; }
  const nlohmann::json& config() const override { return config_json; }
  std::optional<std::string> side_file(std::string_view name) const override {
    const auto found = side_files.find(name);
    if (found == side_files.end()) return std::nullopt;
    return found->second;
  }

  std::map<std::string, MetaValue, std::less<>> meta;
  std::map<std::string, std::string, std::less<>> side_files;
  nlohmann::json config_json;

 private:
  Dialect dialect_;
  std::string path_ = "model";
  std::vector<std::shared_ptr<File>> files_;
  std::map<std::string, TensorInfo, std::less<>> tensors_;
  std::vector<UnsupportedTensor> unsupported_;
};

// A 256-token tokenizer.json whose token i is byte i, with an empty list of merges and no added tokens.
nlohmann::json byte_tokenizer();

}  // namespace flashmoe
