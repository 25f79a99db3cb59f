// A disk that fails in the middle of a run: a clear error, and nothing wrong afterwards.
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

#include "flashmoe/error.h"
#include "support/disturbed_read_queue.h"
#include "support/loaded_model.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

TEST(ForwardFaultTest, AFailedReadIsReportedAndTheModelGoesOnWhenTheDiskRecovers) {
  const TempDir dir;
  const std::string path = write_tiny_model(dir.path(), {});
  bool broken = false;
  LoadOptions options;
  options.streamed = true;
  options.queue = [&]() -> std::unique_ptr<ReadQueue> {
    auto queue = std::make_unique<DisturbedReadQueue>(7);
    queue->set_errors([&](const ReadDone&) { return broken ? EIO : 0; });
    return queue;
  };
  LoadedModel model(path, options);
  const std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7, 8};
  const auto right = model.logits(ids, 1);
  broken = true;
  for (int attempt = 0; attempt < 3; ++attempt) {
    try {
      model.logits(std::vector<int32_t>{200, 100, 50, 25, 12, 6}, 6);
      FAIL() << "the failed read went unnoticed";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.fault(), Fault::io);
      EXPECT_NE(message.find("layer"), std::string::npos) << message;
      EXPECT_NE(message.find(path), std::string::npos) << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
  }
  broken = false;
  EXPECT_EQ(model.logits(ids, 1), right);
}

}  // namespace
}  // namespace flashmoe
