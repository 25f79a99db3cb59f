// The token loop allocates nothing after warm-up.
#include <gtest/gtest.h>

#include <iostream>

#include "flashmoe/error.h"
#include "sampling/sampler.h"
#include "support/allocation_count.h"
#include "support/loaded_model.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"
#include "text/text_stream.h"

namespace flashmoe {
namespace {

class AllocationTest : public testing::TestWithParam<bool> {};

TEST_P(AllocationTest, TheTokenLoopAllocatesNothingAfterWarmUp) {
  const bool streamed = GetParam();
  const TempDir dir;
  TinyModelOptions tiny;
  tiny.with_tokenizer = true;
  tiny.format = Format::q8_0;
  const std::string path = write_tiny_model(dir.path(), tiny);
  const auto tokenizer = Tokenizer::load(*Checkpoint::open(path));
  ASSERT_NE(tokenizer, nullptr);
  for (const char* queue : {"pread", "io_uring"}) {
    LoadOptions options;
    options.kernels = best_kernels().name;
    options.exact = false;
    options.n_threads = 2;
    options.streamed = streamed;
    options.queue = [queue] { return std::string(queue) == "pread" ? make_pread_queue(4) : make_uring_queue(16); };
    std::unique_ptr<LoadedModel> model;
    try {
      model = std::make_unique<LoadedModel>(path, options);
    } catch (const Error& error) {
      ASSERT_EQ(error.fault(), Fault::unsupported) << error.what();
      std::cout << "io_uring is not available here: " << error.what() << "\n";
      continue;
    }
    const auto sequence = model->new_sequence();
    SamplingOptions sampling;
    sampling.temperature = 2;
    sampling.top_k = 40;
    sampling.top_p = 0.95F;
    sampling.seed = 5;
    Sampler sampler(sampling, model->config().vocab_size);
    TextStream stream(*tokenizer, {"a stop text that never comes"});
    int32_t id = 1;
    size_t text_bytes = 0;
    const auto token = [&] {
      model->forward().step({&id, 1}, *sequence);
      id = sampler.sample(model->forward().logits(0, 1));
      text_bytes += stream.push(id).size();
    };
    for (int i = 0; i < 100; ++i) token();
    const uint64_t before = allocation_count();
    for (int i = 0; i < 200; ++i) token();
    EXPECT_EQ(allocation_count() - before, 0U) << queue;
    EXPECT_GT(text_bytes, 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Sources, AllocationTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "streamed" : "resident"; });

}  // namespace
}  // namespace flashmoe
