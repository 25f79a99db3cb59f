#include "flashmoe/service.h"

#include <cmath>

#include "base/check.h"
#include "base/error.h"
#include "base/thread.h"
#include "engine/grammars.h"
#include "engine/scheduler.h"

namespace flashmoe {
namespace {

constexpr int kMostLogprobs = 100;

class ServedAnswer final : public Answer {
 public:
  ServedAnswer(std::shared_ptr<AnswerChannel> channel, std::weak_ptr<Scheduler> scheduler)
      : channel_(std::move(channel)), scheduler_(std::move(scheduler)) {}
  ~ServedAnswer() override {
    if (!finished()) ServedAnswer::cancel();
  }
  std::optional<AnswerEvent> next(std::chrono::milliseconds patience) override { return channel_->next(patience); }
  void cancel() override {
    channel_->cancel();
    if (const auto scheduler = scheduler_.lock()) scheduler->wake();
  }
  bool finished() const override { return channel_->finished(); }

 private:
  std::shared_ptr<AnswerChannel> channel_;
  std::weak_ptr<Scheduler> scheduler_;
};

// What can be said of a request before its prompt is read.
void check_options(const Request& request) {
  const Sampler validated(request.generate.sampling, 1);
  if (request.generate.max_tokens < 0) {
    fail(Fault::usage, "max_tokens must be 0 (no limit) or more, not {}", request.generate.max_tokens);
  }
  if (request.n_logprobs < -1 || request.n_logprobs > kMostLogprobs) {
    fail(Fault::usage, "n_logprobs must be from -1 (none) to {}, not {}", kMostLogprobs, request.n_logprobs);
  }
  if (request.max_thinking_tokens < -1) {
    fail(Fault::usage, "max_thinking_tokens must be -1 (no limit) or more, not {}", request.max_thinking_tokens);
  }
}

CallForm call_form(const ChatTemplate* chat_template) {
  return chat_template != nullptr && chat_template->has_json_calls() ? CallForm::json : CallForm::xml;
}

class EngineService final : public Service {
 public:
  EngineService(std::unique_ptr<Engine> engine, PartedEngine& parted, const ServiceOptions& options)
      : engine_(std::move(engine)),
        parts_(parted.parts()),
        grammars_(*parts_.session.tokenizer, call_form(parts_.chat_template)),
        scheduler_(std::make_shared<Scheduler>(parts_, options)),
        thread_([this] { scheduler_->run(); }) {}
  ~EngineService() override { end_answers(); }
  TraceSize stop() override {
    end_answers();
    return engine_->end_trace();
  }

  std::unique_ptr<Answer> submit(const Request& request) override {
    check_options(request);
    auto channel = std::make_shared<AnswerChannel>();
    Prompt prompt = read_prompt(request, parts_);
    check_room(prompt, parts_);
    auto grammar = grammars_.of(request, prompt.tools);
    scheduler_->add(std::make_unique<RunningAnswer>(request, std::move(prompt), std::move(grammar), parts_, channel));
    return std::make_unique<ServedAnswer>(std::move(channel), scheduler_);
  }
  int64_t count_tokens(const Request& request) const override {
    return static_cast<int64_t>(read_prompt(request, parts_).ids.size());
  }
  ServiceStats stats() const override { return scheduler_->stats(); }
  std::vector<std::string> take_notes() override { return scheduler_->take_notes(); }
  std::vector<std::string> take_faults() override { return scheduler_->take_faults(); }
  const Engine& engine() const override { return *engine_; }

 private:
  void end_answers() {
    scheduler_->stop();
    if (thread_.joinable()) thread_.join();
  }

  std::unique_ptr<Engine> engine_;
  const EngineParts parts_;
  Grammars grammars_;
  std::shared_ptr<Scheduler> scheduler_;
  Thread thread_;
};

}  // namespace

std::unique_ptr<Service> Service::start(std::unique_ptr<Engine> engine, const ServiceOptions& options) {
  const auto require = [](const char* name, int value, int least, int most) {
    if (value < least || value > most) fail(Fault::usage, "{} must be from {} to {}, not {}", name, least, most, value);
  };
  require("n_parallel", options.n_parallel, 1, ServiceOptions::kMostParallel);
  require("n_waiting", options.n_waiting, 0, ServiceOptions::kMostWaiting);
  auto* parted = dynamic_cast<PartedEngine*>(engine.get());
  CHECK(parted != nullptr);
  if (!engine->report().has_tokenizer) {
    fail(Fault::unsupported, "{}: the checkpoint has no tokenizer, so it cannot produce text", engine->report().path);
  }
  parted->load_for(options.n_parallel);
  return std::make_unique<EngineService>(std::move(engine), *parted, options);
}

}  // namespace flashmoe
