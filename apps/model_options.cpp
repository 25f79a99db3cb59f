#include "model_options.h"

#include <array>
#include <filesystem>
#include <limits>

#include "flashmoe/engine.h"
#include "flashmoe/error.h"
#include "option_values.h"

namespace flashmoe {
namespace {

constexpr const char* kGroup = "Memory and speed";

void add_reading_options(CLI::App& cli, EngineOptions& options) {
  add_choice<VerifyChoice>(
      cli, "--verify-reads", options.verify_reads,
      {{"first", VerifyChoice::first}, {"always", VerifyChoice::always}, {"never", VerifyChoice::never}},
      "When checksums of a packed folder's weights are compared, those of experts and of what every token needs; "
      "default: at the first read of each")
      ->group(kGroup);
  add_choice<ReadAheadChoice>(
      cli, "--read-ahead", options.read_ahead,
      {{"auto", ReadAheadChoice::automatic}, {"on", ReadAheadChoice::on}, {"off", ReadAheadChoice::off}},
      "Read what the next layer will probably pick while the disk is idle; default: if a trial "
      "while decoding shows that it pays")
      ->group(kGroup);
  add_choice<bool>(cli, "--learn", options.learn, {{"on", true}, {"off", false}},
                   "Remember which experts are used, in the user's cache folder, so that the next start is warm; "
                   "default: on")
      ->group(kGroup);
  add_choice<IoChoice>(cli, "--io", options.io,
                       {{"auto", IoChoice::automatic},
                        {"uring", IoChoice::uring},
                        {"pread", IoChoice::pread},
                        {"buffered", IoChoice::buffered}},
                       "How weights are read: io_uring or threads past the page cache, or through it; default: by a "
                       "short trial of the drive")
      ->group(kGroup);
  cli.add_option("--mirror", options.mirrors,
                 "A folder on another drive with copies of the model's files, to read from both; may be given again")
      ->option_text("DIR")
      ->take_all()
      ->allow_extra_args(false)
      ->check(not_empty)
      ->group(kGroup);
}

std::string about_model(const std::string& otherwise) {
  return "A .gguf file (any part of a split), or a folder of safetensors or that flashmoe pack wrote; default: " +
         otherwise;
}

}  // namespace

void add_model_path(CLI::App& cli, std::string& path) {
  cli.add_option("-m,--model", path, about_model("the built-in model"))->option_text("MODEL")->check(not_empty);
}

void add_model_options(CLI::App& cli, EngineOptions& options) {
  constexpr int kNoLimit = std::numeric_limits<int>::max();
  add_model_path(cli, options.model_path);

  add_size(cli, "--ram", options.ram_bytes,
           "Most memory to use in all, such as 8G; default: what the cgroup and the machine have free")
      ->group(kGroup);
  add_number(cli, "--threads", options.n_threads, 1, 1024, "Threads; default: the CPUs this process may use")
      ->group(kGroup);
  add_number(cli, "--ctx", options.context_tokens, 1, kNoLimit,
             "Longest prompt and answer in tokens; default: 16384 or what the prompt needs, at most the model's own")
      ->group(kGroup);
  add_number(cli, "--prefill-chunk", options.prefill_chunk, 1, 65536,
             "Prompt tokens per step, rounded up to a multiple of 64; default: chosen by the memory plan")
      ->group(kGroup);
  cli.add_flag("--exact", options.exact, "Keep activations in 32-bit floats from end to end: slower")->group(kGroup);
  add_choice<KernelChoice>(cli, "--kernels", options.kernels,
                           {{"auto", KernelChoice::automatic},
                            {"scalar", KernelChoice::scalar},
                            {"avx2", KernelChoice::avx2},
                            {"avxvnni", KernelChoice::avxvnni},
                            {"avx512", KernelChoice::avx512},
                            {"neon", KernelChoice::neon}},
                           "Instruction set; default: the best this machine runs")
      ->group(kGroup);
  add_choice<ExpertsChoice>(
      cli, "--experts", options.experts,
      {{"auto", ExpertsChoice::automatic},
       {"resident", ExpertsChoice::resident},
       {"streamed", ExpertsChoice::streamed}},
      "Keep all experts in memory, or read them when they are picked; default: resident if they fit")
      ->group(kGroup);
  add_choice<KvChoice>(
      cli, "--kv", options.kv,
      {{"auto", KvChoice::automatic}, {"f16", KvChoice::f16}, {"q8", KvChoice::q8}, {"f32", KvChoice::f32}},
      "Numbers in the attention cache; default: f16, in a context above 16384 tokens q8, with --exact f32")
      ->group(kGroup);
  add_reading_options(cli, options);
}

CLI::Option* add_chat_template(CLI::App& cli, EngineOptions& options) {
  return cli
      .add_option("--chat-template", options.chat_template_path,
                  "A Jinja file to write prompts with; default: the model's own template")
      ->option_text("FILE")
      ->check(not_empty);
}

void make_model_optional(CLI::App& cli, const std::string& instead) {
  CLI::Option* model = cli.get_option("--model")->description(about_model(instead));
  const auto about_a_model = [](const CLI::Option* option) {
    return option->get_group() == kGroup && !option->check_lname("ram") && !option->check_lname("threads");
  };
  for (CLI::Option* option : cli.get_options(about_a_model)) option->needs(model);
}

std::vector<std::string> files_of(const ModelReport& model) {
  namespace fs = std::filesystem;
  constexpr std::array kBesideWeights = {"config.json",           "manifest.json",          "tokenizer.json",
                                         "tokenizer_config.json", "generation_config.json", "chat_template.jinja"};
  std::vector<std::string> files = model.files;
  std::error_code error;
  if (!fs::is_directory(model.path, error)) return files;
  for (const char* name : kBesideWeights) files.push_back((fs::path(model.path) / name).string());
  for (fs::directory_iterator entry(model.path, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with(".safetensors.index.json")) files.push_back(entry->path().string());
  }
  return files;
}

std::string model_or_builtin(const std::string& path) {
  if (!path.empty()) return path;
  std::string builtin = builtin_model_path();
  if (builtin.empty()) {
    throw Error(Fault::input,
                "the built-in model is not installed (share/flashmoe/models/spark beside the binary's folder); "
                "name a model with -m");
  }
  return builtin;
}

}  // namespace flashmoe
