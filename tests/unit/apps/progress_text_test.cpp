#include "progress_text.h"

#include <gtest/gtest.h>

namespace flashmoe {
namespace {

using Unit = Progress::Unit;

TEST(ProgressText, HasUnitsOfWhatIsCounted) {
  EXPECT_EQ(progress_text({"loading", Unit::bytes, 1'200'000'000, 3'400'000'000, 0.4}, 1.9e9),
            "loading  1.20 GB of 3.40 GB  1.90 GB/s");
  EXPECT_EQ(progress_text({"reading prompt", Unit::tokens, 128, 1512, 0.4}, 105),
            "reading prompt  128 of 1,512 tokens  105 tok/s");
  EXPECT_EQ(progress_text({"simulating", Unit::steps, 64, 200, 0.4}, 2.5), "simulating  64 of 200 steps  2.5 steps/s");
  EXPECT_EQ(progress_text({"measuring the machine"}, 0), "measuring the machine");
}

TEST(ProgressText, TellsNoRateBeforeItIsKnown) {
  EXPECT_EQ(progress_text({"opening", Unit::bytes, 2'000'000, 4'350'000, 0.1}, 0), "opening  2.00 MB of 4.35 MB");
  EXPECT_EQ(progress_text({"reading the trace", Unit::steps, 1, 199, 0.1}, 0), "reading the trace  1 of 199 steps");
}

TEST(ProgressText, TellsTheTimeLeftOnceItMeansSomething) {
  EXPECT_EQ(progress_text({"decoding", Unit::tokens, 10, 200, 1}, 10),
            "decoding  10 of 200 tokens  10 tok/s  19 s left");
  EXPECT_EQ(progress_text({"packing", Unit::bytes, 1'000'000, 100'000'000, 5}, 100'000),
            "packing  1.00 MB of 100 MB  100 KB/s  17 min left");
  EXPECT_EQ(progress_text({"decoding", Unit::tokens, 200, 200, 20}, 10), "decoding  200 of 200 tokens  10 tok/s");
}

}  // namespace
}  // namespace flashmoe
