// The engine in this process.
#include <fmt/format.h>

#include <utility>

#include "chat/backend.h"
#include "flashmoe/engine.h"
#include "flashmoe/error.h"
#include "flashmoe/service.h"
#include "flashmoe/wording.h"
#include "statistics.h"
#include "terminal.h"

namespace flashmoe {
namespace {

class LocalBackend : public Backend {
 public:
  explicit LocalBackend(std::unique_ptr<Service> service) : service_(std::move(service)) {}

  std::unique_ptr<Answer> ask(const std::string& request_json, const GenerateOptions& generate) override {
    Request request;
    request.chat_json = request_json;
    request.generate = generate;
    return service_->submit(request);
  }

  std::string model() const override {
    const ModelReport& report = service_->engine().report();
    const size_t slash = report.path.find_last_not_of('/');
    const std::string path = report.path.substr(0, slash + 1);
    return without_controls(path.substr(path.rfind('/') + 1));
  }

  std::optional<Stats> stats() override { return service_->stats().engine; }

  std::vector<std::string> take_notes() override { return service_->take_notes(); }

  std::string stats_text() override {
    const ServiceStats stats = service_->stats();
    const uint64_t n_read = stats.prompt_tokens - stats.cached_tokens;
    const auto rate = [](uint64_t tokens, double seconds) {
      return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
    };
    std::string text = fmt::format(
        "  answers       {}\n  prompts       {} tokens, {:.1f} tok/s; {} known from before\n"
        "  decode        {} tokens, {:.1f} tok/s\n",
        stats.n_requests, n_read, rate(n_read, stats.prefill_s), stats.cached_tokens, stats.answer_tokens,
        rate(stats.answer_tokens, stats.decode_s));
    if (stats.session_files > 0) {
      text += fmt::format("  sessions      {} in {} file{} on disk\n", human_bytes(stats.session_bytes_on_disk),
                          stats.session_files, stats.session_files == 1 ? "" : "s");
    }
    return text + engine_text(stats.engine);
  }

 private:
  std::unique_ptr<Service> service_;
};

}  // namespace

std::unique_ptr<Backend> start_local_backend(const EngineOptions& options, ServiceOptions service) {
  std::unique_ptr<Engine> engine = Engine::open(options);
  if (!engine->report().has_chat_template) {
    throw Error(Fault::unsupported,
                engine->report().path + ": has no chat template; flashmoe run --raw continues text");
  }
  for (const std::string& note : engine->notes()) write_error("flashmoe: note: " + note + "\n");
  service.n_parallel = 1;
  return std::make_unique<LocalBackend>(Service::start(std::move(engine), service));
}

}  // namespace flashmoe
