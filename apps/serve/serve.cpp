// flashmoe serve: OpenAI's and Anthropic's HTTP APIs on one model.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <thread>

#include "commands.h"
#include "flashmoe/engine.h"
#include "flashmoe/error.h"
#include "flashmoe/service.h"
#include "flashmoe/wording.h"
#include "interrupt.h"
#include "model_options.h"
#include "option_values.h"
#include "quantities.h"
#include "serve/http_server.h"
#include "serve/listener.h"
#include "serve/origin.h"
#include "session_options.h"
#include "terminal.h"
#include "trace_options.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "Answers /v1/chat/completions, /v1/completions, /v1/responses and /v1/models\n"
    "(OpenAI), /v1/messages and /v1/messages/count_tokens (Anthropic), /health,\n"
    "/metrics and /props, and has a page for browsers at /. Ctrl-C ends it; a second\n"
    "one at once.\n"
    "\n"
    "Examples:\n"
    "  flashmoe serve                                   the built-in model\n"
    "  flashmoe serve -m model.gguf --ram 8G --parallel 2\n"
    "  FLASHMOE_API_KEY=secret flashmoe serve --host 0.0.0.0 --port 80";

struct ServeOptions {
  EngineOptions engine;
  ServiceOptions service;
  Access access;
  ServeLimits limits;
  std::string host = "127.0.0.1";
  int port = 8080;
};

void add_network_options(CLI::App& cli, ServeOptions& serve) {
  cli.add_option("--host", serve.host,
                 "Address to listen on; default 127.0.0.1. Any but this machine's own wants a key")
      ->option_text("ADDRESS")
      ->check(expect("an address"));
  add_number(cli, "--port", serve.port, 0, 65535, "Port; default 8080; 0: any free one, which is told");
  cli.add_option(
         "--api-key", serve.access.api_key,
         "Key that requests must bring; better in the environment as FLASHMOE_API_KEY, where ps does not show it")
      ->option_text("KEY")
      ->check(expect("a key"))
      ->envname("FLASHMOE_API_KEY");
  cli.add_option("--cors", serve.access.origins,
                 "Origin of pages elsewhere that may ask, such as https://example.org, or *; may be given again; "
                 "default: none")
      ->option_text("ORIGIN")
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        return is_origin(text) ? "" : "an origin such as https://example.org, or *, is expected, not '" + text + "'";
      });
  constexpr size_t kLeast = 1, kMostConnections = 100'000;
  add_number(cli, "--max-connections", serve.limits.n_connections, kLeast, kMostConnections,
             "Connections at once; further ones are told 503; default 1024, or what the limit on open files allows");
  cli.add_option_function<std::string>(
         "--max-request",
         [&serve](const std::string& text) {
           const auto bytes = parse_bytes(text);
           if (!bytes || *bytes == 0 || *bytes > uint64_t{1} << 30) {
             throw CLI::ValidationError("--max-request", "a size up to 1G is expected, not '" + text + "'");
           }
           serve.limits.body_bytes = *bytes;
         },
         "Largest request; default 16M")
      ->option_text("SIZE");
}

void add_service_options(CLI::App& cli, ServiceOptions& service) {
  add_number(cli, "--parallel", service.n_parallel, 1, ServiceOptions::kMostParallel,
             "Answers decoded side by side; default 4");
  add_number(cli, "--queue", service.n_waiting, 0, ServiceOptions::kMostWaiting,
             "Requests that may wait for their turn; further ones are told 503; default 64");
  add_session_options(cli, service, "none, what was read is forgotten with the server");
  cli.get_option("--sessions-size")->needs("--sessions");
}

std::string name_of(const ModelReport& report) {
  const std::filesystem::path path(report.path);
  const std::string stem = path.has_filename() ? path.stem().string() : path.parent_path().filename().string();
  return stem.empty() ? "model" : stem;
}

std::string shown_host(const std::string& host) {
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

void tell_start(const Listener& listener, const Service& service, const Served& served, const std::string& host) {
  const MemoryPlan& plan = service.engine().memory_plan();
  write_error(fmt::format("flashmoe: {} is served on http://{}:{}/\n", without_controls(served.model_name),
                          shown_host(host), listener.port()));
  write_error(fmt::format(
      "flashmoe: {} of {} planned ({}), experts {}; {} tokens of context, {} answers at once, {} may wait\n",
      human_bytes(plan.budget_bytes()), human_bytes(plan.limit_bytes), plan.limit_source,
      plan.experts_resident ? "in memory" : "streamed",
      show_count(static_cast<uint64_t>(service.engine().context_tokens())), served.n_parallel, served.n_waiting));
}

void tell_notes(Service& service) {
  for (const std::string& fault : service.take_faults()) write_error("flashmoe: a step failed: " + fault + "\n");
  for (const std::string& note : service.take_notes()) write_error("flashmoe: note: " + note + "\n");
}

// Until the first Ctrl-C.
void wait_for_interrupt(Service& service) {
  constexpr std::chrono::milliseconds kGlance{100};
  for (; !interrupted(); std::this_thread::sleep_for(kGlance)) tell_notes(service);
}

int run_server(ServeOptions& serve) {
  check_trace(serve.engine.trace);
  Listener listener(serve.host, serve.port, serve.limits);
  if (!listener.on_loopback() && serve.access.api_key.empty()) {
    throw Error(Fault::usage, fmt::format("--host {} can be reached from other machines: set a key with --api-key or "
                                          "FLASHMOE_API_KEY",
                                          serve.host));
  }
  catch_interrupts();
  serve.engine.model_path = model_or_builtin(serve.engine.model_path);
  std::atomic<bool> loading = true;  // later on an interrupt ends answers one by one
  ProgressLine progress;
  serve.engine.on_progress = [&](const Progress& step) {
    if (loading) progress.show(step);
  };
  serve.engine.keep_going = [&] { return !loading || !interrupted(); };
  std::unique_ptr<Engine> engine = Engine::open(serve.engine);
  check_trace(serve.engine.trace, files_of(engine->report()));
  for (const std::string& note : engine->notes()) write_error("flashmoe: note: " + note + "\n");
  const Served served = {name_of(engine->report()), serve.service.n_parallel, serve.service.n_waiting};
  const std::unique_ptr<Service> service = Service::start(std::move(engine), serve.service);
  loading = false;
  progress.erase();

  HttpServer server(listener, *service, served, serve.access);
  listener.open();
  tell_start(listener, *service, served, serve.host);
  std::thread accepting([&listener] { listener.serve(); });
  wait_for_interrupt(*service);
  write_error("flashmoe: stopping\n");
  listener.end();
  accepting.join();
  tell_notes(*service);
  tell_trace_end(serve.engine.trace, service->stop());
  return kExitOk;
}

}  // namespace

Command add_serve(CLI::App& cli) {
  auto serve = std::make_shared<ServeOptions>();
  CLI::App* options = cli.add_subcommand("serve", "Serve a model over HTTP, as OpenAI and Anthropic do");
  add_network_options(*options, *serve);
  add_service_options(*options, serve->service);
  add_chat_template(*options, serve->engine);
  add_trace_options(*options, serve->engine.trace);
  add_model_options(*options, serve->engine);
  options->footer(kFooter);
  return {options, [serve] { return run_server(*serve); }};
}

}  // namespace flashmoe
