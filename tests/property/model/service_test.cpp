// A prompt that begins like one that was read before gives the same tokens and the same logits as on its own.
#include "flashmoe/service.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "support/random.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

struct Result {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;  // of the sampled and the likeliest
  int64_t cached_tokens = 0;
};

class ServiceProperty : public testing::TestWithParam<TinyFamily> {
 protected:
  void SetUp() override {
    TinyModelOptions tiny;
    tiny.family = GetParam();
    tiny.with_tokenizer = true;
    if (tiny.family == TinyFamily::qwen3_moe) tiny.d_rotary = tiny.d_head;
    model_ = write_tiny_model(dir_.path(), tiny);
  }
  std::unique_ptr<Service> start(int n_parallel, const std::string& sessions = {}, KvChoice kv = KvChoice::automatic) {
    EngineOptions engine;
    engine.model_path = model_;
    engine.n_threads = 2;
    engine.context_tokens = 512;
    engine.learn = false;
    engine.kv = kv;
    ServiceOptions options;
    options.n_parallel = n_parallel;
    options.sessions_folder = sessions;
    return Service::start(Engine::open(engine), options);
  }
  static std::unique_ptr<Answer> submit(Service& service, const std::vector<int32_t>& ids) {
    Request request;
    request.ids = ids;
    request.generate.max_tokens = 6;
    request.n_logprobs = 5;
    return service.submit(request);
  }
  static Result read(Answer& answer) {
    Result result;
    while (const auto event = answer.next(std::chrono::minutes(1))) {
      for (const SampledToken& sampled : event->tokens) {
        result.ids.push_back(sampled.token.id);
        result.logprobs.push_back(sampled.token.logprob);
        for (const TokenLogprob& other : sampled.likeliest) result.logprobs.push_back(other.logprob);
      }
      result.cached_tokens = event->usage.cached_tokens;
    }
    return result;
  }
  // Ids with a mark that ends a turn here and there.
  static std::vector<int32_t> prompt_of(size_t n, uint64_t seed) {
    constexpr int kEndOfTurn = 313;
    std::vector<int32_t> ids;
    Random random(seed);
    for (size_t i = 0; i < n; ++i) ids.push_back(i % 37 == 36 ? kEndOfTurn : static_cast<int32_t>(random.below(300)));
    return ids;
  }
  TempDir dir_;
  std::string model_;
};

TEST_P(ServiceProperty, ExtendedForkedAndEditedPromptsGiveTheSameBits) {
  // Conversations that share beginnings: each extends an earlier one cut at some place, end-of-turn marks among them.
  constexpr int kEndOfTurn = 313;
  std::vector<std::vector<int32_t>> prompts;
  uint64_t random = 7;
  const auto below = [&](size_t n) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>((random >> 33) % n);
  };
  for (int i = 0; i < 14; ++i) {
    std::vector<int32_t> ids;
    if (i > 0) {
      const auto& from = prompts[below(prompts.size())];
      ids.assign(from.begin(), from.begin() + static_cast<int64_t>(below(2) == 0 ? from.size() : below(from.size())));
    }
    const size_t n = std::min<size_t>(40 + below(120), 480 - ids.size());
    for (size_t j = 0; j < n; ++j) ids.push_back(j % 37 == 36 ? kEndOfTurn : static_cast<int32_t>(below(300)));
    prompts.push_back(std::move(ids));
  }
  const auto remembering = start(3);
  std::vector<std::unique_ptr<Answer>> answers;
  std::vector<Result> results;
  for (size_t i = 0; i < prompts.size(); ++i) {
    answers.push_back(submit(*remembering, prompts[i]));
    if (i % 2 == 1) results.push_back(read(*answers[i - 1])), results.push_back(read(*answers[i]));
  }
  int64_t cached = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const Result fresh = read(*submit(*start(1), prompts[i]));
    EXPECT_EQ(fresh.cached_tokens, 0);
    EXPECT_EQ(results[i].ids, fresh.ids) << i;
    EXPECT_EQ(results[i].logprobs, fresh.logprobs) << i << ", " << results[i].cached_tokens << " from before";
    cached += results[i].cached_tokens;
  }
  EXPECT_GT(cached, 300);
}

// Cut, forked and extended after a restart, also when some files are damaged, gone or of no use.
TEST_P(ServiceProperty, ARestartedServiceGoesOnWithTheSameBits) {
  const std::string folder = dir_ / "sessions";
  std::vector<std::vector<int32_t>> prompts = {prompt_of(300, 1)};
  prompts.push_back({prompts[0].begin(), prompts[0].begin() + 200});
  const auto more = prompt_of(90, 2);
  for (const size_t i : {0, 1}) {
    prompts.push_back(std::vector<int32_t>(prompts[i]));
    prompts.back().insert(prompts.back().end(), more.begin(), more.end());
  }
  std::vector<Result> fresh;
  for (const auto& prompt : prompts) fresh.push_back(read(*submit(*start(1), prompt)));
  read(*submit(*start(1, folder), prompts[0]));
  const auto files = [&] {
    std::vector<std::string> all;
    for (const auto& file : std::filesystem::directory_iterator(folder)) all.push_back(file.path().string());
    std::sort(all.begin(), all.end());
    return all;
  };
  ASSERT_GE(files().size(), 4U);
  const auto expect_the_same = [&](const char* what) {
    const auto service = start(2, folder);
    int64_t cached = 0;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const Result result = read(*submit(*service, prompts[i]));
      EXPECT_EQ(result.ids, fresh[i].ids) << what << i;
      EXPECT_EQ(result.logprobs, fresh[i].logprobs) << what << i << ", " << result.cached_tokens << " from before";
      if (i == 0) cached = result.cached_tokens;
    }
    return std::pair(cached, service->take_notes().size());
  };
  const auto [cached, n_notes] = expect_the_same("whole");
  EXPECT_EQ(cached, 296);  // behind the last mark that leaves some to be read
  EXPECT_EQ(n_notes, 0U);
  Random random(3);
  for (int i = 0; i < 6; ++i) {
    const auto all = files();
    std::string bytes = read_bytes(all[random.below(all.size())]);
    const std::string victim = all[random.below(all.size())];
    if (i % 3 == 0) bytes = read_bytes(victim).substr(0, random.below(read_bytes(victim).size()));
    if (i % 3 == 1) bytes[random.below(bytes.size())] ^= 4;
    write_bytes(victim, bytes);  // cut short, changed, or another file's
    expect_the_same("damaged ");
  }
  // What was computed in another way is none of its own.
  EXPECT_EQ(read(*submit(*start(1, folder, KvChoice::f32), prompts[0])).cached_tokens, 0);
}

INSTANTIATE_TEST_SUITE_P(Families, ServiceProperty,
                         testing::Values(TinyFamily::qwen3_5_moe, TinyFamily::qwen3_next, TinyFamily::qwen3_moe));

}  // namespace
}  // namespace flashmoe
