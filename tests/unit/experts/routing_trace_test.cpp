// What is written is read; what is damaged, cut short or foreign is refused in one line.
#include "experts/routing_trace.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "experts/trace_encoding.h"
#include "experts/trace_reader.h"
#include "experts/trace_writer.h"
#include "support/expect_error.h"
#include "support/made_up_trace.h"
#include "support/small_files.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

void expect_same(const TraceStep& a, const TraceStep& b) {
  EXPECT_EQ(a.decode, b.decode);
  EXPECT_EQ(a.n_rows, b.n_rows);
  EXPECT_EQ(a.start_ns, b.start_ns);
  ASSERT_EQ(a.runs.size(), b.runs.size());
  for (size_t r = 0; r < a.runs.size(); ++r) {
    EXPECT_EQ(a.runs[r].sequence, b.runs[r].sequence);
    EXPECT_EQ(a.runs[r].n_rows, b.runs[r].n_rows);
  }
  EXPECT_EQ(a.given_back, b.given_back);
  EXPECT_EQ(a.busy_ns, b.busy_ns);
  EXPECT_EQ(a.embed_ns, b.embed_ns);
  EXPECT_EQ(a.logits_ns, b.logits_ns);
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (size_t l = 0; l < a.layers.size(); ++l) {
    const TraceLayer &x = a.layers[l], &y = b.layers[l];
    EXPECT_EQ(x.experts, y.experts);
    EXPECT_EQ(x.distinct, y.distinct);
    EXPECT_EQ(x.n_picks, y.n_picks);
    EXPECT_EQ(x.outcomes, y.outcomes);
    EXPECT_EQ(x.guesses, y.guesses);
    EXPECT_EQ(x.n_guessed, y.n_guessed);
    EXPECT_EQ(x.n_guessed_beside, y.n_guessed_beside);
    EXPECT_EQ(x.n_warmed_up, y.n_warmed_up);
    EXPECT_EQ(x.scores, y.scores);
    EXPECT_EQ(x.stage_ns, y.stage_ns);
    ASSERT_EQ(x.weights.size(), y.weights.size());
    for (size_t i = 0; i < x.weights.size(); ++i) EXPECT_NEAR(x.weights[i], y.weights[i], 0.5 / 255);
  }
}

TEST(RoutingTrace, IsReadAsItWasWritten) {
  const TempDir dir;
  const auto trace = open_trace(made_up_trace(dir / "a.trace", 40));
  const TraceHeader &h = trace->header(), expected = made_up_header();
  EXPECT_EQ(header_json(h), header_json(expected));
  EXPECT_EQ(h.rates, expected.rates);
  EXPECT_EQ(h.expert_bytes(), (24u * 1000 + 12u * 3000) / 36);
  EXPECT_EQ(trace->end().n_steps, 41u);
  EXPECT_EQ(trace->end().n_rows, 45u);
  EXPECT_EQ(trace->end().n_decoded, 40u);
  EXPECT_FALSE(trace->end().full);
  EXPECT_EQ(trace->end().cache.hits, 30u);
  EXPECT_DOUBLE_EQ(trace->end().read_gb_per_s(), 2);
  for (int pass = 0; pass < 2; ++pass) {
    TraceStep step;
    for (int i = 0; i <= 40; ++i) {
      ASSERT_TRUE(trace->next(step));
      expect_same(step, made_up_step(expected, static_cast<uint64_t>(i), i == 0 ? 5 : 1, i > 0));
    }
    EXPECT_FALSE(trace->next(step));
    EXPECT_FALSE(trace->next(step));
    trace->rewind();
  }
}

TEST(RoutingTrace, EndsAtItsLimitAndSaysSo) {
  const TempDir dir;
  const TraceHeader header = made_up_header();
  constexpr uint64_t kLimit = 4000;
  TraceWriter writer(dir / "a.trace", header, kLimit);
  for (uint64_t i = 0; i < 100; ++i) writer.write(made_up_step(header, i, 1, true));
  const TraceEnd end = writer.finish({});
  EXPECT_LE(std::filesystem::file_size(dir / "a.trace"), kLimit);
  const auto trace = open_trace(dir / "a.trace");
  EXPECT_TRUE(end.full);
  EXPECT_EQ(end.n_rows, trace->end().n_rows);
  EXPECT_TRUE(trace->end().full);
  EXPECT_GT(trace->end().n_steps, 10u);
  EXPECT_LT(trace->end().n_steps, 100u);
  TraceStep step;
  uint64_t n = 0;
  while (trace->next(step)) ++n;
  EXPECT_EQ(n, trace->end().n_steps);
}

TEST(RoutingTrace, HasRoomForATokenOrIsRefused) {
  const TempDir dir;
  const TraceHeader header = made_up_header();
  uint64_t least = 1;
  while (true) {
    try {
      TraceWriter writer(dir / "a.trace", header, least);
      writer.write(made_up_step(header, 7, 1, true));
      EXPECT_FALSE(writer.finish({}).full);
      break;
    } catch (const Error& error) {
      ASSERT_EQ(error.fault(), Fault::usage);
      EXPECT_FALSE(std::filesystem::exists(dir / "a.trace"));
      ++least;
    }
  }
  EXPECT_LT(least, std::filesystem::file_size(dir / "a.trace") + 300);  // times may take more bytes than these did
}

void read_all(std::string bytes) {
  const auto trace = open_trace(std::make_shared<MemoryFile>(std::move(bytes)));
  TraceStep step;
  while (trace->next(step)) {
  }
}

TEST(RoutingTrace, RefusesEveryCut) {
  const TempDir dir;
  const std::string bytes = read_bytes(made_up_trace(dir / "a.trace", 5));
  for (size_t n = 0; n < bytes.size(); ++n) {
    const Fault fault = n >= 5 && n < 8 ? Fault::unsupported : Fault::input;  // a part of the version
    expect_error([&] { read_all(bytes.substr(0, n)); }, fault,
                 {n < 5   ? "not a routing trace"
                  : n < 8 ? "version"
                          : "cut short"});
  }
}

// Files of earlier versions: their headers lack the flags of what came later, and their steps the parts.
TEST(RoutingTrace, ReadsEarlierVersions) {
  const TempDir dir;
  TraceHeader header = made_up_header();
  header.has_beside = false;
  for (const std::string version : {"003", "002", "001"}) {
    if (version == "002") header.has_given_back = false;
    if (version == "001") header.has_sequences = header.has_unasked = false;
    TraceWriter writer(dir / "a.trace", header, 1 << 20);
    TraceStep expected = made_up_step(header, 3, 1, true);
    writer.write(expected);
    writer.finish({});
    std::string bytes = read_bytes(dir / "a.trace");
    bytes.replace(5, 3, version);
    const auto trace = open_trace(std::make_shared<MemoryFile>(std::move(bytes)));
    TraceStep step;
    ASSERT_TRUE(trace->next(step));
    if (version != "003") expected.given_back.clear();
    for (TraceLayer& layer : expected.layers) layer.n_guessed_beside = layer.n_guessed;
    if (version == "001") {
      expected.runs = {{0, 1}};
      for (TraceLayer& layer : expected.layers) layer.n_guessed = layer.n_guessed_beside = layer.n_warmed_up = 0;
    }
    expect_same(step, expected);
  }
}

TEST(RoutingTrace, RefusesToGiveTheLastSlotBack) {
  const TempDir dir;
  const TraceHeader header = made_up_header();
  for (const int32_t n : {header.classes[1].n_slots - 1, header.classes[1].n_slots}) {
    TraceWriter writer(dir / "a.trace", header, 1 << 20);
    TraceStep step = made_up_step(header, 1, 1, true);
    step.given_back = {0, n};
    writer.write(step);
    writer.finish({});
    const auto read = [&] { read_all(read_bytes(dir / "a.trace")); };
    if (n < header.classes[1].n_slots) {
      read();
    } else {
      expect_error(read, Fault::input, {"a step is damaged"});
    }
  }
}

// Whatever the moment at which a run was killed.
TEST(RoutingTrace, ReadsWhatIsWholeOfAnUnfinishedOne) {
  const TempDir dir;
  const std::string bytes = read_bytes(made_up_trace(dir / "a.trace", 5));
  uint64_t n_before = 0;
  for (size_t n = 8; n < bytes.size() - kTraceEndBytes; ++n) {
    uint64_t n_read = 0;
    try {
      const auto trace = open_trace(std::make_shared<MemoryFile>(bytes.substr(0, n)), true);
      for (TraceStep step; trace->next(step); ++n_read) {
        expect_same(step, made_up_step(made_up_header(), n_read, n_read == 0 ? 5 : 1, n_read > 0));
      }
      EXPECT_EQ(trace->end().n_steps, n_read);
      EXPECT_EQ(trace->end().n_decoded, n_read - 1);
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::input);
      EXPECT_EQ(n_before, 0u) << n;
    }
    EXPECT_GE(n_read, n_before);
    EXPECT_LE(n_read, n_before + 1);
    n_before = n_read;
  }
  EXPECT_EQ(n_before, 6u - 1);
}

// Two answers side by side, and a prompt beside one of them.
TEST(RoutingTrace, KnowsWhoseTheRowsAre) {
  const TempDir dir;
  const TraceHeader header = made_up_header();
  TraceWriter writer(dir / "a.trace", header, 1 << 20);
  TraceStep two = made_up_step(header, 1, 2, true), mixed = made_up_step(header, 2, 4, false);
  two.runs = {{7, 1}, {1'000'000'007, 1}};
  mixed.runs = {{7, 1}, {9, 3}};
  writer.write(two);
  writer.write(mixed);
  writer.finish({});
  const auto trace = open_trace(dir / "a.trace");
  EXPECT_EQ(trace->end().n_decoded, 2u);
  TraceStep step;
  for (const TraceStep& expected : {two, mixed}) {
    ASSERT_TRUE(trace->next(step));
    expect_same(step, expected);
  }
}

TEST(RoutingTrace, RefusesDamageAnywhere) {
  const TempDir dir;
  const std::string bytes = read_bytes(made_up_trace(dir / "a.trace", 5));
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x41);
    EXPECT_THROW(read_all(damaged), Error) << "byte " << i;
  }
}

TEST(RoutingTrace, RefusesWhatIsNone) {
  const TempDir dir;
  const auto refused = [&](std::string_view bytes, Fault fault, std::initializer_list<std::string_view> parts) {
    expect_error([&] { read_all(std::string(bytes)); }, fault, parts);
  };
  refused("GGUF and so on", Fault::input, {"not a routing trace"});
  refused("fmtrc999, some other bytes", Fault::unsupported, {"version 999", "001 to 004"});
  refused("{\"layers\": [[1, 2], [0]]}\n", Fault::input, {"line 1", "2 picks"});
  refused("{\"layers\": [[1, 2]]}\n{\"layers\": [[1, 2], [3, 4]]}\n", Fault::input, {"line 2", "layers"});
  refused("{\"layers\": [[1, 1]]}\n", Fault::input, {"line 1", "twice"});
  refused("{\"layers\": [[1, -1]]}\n", Fault::input, {"line 1", "65536"});
  refused("{\"layers\": [[1, 2]]}\n{\"layers\": [[1,", Fault::input, {"line 2"});
  refused("{}\n", Fault::input, {"line 1"});
  expect_error([&] { open_trace(dir / "absent"); }, Fault::io, {"absent"});
}

TEST(RoutingTrace, ReadsListsOfPicks) {
  const TempDir dir;
  const auto trace = open_trace(dir.write("a.jsonl",
                                          "{\"tok\": 7, \"layers\": [[3, 1], [9, 0]]}\n\n"
                                          "{\"layers\": [[1, 2], [4, 5]]}"));
  EXPECT_EQ(trace->header().n_layers, 2);
  EXPECT_EQ(trace->header().n_used, 2);
  EXPECT_EQ(trace->header().n_experts, 16);
  EXPECT_TRUE(trace->header().classes.empty());
  EXPECT_EQ(trace->end().n_decoded, 2u);
  TraceStep step;
  ASSERT_TRUE(trace->next(step));
  EXPECT_TRUE(step.decode);
  EXPECT_EQ(step.layers[0].experts, (std::vector<int32_t>{3, 1}));
  EXPECT_EQ(step.layers[0].distinct, (std::vector<int32_t>{1, 3}));
  ASSERT_TRUE(trace->next(step));
  EXPECT_EQ(step.layers[1].experts, (std::vector<int32_t>{4, 5}));
  EXPECT_FALSE(trace->next(step));
}

TEST(RoutingTrace, TellsWhenItCannotBeWritten) {
  expect_error([] { TraceWriter("/dev/null/a.trace", made_up_header(), 1 << 20); }, Fault::io, {"/dev/null/a.trace"});
  TraceWriter writer("/dev/full", made_up_header(), 1 << 20);
  expect_error([&] { writer.finish({}); }, Fault::io, {"/dev/full", "space"});
}

}  // namespace
}  // namespace flashmoe
