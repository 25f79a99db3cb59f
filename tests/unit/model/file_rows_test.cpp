// Rows that are read from the file when they are wanted are those that memory would have.
#include "model/file_rows.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <iostream>
#include <numeric>
#include <tuple>

#include "engine/bound_model.h"
#include "io/direct_alignment.h"
#include "model/trunk.h"
#include "support/disturbed_read_queue.h"
#include "support/expect_error.h"
#include "support/quantised_folder.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

class FileRowsTest : public testing::Test {
 protected:
  FileRowsTest() {
    for (int i = 0; i < kAllottedCount; ++i) budget_.allot(static_cast<Allotted>(i), uint64_t{1} << 30);
  }

  // Every row once, in no order, and some again.
  static std::vector<int32_t> some_rows(int64_t n) {
    std::vector<int32_t> rows;
    for (int64_t i = 0; i < n + 20; ++i) rows.push_back(static_cast<int32_t>(i * 7 % n));
    return rows;
  }

  void expect_rows_of_memory(const std::string& path) {
    const BoundModel model = bind_model(path);
    const Binder::MatrixRequest* request = model.binder->rows();
    ASSERT_NE(request, nullptr);
    const MatrixView& w = *request->target;
    const std::vector<int32_t> rows = some_rows(w.rows);
    std::vector<std::vector<float>> read;
    const uint32_t direct = probe_direct_alignment(*model.checkpoint->files().front());
    if (direct == 0) std::cout << "without O_DIRECT, which the temporary folder refuses\n";
    for (const uint32_t alignment : {1U, 512U, 4096U}) {
      if (alignment > 1 && (direct == 0 || alignment < direct)) continue;
      const uint64_t before = budget_.used(Allotted::read_buffers);
      FileRows from_file(*request, *model.checkpoint, make_pread_queue(2), alignment, budget_);
      EXPECT_EQ(budget_.used(Allotted::read_buffers) - before, FileRows::bytes(*request, alignment));
      read.emplace_back(rows.size() * static_cast<size_t>(w.cols));
      from_file.read(rows, read.back().data());
    }
    Trunk trunk;
    ThreadPool pool(1);
    const auto queue = make_pread_queue(2);
    trunk.load(*model.binder, *model.checkpoint, {*queue, pool}, budget_, {});
    std::vector<float> expected(rows.size() * static_cast<size_t>(w.cols));
    for (size_t i = 0; i < rows.size(); ++i)
      w.decode(rows[i], 0, w.cols, expected.data() + i * static_cast<size_t>(w.cols));
    for (const std::vector<float>& values : read) EXPECT_EQ(values, expected);
  }

  TempDir dir_;
  Budget budget_;
};

TEST_F(FileRowsTest, AreThoseOfMemory) {
  TinyModelOptions tiny;
  tiny.n_layers = 1;
  tiny.full_attention_interval = 1;
  tiny.with_k_quant_dims();
  for (const Format format : {Format::f32, Format::q8_0, Format::q4_k, Format::q6_k}) {
    const TempDir folder;
    tiny.format = format;
    expect_rows_of_memory(write_tiny_model(folder.path(), tiny));
  }
  tiny.format = Format::bf16;
  tiny.layout = TinyLayout::hf_stacked;
  tiny.n_files = 2;
  expect_rows_of_memory(write_tiny_model(dir_.path(), tiny));
}

TEST_F(FileRowsTest, HaveTheirScalesWhereTheseAreApart) {
  TinyModelOptions tiny;
  tiny.n_layers = 1;
  tiny.full_attention_interval = 1;
  tiny.layout = TinyLayout::hf_stacked;
  tiny.with_k_quant_dims();
  write_tiny_model(dir_.path(), tiny);
  const FolderQuantisation quantisations[] = {{Format::affine3, {ScaleType::bf16, 1, 64, 0}},
                                              {Format::affine8, {ScaleType::f16, 1, 128, 0}},
                                              {Format::mxfp4_split, {ScaleType::e8m0, 1, 32, 0}},
                                              {Format::fp8_e4m3, {ScaleType::f32, 128, 128, 0}}};
  for (const FolderQuantisation& how : quantisations) {
    const TempDir quantised, plain;
    write_quantised(dir_.path(), how, quantised.path(), plain.path());
    expect_rows_of_memory(quantised.path());
  }
}

TEST_F(FileRowsTest, AnEmbeddingThatIsTheOutputMatrixTooStaysInMemory) {
  TinyModelOptions tiny;
  tiny.tie_embeddings = true;
  const BoundModel model = bind_model(write_tiny_model(dir_.path(), tiny));
  EXPECT_EQ(model.binder->rows(), nullptr);
  EXPECT_EQ(Trunk::bytes(*model.binder, RowsOf::file), Trunk::bytes(*model.binder, RowsOf::memory));
}

TEST_F(FileRowsTest, AReadThatFailsIsToldAndTheNextOneWorks) {
  const BoundModel model = bind_model(write_tiny_model(dir_.path(), {}));
  const Binder::MatrixRequest& request = *model.binder->rows();
  for (const auto& [error, text, mend] :
       {std::tuple(EIO, "Input/output error", "check the disk"),
        std::tuple(ENODATA, "the file ends before", "restore it and start again"),
        std::tuple(ESTALE, "was written to or replaced", "restore it and start again")}) {
    auto queue = std::make_unique<DisturbedReadQueue>(3);
    int n_failures = 1;
    queue->set_errors([&, error = error](const ReadDone&) { return n_failures-- > 0 ? error : 0; });
    FileRows rows(request, *model.checkpoint, std::move(queue), 1, budget_);
    std::vector<int32_t> all(static_cast<size_t>(request.target->rows));
    std::iota(all.begin(), all.end(), 0);
    std::vector<float> values(all.size() * static_cast<size_t>(request.target->cols));
    expect_error(
        [&] { rows.read(all, values.data()); }, Fault::io,
        {model.checkpoint->files().front()->path().c_str(), request.tensor->name.c_str(), "offset", text, mend});
    rows.read(all, values.data());
    EXPECT_NE(values.back(), 0);
  }
}

}  // namespace
}  // namespace flashmoe
