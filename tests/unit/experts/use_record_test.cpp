#include "experts/use_record.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "support/temp_dir.h"

namespace flashmoe {
namespace {

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

class UseRecord : public testing::Test {
 protected:
  TempDir dir_;
  std::string path_ = dir_.path() + "/sub/model.use";
  UseRates use_{100, {0.5F, 0, 1, 0.25F, 0.125F, 1}};
  std::string note_;
};

TEST_F(UseRecord, GivesBackWhatWasSaved) {
  EXPECT_TRUE(load_use_rates(path_, 2, 3, note_).rates.empty());
  ASSERT_TRUE(save_use_rates(path_, use_));
  const UseRates found = load_use_rates(path_, 2, 3, note_);
  EXPECT_EQ(found.rates, use_.rates);
  EXPECT_EQ(found.n_tokens, 100);
  EXPECT_EQ(note_, "");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_.path() + "/sub"), {}), 1);
}

TEST_F(UseRecord, EveryDamagedByteIsNoticed) {
  ASSERT_TRUE(save_use_rates(path_, use_));
  const std::string whole = read(path_);
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    write(path_, damaged);
    note_.clear();
    EXPECT_TRUE(load_use_rates(path_, 2, 3, note_).rates.empty()) << "byte " << i;
    EXPECT_NE(note_.find(path_), std::string::npos);
  }
  for (const size_t n : {size_t{0}, size_t{7}, whole.size() - 1}) {
    write(path_, whole.substr(0, n));
    EXPECT_TRUE(load_use_rates(path_, 2, 3, note_).rates.empty()) << n << " bytes";
  }
}

TEST_F(UseRecord, AnotherModelsRecordIsOfNoUse) {
  ASSERT_TRUE(save_use_rates(path_, use_));
  EXPECT_TRUE(load_use_rates(path_, 2, 4, note_).rates.empty());
  EXPECT_NE(note_, "");
}

TEST_F(UseRecord, RatesThatCannotBeAreNotBelieved) {
  for (const float bad : {-0.1F, 1.5F, std::numeric_limits<float>::quiet_NaN()}) {
    use_.rates[2] = bad;
    ASSERT_TRUE(save_use_rates(path_, use_));
    EXPECT_TRUE(load_use_rates(path_, 2, 3, note_).rates.empty()) << bad;
  }
}

TEST_F(UseRecord, AFolderInItsPlaceIsDamageToo) {
  std::filesystem::create_directories(path_);
  EXPECT_TRUE(load_use_rates(path_, 2, 3, note_).rates.empty());
  EXPECT_NE(note_.find(path_), std::string::npos);
}

TEST_F(UseRecord, AFolderThatCannotBeMadeIsNoError) {
  write(dir_.path() + "/sub", "a file");
  EXPECT_FALSE(save_use_rates(path_, use_));
}

TEST_F(UseRecord, RunsAreWeightedByTheirTokens) {
  const UseRates run{300, {0, 0, 1, 1, 0.125F, 1}};
  const UseRates both = joined(use_, run);
  EXPECT_EQ(both.n_tokens, 400);
  EXPECT_FLOAT_EQ(both.rates[0], 0.125F);
  EXPECT_FLOAT_EQ(both.rates[3], 0.8125F);
  EXPECT_EQ(joined({}, run).rates, run.rates);
  EXPECT_EQ(joined(use_, {0, {0, 0, 0, 0, 0, 0}}).rates, use_.rates);
  const UseRates with_prompts{300, run.rates, {300, 0}};
  EXPECT_EQ(joined(use_, with_prompts).rates[3], use_.rates[3]) << "nothing was picked there";
  EXPECT_FLOAT_EQ(joined(use_, {300, run.rates, {300, 100}}).rates[3], 0.625F);
  EXPECT_FLOAT_EQ(joined(use_, with_prompts).rates[0], 0.125F);
  const UseRates long_ago{1e9, use_.rates};
  EXPECT_NEAR(joined(long_ago, {kRememberedTokens, run.rates}).rates[0], 0.25F, 1e-6F);
}

TEST(UseCount, CountsRows) {
  ExpertTable table;
  table.n_layers = 2;
  table.n_experts = 4;
  table.n_used = 2;
  table.records.resize(8);
  UseCount count(table);
  EXPECT_EQ(count.rates().n_tokens, 0);
  const std::vector<int32_t> both = {1, 3}, begins = {0, 2, 6};
  count.note(0, Picks(both));
  count.note(1, Picks(both));
  count.note(0, {both, begins, 3});
  EXPECT_EQ(count.rates().n_tokens, 4);
  EXPECT_EQ(count.rates().rates, (std::vector<float>{0, 0.75F, 0, 1, 0, 0.25F, 0, 0.25F}));
  // Three of the tokens ended before layer 1: who picked there is all there was.
  count.note_ended(1, 3);
  EXPECT_EQ(count.rates().n_tokens, 4);
  EXPECT_EQ(count.rates().n_of_layer, (std::vector<double>{4, 1}));
  EXPECT_EQ(count.rates().rates, (std::vector<float>{0, 0.75F, 0, 1, 0, 1, 0, 1}));
}

}  // namespace
}  // namespace flashmoe
