// The engine in this process.
#include <fmt/format.h>

#include <utility>

#include "chat/backend.h"
#include "flashmoe/engine.h"
#include "flashmoe/error.h"
#include "flashmoe/service.h"
#include "quantities.h"
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
    return path.substr(path.rfind('/') + 1);
  }

  std::optional<Stats> stats() override { return service_->stats().engine; }

  std::vector<std::string> take_notes() override { return service_->take_notes(); }

  std::string stats_text() override {
    const ServiceStats stats = service_->stats();
    const std::string on_disk =
        stats.session_files == 0 ? ""
                                 : fmt::format("  sessions      {} in {} file{} on disk\n", show_bytes(stats.session_bytes_on_disk),
                                               stats.session_files, stats.session_files == 1 ? "" : "s");
    return fmt::format("  answers       {}, {} tokens read, {} known from before, {} decoded\n", stats.n_requests,
                       stats.prompt_tokens - stats.cached_tokens, stats.cached_tokens, stats.answer_tokens) +
           on_disk +
           statistics_text(stats.engine, StopReason::end_of_turn).substr(std::string("\nstatistics\n").size());
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
