// What must hold for any model: the answer does not depend on where experts come from, in which order they arrive, how
// many threads compute, or how a prompt is cut into chunks.
#include <gtest/gtest.h>

#include "engine/bound_model.h"
#include "engine/session_store.h"
#include "experts/streamed.h"
#include "flashmoe/error.h"
#include "support/disturbed_read_queue.h"
#include "support/golden.h"
#include "support/loaded_model.h"
#include "support/quantised_folder.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

std::vector<int32_t> some_ids(size_t n, int vocab_size) {
  std::vector<int32_t> ids;
  uint64_t state = 88172645463325252ULL;
  while (ids.size() < n) {
    state ^= state << 13U, state ^= state >> 7U, state ^= state << 17U;
    ids.push_back(static_cast<int32_t>(state % static_cast<uint64_t>(vocab_size)));
  }
  return ids;
}

// A model whose experts do not fit a small cache, with int8 activations in play.
class ForwardProperty : public testing::Test {
 protected:
  ForwardProperty() {
    TinyModelOptions tiny;
    tiny.format = Format::q8_0;
    tiny.n_layers = 5;
    tiny.n_experts = 12;
    tiny.n_experts_used = 3;
    path_ = write_tiny_model(dir_.path(), tiny);
    ids_ = some_ids(150, tiny.vocab_size);
  }

  LoadOptions fast() const {
    LoadOptions o;
    o.kernels = best_kernels().name;
    o.exact = false;
    o.kv = KvFormat::f16;
    o.max_rows = 256;
    return o;
  }
  std::vector<float> logits(const LoadOptions& options, int64_t chunk) const {
    return LoadedModel(path_, options).logits(ids_, chunk);
  }

  TempDir dir_;
  std::string path_;
  std::vector<int32_t> ids_;
};

void expect_bits_as_stored(const std::string& path, int vocab_size) {
  const auto ids = some_ids(40, vocab_size);
  LoadOptions options;
  options.kernels = best_kernels().name;
  options.exact = false;
  options.as_stored = true;
  const auto as_stored = LoadedModel(path, options).logits(ids, 40);
  options.as_stored = false;
  for (const int64_t chunk : {1, 3, 40}) {
    for (const bool streamed : {false, true}) {
      options.streamed = streamed;
      options.embedding = streamed ? RowsOf::file : RowsOf::memory;
      options.n_threads = streamed ? 2 : 1;
      options.read_ahead = streamed ? ReadAheadChoice::on : ReadAheadChoice::off;
      EXPECT_TRUE(same_bits(LoadedModel(path, options).logits(ids, chunk), as_stored))
          << path << ", " << chunk << " rows";
    }
  }
}

// The built-in model has matrices of several formats that can be interleaved, in its trunk and its experts.
TEST(ForwardInterleaved, GivesTheBitsOfWeightsAsStored) {
  expect_bits_as_stored(FLASHMOE_SOURCE_DIR "/models/spark/spark.gguf", 4096);
}

TEST(ForwardInterleaved, GivesThemWhereScalesAreKeptApartToo) {
  TinyModelOptions tiny;
  tiny.layout = TinyLayout::hf_stacked;
  tiny.with_k_quant_dims();
  const TempDir source;
  write_tiny_model(source.path(), tiny);
  const FolderQuantisation quantisations[] = {{Format::affine3, {ScaleType::bf16, 1, 64, 0}},
                                              {Format::affine2, {ScaleType::f32, 1, 32, 0}, Format::affine4},
                                              {Format::mxfp4_split, {ScaleType::e8m0, 1, 32, 0}}};
  for (const FolderQuantisation& how : quantisations) {
    const TempDir quantised, plain;
    write_quantised(source.path(), how, quantised.path(), plain.path());
    expect_bits_as_stored(quantised.path(), tiny.vocab_size);
  }
}

TEST_F(ForwardProperty, StreamedEqualsResidentBitForBitAtAnyBudget) {
  const auto resident = logits(fast(), 64);
  LoadOptions streamed = fast();
  streamed.streamed = true;
  streamed.embedding = RowsOf::file;
  const BoundModel bound = bind_model(path_);
  const StreamedSizes sizes = streamed_sizes(bound.experts, 1);
  for (const uint64_t bytes : {sizes.floor_bytes, sizes.floor_bytes * 2, sizes.full_bytes / 2, sizes.full_bytes}) {
    for (const int n_threads : {1, 2}) {
      streamed.cache_bytes = bytes;
      streamed.n_threads = n_threads;
      EXPECT_TRUE(same_bits(logits(streamed, 64), resident)) << bytes << " bytes, " << n_threads << " threads";
    }
  }
}

// One slot for the layers' classes is all that such a model needs, and all that the floor gives.
TEST_F(ForwardProperty, AModelWithOnePickStreamsPromptsThroughOneSlot) {
  const TempDir dir;
  TinyModelOptions tiny;
  tiny.n_experts_used = 1;
  const std::string path = write_tiny_model(dir.path(), tiny);
  const auto ids = some_ids(100, tiny.vocab_size);
  LoadOptions streamed = fast();
  const auto resident = LoadedModel(path, streamed).logits(ids, 64);
  streamed.streamed = true;
  EXPECT_TRUE(same_bits(LoadedModel(path, streamed).logits(ids, 64), resident));
}

TEST_F(ForwardProperty, ReadAheadAndWarmUpChangeNoBits) {
  const BoundModel bound = bind_model(path_);
  const StreamedSizes sizes = streamed_sizes(bound.experts, 1);
  std::vector<float> rates(bound.experts.records.size());
  for (size_t i = 0; i < rates.size(); ++i) rates[i] = static_cast<float>(i % 7) / 7;
  for (const int64_t chunk : {1, 64}) {
    const auto resident = logits(fast(), chunk);
    for (const uint64_t bytes : {sizes.floor_bytes, sizes.floor_bytes * 3, sizes.full_bytes / 2, sizes.full_bytes}) {
      for (const bool learnt : {false, true}) {
        LoadOptions options = fast();
        options.n_threads = 2;
        options.streamed = true;
        options.cache_bytes = bytes;
        options.read_ahead = learnt ? ReadAheadChoice::automatic : ReadAheadChoice::on;
        options.warm_up = true;
        if (learnt) options.rates = rates;
        EXPECT_TRUE(same_bits(logits(options, chunk), resident)) << bytes << " bytes, chunk " << chunk;
      }
    }
  }
}

TEST_F(ForwardProperty, AnyNumberOfThreadsGivesTheSameBits) {
  for (const int64_t chunk : {1, 64}) {
    const auto one = logits(fast(), chunk);
    for (const int n_threads : {2, 3, 8}) {
      LoadOptions options = fast();
      options.n_threads = n_threads;
      EXPECT_TRUE(same_bits(logits(options, chunk), one)) << n_threads << " threads, chunk " << chunk;
    }
  }
}

TEST_F(ForwardProperty, StreamedEqualsResidentThroughEveryReadPath) {
  const auto resident = logits(fast(), 64);
  LoadOptions streamed = fast();
  streamed.streamed = true;
  streamed.queue = [] { return make_pread_queue(4); };
  EXPECT_TRUE(same_bits(logits(streamed, 64), resident)) << "pread";
  streamed.queue = [] { return make_uring_queue(16); };
  try {
    EXPECT_TRUE(same_bits(logits(streamed, 64), resident)) << "io_uring";
  } catch (const Error& error) {
    ASSERT_EQ(error.fault(), Fault::unsupported) << error.what();
    std::cout << "io_uring is not available here: " << error.what() << "\n";
  }
}

TEST_F(ForwardProperty, OrderOfArrivalDoesNotMatter) {
  const auto resident = logits(fast(), 64);
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    LoadOptions streamed = fast();
    streamed.streamed = true;
    streamed.queue = [seed]() -> std::unique_ptr<ReadQueue> { return std::make_unique<DisturbedReadQueue>(seed); };
    EXPECT_TRUE(same_bits(logits(streamed, 64), resident)) << "seed " << seed;
  }
}

constexpr KvFormat kKvFormats[] = {KvFormat::f16, KvFormat::f32, KvFormat::q8};

TEST_F(ForwardProperty, PrefillEqualsItselfForAnyChunkOfWholeBlocks) {
  for (const KvFormat kv : kKvFormats) {
    LoadOptions options = fast();
    options.kv = kv;
    const auto whole = logits(options, 256);
    EXPECT_TRUE(same_bits(logits(options, 64), whole)) << static_cast<int>(kv);
    EXPECT_TRUE(same_bits(logits(options, 128), whole)) << static_cast<int>(kv);
  }
}

// Long enough for several spans of positions, which threads share out in decode and rows pass together in prefill.
TEST_F(ForwardProperty, AttentionOverManySpansHasTheSameBitsInAnyChunkAndNumberOfThreads) {
  const TempDir dir;
  TinyModelOptions tiny;
  tiny.n_layers = 1;
  tiny.full_attention_interval = 1;
  tiny.context_tokens = 2048;
  const std::string path = write_tiny_model(dir.path(), tiny);
  const auto ids = some_ids(1100, tiny.vocab_size);
  for (const KvFormat kv : kKvFormats) {
    LoadOptions options = fast();
    options.kv = kv;
    options.context_tokens = 1200;
    const auto last = [&](int64_t chunk, int n_threads) {
      options.n_threads = n_threads;
      auto all = LoadedModel(path, options).logits(ids, chunk);
      all.erase(all.begin(), all.end() - 80 * tiny.vocab_size);
      return all;
    };
    const auto expected = last(256, 1);
    EXPECT_TRUE(same_bits(last(64, 2), expected)) << static_cast<int>(kv);
    EXPECT_TRUE(same_bits(last(7, 3), expected)) << static_cast<int>(kv);
    EXPECT_TRUE(same_bits(last(1, 2), expected)) << static_cast<int>(kv);
  }
}

TEST_F(ForwardProperty, PrefillEqualsTokenByToken) {
  for (const char* kernels : {"scalar", "avx2", "avx512", "neon"}) {
    if (!kernels_by_name(kernels)) continue;
    LoadOptions exact;
    exact.kernels = kernels;
    exact.max_rows = 256;
    const auto single = logits(exact, 1);
    for (const int64_t chunk : {7, 64, 100, 256}) {
      EXPECT_LE(relative_error(logits(exact, chunk), single), 1e-5) << kernels << ", chunk " << chunk;
    }
  }
}

TEST_F(ForwardProperty, ExpertsInMemoryThatIsTakenBackHaveTheSameBits) {
  LoadOptions options = fast();
  options.streamed = true;
  options.read_ahead = ReadAheadChoice::on;
  // Prompts and single tokens in turn, and behind each what is lent.
  std::vector<uint64_t> lent;
  const auto read = [&](LoadedModel& model) {
    std::vector<float> last;
    const auto sequence = model.new_sequence();
    auto rest = std::span<const int32_t>(ids_);
    for (const size_t n : {70, 1, 1, 70, 1, 1}) {
      model.forward().step(rest.first(n), *sequence);
      rest = rest.subspan(n);
      const auto row = model.forward().logits(static_cast<int64_t>(n) - 1, 1);
      last.insert(last.end(), row.begin(), row.end());
      lent.push_back(model.experts().cache_stats().lent_bytes);
    }
    return last;
  };
  LoadedModel plain(path_, options);
  const auto expected = read(plain);
  EXPECT_EQ(lent, std::vector<uint64_t>(6));
  // As much as a prompt's workspace and the sequence take: nothing is left of it for experts meanwhile.
  const auto workspace = [&](int64_t rows) {
    return Workspace::bytes(plain.config(), {rows, !options.exact, options.exact});
  };
  options.lent_bytes = workspace(128);
  lent.clear();
  LoadedModel lending(path_, options);
  EXPECT_TRUE(same_bits(read(lending), expected));
  EXPECT_LT(lent[0], lent[1]);
  EXPECT_GT(lent[2], lent[3]);
  EXPECT_LT(lent[3], lent[4]);
}

TEST_F(ForwardProperty, SequencesInOneBatchDoNotTouchEachOther) {
  LoadedModel model(path_, fast());
  const auto a = model.new_sequence(), b = model.new_sequence();
  const auto ids = std::span<const int32_t>(ids_);
  model.forward().step(ids.first(40), *a);
  model.forward().step(ids.subspan(40, 30), *b);
  const std::vector<int32_t> tokens = {ids_[100], ids_[101], ids_[102]};
  const std::vector<flashmoe::Run> runs = {{a.get(), 0, 1, 40}, {b.get(), 1, 2, 30}};
  model.forward().step(Batch{tokens, runs});
  const auto both = model.forward().logits(0, 3);
  const std::vector<float> together(both.begin(), both.end());

  const auto c = model.new_sequence(), d = model.new_sequence();
  model.forward().step(ids.first(40), *c);
  model.forward().step(ids.subspan(100, 1), *c);
  const auto first = model.forward().logits(0, 1);
  std::vector<float> apart(first.begin(), first.end());
  model.forward().step(ids.subspan(40, 30), *d);
  model.forward().step(ids.subspan(101, 2), *d);
  const auto rest = model.forward().logits(0, 2);
  apart.insert(apart.end(), rest.begin(), rest.end());
  EXPECT_TRUE(same_bits(together, apart));
}

// Blocks end behind turns: steps that end with blocks give the same bits, and a state copied on the way is the one that
// a step that ends there leaves.
TEST_F(ForwardProperty, BlocksThatEndWithTurnsDoNotDependOnSteps) {
  constexpr int32_t kEndOfTurn = 3;
  for (size_t i = 0; i < ids_.size(); ++i) {
    if (ids_[i] == kEndOfTurn) ids_[i] = 4;
  }
  for (const size_t end : {2, 5, 40, 41, 110}) ids_[end - 1] = kEndOfTurn;
  const auto ids = std::span<const int32_t>(ids_);
  LoadedModel model(path_, fast());
  model.forward().set_blocks(DeltaBlocks({kEndOfTurn}));
  const auto last_row = [&](int64_t n_rows) {
    const auto logits = model.forward().logits(n_rows - 1, 1);
    return std::vector<float>(logits.begin(), logits.end());
  };
  const auto bytes_of = [](Sequence& s) {
    return std::vector<std::byte>(s.delta().span().begin(), s.delta().span().end());
  };

  const auto whole = model.new_sequence();
  const std::vector<int64_t> stops = {2, 5, 41, 105, 110};  // 105: a chunk after 41
  std::vector<std::vector<std::byte>> copied(stops.size(), std::vector<std::byte>(whole->delta().span().size()));
  std::vector<StateCopy> copies;
  for (size_t i = 0; i < stops.size(); ++i) copies.push_back({stops[i], copied[i].data()});
  const flashmoe::Run run = {whole.get(), 0, 150, 0, copies};
  model.forward().step(Batch{ids, {&run, 1}});
  const auto expected = last_row(150);
  EXPECT_EQ(whole->n_in_block(), 40);

  const auto parts = model.new_sequence();
  for (size_t i = 0; i < stops.size(); ++i) {
    const auto at = static_cast<size_t>(parts->n_tokens());
    model.forward().step(ids.subspan(at, static_cast<size_t>(stops[i]) - at), *parts);
    EXPECT_EQ(parts->n_in_block(), 0);
    EXPECT_TRUE(bytes_of(*parts) == copied[i]) << stops[i];
  }
  model.forward().step(ids.subspan(110), *parts);
  EXPECT_TRUE(same_bits(last_row(40), expected));
  EXPECT_TRUE(bytes_of(*parts) == bytes_of(*whole));
}

TEST_F(ForwardProperty, AResumedSequenceGoesOnLikeTheOneThatWasKept) {
  LoadOptions options = fast();
  options.kv = KvFormat::q8;
  LoadedModel model(path_, options);
  const auto ids = std::span<const int32_t>(ids_);
  model.forward().set_blocks(DeltaBlocks({ids_[69]}));  // one ends inside a tile of keys
  SessionStore store(model.forward().blocks(), model.budget(), nullptr);
  const auto sequence = model.new_sequence();
  model.forward().step(ids.first(70), *sequence);
  store.keep(ids.first(70), *sequence);
  const auto continue_with = [&](Sequence& s) {
    std::vector<float> all;
    for (size_t i = 70; i < 80; ++i) {
      model.forward().step(ids.subspan(i, 1), s);
      const auto logits = model.forward().logits(0, 1);
      all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
  };
  const auto straight = continue_with(*sequence);
  model.forward().step(ids.subspan(90, 60), *sequence);  // somewhere else entirely
  for (const char* which : {"first", "second"}) {
    const auto other = model.new_sequence();
    ASSERT_EQ(store.resume(ids, *other), 70) << which;
    EXPECT_TRUE(same_bits(continue_with(*other), straight)) << which;
  }
}

TEST_F(ForwardProperty, ContainersOfTheSameModelAgree) {
  std::vector<std::vector<float>> results;
  for (const TinyLayout layout : {TinyLayout::gguf, TinyLayout::hf_stacked, TinyLayout::hf_per_expert}) {
    const TempDir dir;
    TinyModelOptions tiny;
    tiny.layout = layout;
    tiny.n_value_heads = 6;  // value heads are stored in another order by GGUF
    tiny.n_files = 2;
    tiny.with_mtp = true;
    tiny.with_vision = layout != TinyLayout::gguf;
    LoadedModel model(write_tiny_model(dir.path(), tiny), LoadOptions());
    results.push_back(model.logits(some_ids(80, tiny.vocab_size), 80));
  }
  EXPECT_LE(relative_error(results[1], results[0]), 1e-5);
  EXPECT_TRUE(same_bits(results[1], results[2]));
}

TEST_F(ForwardProperty, TiedEmbeddingsServeAsTheOutput) {
  const TempDir a, b;
  TinyModelOptions tiny;
  tiny.tie_embeddings = true;
  LoadedModel gguf(write_tiny_model(a.path(), tiny), LoadOptions());
  tiny.layout = TinyLayout::hf_stacked;
  LoadedModel hugging_face(write_tiny_model(b.path(), tiny), LoadOptions());
  const auto ids = some_ids(20, tiny.vocab_size);
  EXPECT_LE(relative_error(gguf.logits(ids, 20), hugging_face.logits(ids, 20)), 1e-5);
}

}  // namespace
}  // namespace flashmoe
