// What enters every matrix of a model, summed up by column while text runs through it.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "flashmoe/engine.h"
#include "model/family.h"

namespace flashmoe {

class Calibration final : public Observer {
 public:
  // All outlive it. The binder's targets are loaded, and activations are f32.
  Calibration(const Binder& binder, const Family& family);

  void hidden(int index, std::span<const float> x) override;
  void multiplied(const MatrixView& w, const Activations& x) override;
  void expert_read(int layer, int expert, const ActivationBuffer& x, std::span<const int32_t> rows,
                   const Activations& act) override;

  std::vector<ColumnImportance> result() const;

 private:
  struct Sums {
    int64_t cols = 0;
    std::vector<double> squares;  // [n, cols]: n experts, or 1
    std::vector<int64_t> counts;  // [n] rows
  };
  static Sums empty_sums(int64_t n, int64_t cols);
  static void add(Sums& sums, int64_t index, const float* x, int64_t rows);

  const ModelConfig& config_;
  std::map<std::string, Sums> sums_;
  std::unordered_map<const std::byte*, Sums*> by_data_;  // of the trunk's matrices
  Sums* head_ = nullptr;
  std::vector<std::pair<Sums*, Sums*>> experts_;  // [n_layers] of gate and up, and of down
};

}  // namespace flashmoe
