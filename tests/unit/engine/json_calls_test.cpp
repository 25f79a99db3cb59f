#include "support/service_case.h"
#include "support/temp_dir.h"
#include "support/test_data.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

// A model of any weights whose template has calls as JSON.
TEST(ServedJsonCalls, AreWhatTheTemplateDemands) {
  const TempDir dir;
  TinyModelOptions tiny;
  tiny.layout = TinyLayout::hf_per_expert;
  tiny.with_tokenizer = true;
  tiny.context_tokens = 2048;
  EngineOptions options;
  options.model_path = write_tiny_model(dir.path(), tiny);
  options.n_threads = 2;
  options.learn = false;
  write_bytes(dir / "chat_template.jinja", read_test_data("jinja/hermes_tools.jinja"));
  const auto service = Service::start(Engine::open(options), {});
  Request request;
  request.chat_json =
      R"({"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":)"
      R"({"properties":{"x":{"enum":["a{","b\"}"]},"n":{"anyOf":[{"type":"boolean"},{"type":"null"}]}},)"
      R"("required":["x","n"]}}}]})";
  request.constraint.kind = Constraint::Kind::tool_call;
  request.parallel_tool_calls = false;
  request.generate.sampling.temperature = 1;
  request.generate.max_tokens = 400;
  int n_whole = 0;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    request.generate.sampling.seed = seed;
    const Told told = read_all(*service->submit(request));
    EXPECT_EQ(told.name, "f");
    EXPECT_EQ(told.content, "");
    if (!told.done.called_tools) continue;  // cut off
    ++n_whole;
    const auto arguments = nlohmann::json::parse(told.arguments);
    EXPECT_TRUE(arguments["x"] == "a{" || arguments["x"] == "b\"}") << told.arguments;
    EXPECT_TRUE(arguments["n"].is_boolean() || arguments["n"].is_null()) << told.arguments;
  }
  EXPECT_GT(n_whole, 0);
}

}  // namespace
}  // namespace flashmoe
