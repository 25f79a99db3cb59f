#include "engine/memory_planner.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "engine/bound_model.h"
#include "flashmoe/error.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

// A 35B-A3B-like model: 18 GB of experts beside 1.5 GB of trunk.
class MemoryPlannerTest : public testing::Test {
 protected:
  MemoryPlannerTest() {
    config_.n_layers = 40;
    for (int i = 0; i < 40; ++i) config_.layer_is_attention.push_back(i % 4 == 3);
    config_.d_model = 2048;
    config_.vocab_size = 248320;
    config_.context_tokens = 262144;
    config_.attention = {16, 2, 256, 64, 1e7};
    config_.delta_net = {16, 32, 128, 128, HeadOrder::tiled};
    config_.n_experts = 256;
    config_.n_experts_used = 8;
    config_.d_ff_expert = config_.d_ff_shared = 512;
    experts_.n_layers = 40;
    experts_.n_experts = 256;
    experts_.n_used = 8;
    uint64_t offset = 0;
    for (int i = 0; i < 40 * 256; ++i) {
      ExpertRecord record = {expert_matrix(512, 2048, Format::q4_k), expert_matrix(512, 2048, Format::q4_k),
                             expert_matrix(2048, 512, Format::q4_k)};
      for (ExpertMatrix* matrix : {&record.gate, &record.up, &record.down}) {
        matrix->parts[0].offset = offset;
        offset += matrix->bytes();
      }
      experts_.records.push_back(record);
    }
  }

  Placement plan(uint64_t available_bytes) {
    return plan_memory({config_,
                        experts_,
                        1500 * kMiB,
                        100 * kMiB,
                        4096,
                        prompt_tokens_,
                        answer_tokens_,
                        options_,
                        {available_bytes, "a test", mappable_bytes_},
                        1,
                        n_answers_,
                        embedding_});
  }
  uint64_t given(const Placement& placement, const std::string& name) {
    for (const Allotment& a : placement.plan.allotments) {
      if (a.name == name) return a.bytes;
    }
    ADD_FAILURE() << name;
    return 0;
  }

  ModelConfig config_;
  ExpertTable experts_;
  EngineOptions options_;
  int64_t prompt_tokens_ = 100, answer_tokens_ = 1024;
  int n_answers_ = 0;
  uint64_t mappable_bytes_ = ~uint64_t{0};
  LeftInFile embedding_;  // in memory, unless a test sets it
};

TEST_F(MemoryPlannerTest, NeverPlansMoreThanTheLimit) {
  for (uint64_t gib = 3; gib <= 64; ++gib) {
    const Placement p = plan(gib * kGiB);
    EXPECT_LE(p.plan.budget_bytes(), p.plan.limit_bytes) << gib;
    EXPECT_LE(p.plan.limit_bytes, gib * kGiB);
    EXPECT_EQ(p.plan.experts_resident, gib >= 20) << gib;
  }
}

TEST_F(MemoryPlannerTest, GivesTheExpertsWhatIsLeft) {
  options_.ram_bytes = 8 * kGiB;
  const Placement p = plan(24 * kGiB);
  EXPECT_FALSE(p.plan.experts_resident);
  EXPECT_EQ(p.plan.limit_source, "--ram");
  EXPECT_GE(given(p, "expert_cache"), 5 * kGiB);
  EXPECT_EQ(p.plan.budget_bytes(), 8 * kGiB);
}

TEST_F(MemoryPlannerTest, LendsStreamedExpertsWhatASequenceWillNeed) {
  options_.ram_bytes = 8 * kGiB;
  const Placement p = plan(24 * kGiB);
  const uint64_t lenders = given(p, "kv_cache") + given(p, "delta_state") + given(p, "workspace");
  EXPECT_EQ(p.lendable_bytes, lenders - 8 * kGiB / 64);
  EXPECT_LT(p.plan.lent_bytes, p.lendable_bytes - given(p, "delta_state")) << "the state is there from the first token";
  EXPECT_GT(p.plan.lent_bytes, 0U);
  const double own = static_cast<double>(given(p, "expert_cache")) / static_cast<double>(experts_.bytes());
  EXPECT_GT(p.plan.cached_share(0), own);
  EXPECT_GT(p.plan.cached_share(0), p.plan.cached_share(1000));
  EXPECT_DOUBLE_EQ(p.plan.cached_share(1000000), own) << "a long sequence takes all of it back";

  Budget budget;
  apply(p, budget);
  EXPECT_EQ(budget.expert_cache_most(), given(p, "expert_cache") + p.lendable_bytes);
  options_.ram_bytes = 0;
  EXPECT_EQ(plan(64 * kGiB).lendable_bytes, 0U) << "all are in memory";
}

TEST_F(MemoryPlannerTest, LendsNoMoreThanMayBeMapped) {
  options_.ram_bytes = 8 * kGiB;
  mappable_bytes_ = 8 * kGiB + 10 * kMiB;
  EXPECT_EQ(plan(24 * kGiB).lendable_bytes, 10 * kMiB);
  mappable_bytes_ = 8 * kGiB;
  EXPECT_EQ(plan(24 * kGiB).lendable_bytes, 0U);
  EXPECT_EQ(plan(24 * kGiB).plan.lent_bytes, 0U);
}

TEST_F(MemoryPlannerTest, AServiceLendsWhatItsAnswersAndConversationsWillNeed) {
  options_.ram_bytes = 8 * kGiB;
  options_.context_tokens = 8192;
  const Placement alone = plan(24 * kGiB);
  n_answers_ = 4;
  const Placement p = plan(24 * kGiB);
  EXPECT_GE(p.lendable_bytes, alone.lendable_bytes + 3 * given(alone, "kv_cache") + given(p, "sessions"));
}

TEST_F(MemoryPlannerTest, TheEmbeddingStaysInItsFileWhereExpertsAreStreamed) {
  const auto floor_with_all = plan(8 * kGiB).plan.floor_bytes;
  const auto cache_with_all = given(plan(8 * kGiB), "expert_cache");
  embedding_ = {300 * kMiB, kMiB};
  const Placement streamed = plan(8 * kGiB);
  EXPECT_EQ(streamed.plan.left_in_file_bytes, 300 * kMiB);
  EXPECT_EQ(given(streamed, "trunk"), 1200 * kMiB);
  EXPECT_EQ(given(streamed, "read_buffers"), 2 * kMiB);
  EXPECT_EQ(given(streamed, "expert_cache"), cache_with_all + 299 * kMiB);
  EXPECT_EQ(streamed.plan.floor_bytes, floor_with_all - 299 * kMiB);
  const Placement resident = plan(24 * kGiB);
  EXPECT_TRUE(resident.plan.experts_resident);
  EXPECT_EQ(resident.plan.left_in_file_bytes, 0U);
  EXPECT_EQ(given(resident, "trunk"), 1500 * kMiB);
  EXPECT_EQ(given(resident, "read_buffers"), kMiB);
}

TEST(LeftInFileTest, IsTheEmbeddingIfThatSavesMoreThanItTakes) {
  const BoundModel spark = bind_model(FLASHMOE_SOURCE_DIR "/models/spark/spark.gguf");
  const LeftInFile left = left_in_file(*spark.binder, 512);
  EXPECT_GE(left.trunk_bytes, static_cast<uint64_t>(spark.family->embedding().bytes()));
  EXPECT_LT(left.read_buffer_bytes, left.trunk_bytes);
  const TempDir dir;
  const BoundModel tiny = bind_model(write_tiny_model(dir.path(), {}));
  EXPECT_EQ(left_in_file(*tiny.binder, 512).trunk_bytes, 0U);
}

TEST_F(MemoryPlannerTest, TheEmbeddingStaysInItsFileWhereAllExpertsFitWithoutIt) {
  uint64_t least = 24 * kGiB;
  while (plan(least).plan.experts_resident) least -= 32 * kMiB;
  embedding_ = {300 * kMiB, kMiB};
  const Placement p = plan(least);
  EXPECT_TRUE(p.plan.experts_resident);
  EXPECT_EQ(p.plan.left_in_file_bytes, 300 * kMiB);
  EXPECT_LE(p.prefill_chunk, 1024);
  EXPECT_LE(p.plan.budget_bytes(), p.plan.limit_bytes);
}

TEST_F(MemoryPlannerTest, RefusesBelowTheFloorWithATable) {
  options_.ram_bytes = 1 * kGiB;
  try {
    plan(24 * kGiB);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::memory_floor);
    const std::string text = error.what();
    for (const char* row :
         {"trunk", "kv_cache", "delta_state", "workspace", "expert_cache", "total", "limit", "--ram"}) {
      EXPECT_NE(text.find(row), std::string::npos) << row;
    }
  }
}

TEST_F(MemoryPlannerTest, TheFloorItNamesIsEnough) {
  options_.ram_bytes = 1 * kGiB;
  uint64_t floor_bytes = 0;
  for (int round = 0; round < 8; ++round) {  // page tables are planned as a share of the limit
    try {
      plan(24 * kGiB);
      break;
    } catch (const Error& error) {
      const std::string text = error.what();
      const size_t total = text.find("total");
      const double gigabytes = std::stod(text.substr(text.find("GB", total) + 2));
      floor_bytes = static_cast<uint64_t>(gigabytes * 1.01e9);
      ASSERT_GT(floor_bytes, options_.ram_bytes);
      options_.ram_bytes = floor_bytes;
    }
  }
  const Placement p = plan(24 * kGiB);
  EXPECT_LE(p.plan.floor_bytes, options_.ram_bytes);
}

TEST_F(MemoryPlannerTest, RefusesMoreThanThereIs) {
  options_.ram_bytes = 48 * kGiB;
  try {
    plan(24 * kGiB);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::usage);
  }
}

TEST_F(MemoryPlannerTest, RefusesResidentExpertsThatDoNotFit) {
  options_.experts = ExpertsChoice::resident;
  options_.ram_bytes = 8 * kGiB;
  EXPECT_THROW(plan(24 * kGiB), Error);
  options_.experts = ExpertsChoice::streamed;
  EXPECT_FALSE(plan(64 * kGiB).plan.experts_resident);
}

TEST_F(MemoryPlannerTest, HonoursContextAndChunk) {
  options_.context_tokens = 100000;
  options_.prefill_chunk = 100;
  const Placement p = plan(16 * kGiB);
  EXPECT_EQ(p.context_tokens, 100000);
  EXPECT_EQ(p.prefill_chunk, 128);
  EXPECT_GE(given(p, "kv_cache"), KvCache::bytes(config_, KvFormat::q8, 100000));
  options_.context_tokens = 300000;
  EXPECT_THROW(plan(16 * kGiB), Error);
}

TEST_F(MemoryPlannerTest, ChunksGrowWithMemoryUpToTheContext) {
  int64_t before = 0;
  for (const uint64_t gib : {3, 4, 8, 16}) {
    const Placement p = plan(gib * kGiB);
    EXPECT_LE(given(p, "workspace"), p.plan.limit_bytes / 32) << gib;
    EXPECT_GE(p.prefill_chunk, before) << gib;
    before = p.prefill_chunk;
  }
  EXPECT_EQ(plan(8 * kGiB).prefill_chunk, 2048);
  options_.context_tokens = 1000;
  EXPECT_EQ(plan(16 * kGiB).prefill_chunk, 1024);  // the context is rounded up
}

TEST_F(MemoryPlannerTest, ALongContextThatNobodyAskedForDoesNotKeepExpertsOutOfMemory) {
  const Placement roomy = plan(24 * kGiB);
  ASSERT_TRUE(roomy.plan.experts_resident);
  ASSERT_EQ(roomy.context_tokens, 16384);
  options_.ram_bytes = roomy.plan.budget_bytes() - 32 * kMiB;
  const Placement tight = plan(24 * kGiB);
  EXPECT_TRUE(tight.plan.experts_resident);
  EXPECT_EQ(tight.context_tokens, 8192);
  EXPECT_EQ(tight.prefill_chunk, 1024);
  prompt_tokens_ = 12000;
  EXPECT_EQ(plan(24 * kGiB).context_tokens, 13024) << "no shorter than what was asked for";
  options_.context_tokens = 16384;
  EXPECT_EQ(plan(24 * kGiB).context_tokens, 16384);
}

TEST_F(MemoryPlannerTest, ALongChunkDoesNotKeepExpertsOutOfMemory) {
  options_.context_tokens = 8192;
  const Placement roomy = plan(24 * kGiB);
  ASSERT_EQ(roomy.prefill_chunk, 1024);
  options_.ram_bytes = roomy.plan.budget_bytes() - 32 * kMiB;
  const Placement tight = plan(24 * kGiB);
  EXPECT_TRUE(tight.plan.experts_resident);
  EXPECT_EQ(tight.prefill_chunk, 512);
  options_.ram_bytes = tight.plan.budget_bytes() - 32 * kMiB;
  const Placement streamed = plan(24 * kGiB);
  EXPECT_FALSE(streamed.plan.experts_resident);
  EXPECT_EQ(streamed.prefill_chunk, 4096);
}

TEST_F(MemoryPlannerTest, AnAutomaticContextHoldsThePrompt) {
  EXPECT_EQ(plan(16 * kGiB).context_tokens, 16384);
  prompt_tokens_ = 50000;
  EXPECT_EQ(plan(16 * kGiB).context_tokens, 51024);
  prompt_tokens_ = 262143;
  EXPECT_EQ(plan(16 * kGiB).context_tokens, 262144);
}

TEST_F(MemoryPlannerTest, ThePromptLeavesRoomForAnAnswerIfThereIsToBeOne) {
  for (const int context_tokens : {0, 4096}) {
    options_.context_tokens = context_tokens;
    prompt_tokens_ = context_tokens == 0 ? 262144 : context_tokens;
    const Fault fault = context_tokens == 0 ? Fault::input : Fault::usage;
    expect_error([&] { plan(16 * kGiB); }, fault, {"an answer needs one more", std::to_string(prompt_tokens_)});
    answer_tokens_ = 0;
    EXPECT_EQ(plan(16 * kGiB).context_tokens, prompt_tokens_);
    ++prompt_tokens_;
    expect_error([&] { plan(16 * kGiB); }, fault,
                 {"the prompt has " + std::to_string(prompt_tokens_) + " tokens, but"});
    answer_tokens_ = 1024;
  }
}

TEST_F(MemoryPlannerTest, TheFloorHoldsThePromptAndATokenOfTheAnswer) {
  prompt_tokens_ = 50000;
  const auto context_with = [this](uint64_t ram_bytes) -> int64_t {  // 0: the floor is higher
    options_.ram_bytes = ram_bytes;
    try {
      return plan(24 * kGiB).context_tokens;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::memory_floor);
      return 0;
    }
  };
  uint64_t too_little = 2 * kGiB, enough = 24 * kGiB;
  ASSERT_EQ(context_with(too_little), 0);
  while (enough - too_little > kMiB) {
    const uint64_t between = too_little + (enough - too_little) / 2;
    (context_with(between) == 0 ? too_little : enough) = between;
  }
  EXPECT_EQ(context_with(enough), 50001);
}

TEST_F(MemoryPlannerTest, KeysAndValuesOfALongContextAreInt8WhereHeadsAllowIt) {
  options_.context_tokens = 16384;
  EXPECT_EQ(plan(16 * kGiB).kv_format, KvFormat::f16);
  options_.context_tokens = 16385;
  const Placement p = plan(16 * kGiB);
  EXPECT_EQ(p.kv_format, KvFormat::q8);
  EXPECT_EQ(p.plan.kv_bytes_per_token, KvCache::bytes_per_token(config_, KvFormat::q8));
  options_.context_tokens = 0;
  prompt_tokens_ = 30000;
  EXPECT_EQ(plan(16 * kGiB).kv_format, KvFormat::q8);
  EXPECT_EQ(plan(8 * kGiB).kv_format, KvFormat::q8);
  options_.kv = KvChoice::f16;
  EXPECT_EQ(plan(16 * kGiB).kv_format, KvFormat::f16);
  options_.kv = KvChoice::automatic;
  config_.attention.d_head = 40;
  EXPECT_EQ(plan(16 * kGiB).kv_format, KvFormat::f16);
}

TEST_F(MemoryPlannerTest, ExactModeKeepsKeysAndValuesInF32) {
  options_.exact = true;
  EXPECT_EQ(plan(16 * kGiB).kv_format, KvFormat::f32);
  options_.kv = KvChoice::f16;
  EXPECT_EQ(plan(16 * kGiB).kv_format, KvFormat::f16);
}

TEST_F(MemoryPlannerTest, Int8KeysAndValuesTakeLessAndNeedHeadsOfWholeBlocks) {
  options_.kv = KvChoice::f16;
  options_.context_tokens = 8192;
  const uint64_t f16 = given(plan(16 * kGiB), "kv_cache");
  options_.kv = KvChoice::q8;
  const Placement q8 = plan(16 * kGiB);
  EXPECT_EQ(q8.kv_format, KvFormat::q8);
  EXPECT_LT(given(q8, "kv_cache"), f16);
  config_.attention.d_head = 40;
  try {
    plan(16 * kGiB);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::usage);
  }
}

}  // namespace
}  // namespace flashmoe
