// flashmoe pack: a checkpoint in, a packed folder out.
#include "flashmoe/pack.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "commands.h"
#include "flashmoe/error.h"
#include "flashmoe/wording.h"
#include "interrupt.h"
#include "option_values.h"
#include "quantities.h"
#include "terminal.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "FORMAT is keep, f32, f16, bf16, q8_0, q6_k, q5_k, q4_k, q3_k, q2_k, iq4_xs,\n"
    "iq4_nl, q4_0, mxfp4, affine8, affine4, affine3 or affine2.\n"
    "\n"
    "Examples:\n"
    "  flashmoe pack model.gguf packed               the same weights, one read each\n"
    "  flashmoe pack hf-folder packed --recipe 4bit --imatrix chats.imatrix\n"
    "  flashmoe run -m packed -p \"Hello\"";

struct Options {
  PackOptions pack;
  bool dry_run = false, verify = false, quiet = false;
  int times_to_delete = 0;
};

std::string show_plan(const PackPlan& plan) {
  std::string text;
  for (const auto& line : plan.lines) {
    text += fmt::format("{:<14}  {:<10} -> {:<10} {:>9} -> {:>9}\n", line.what, line.from, line.to,
                        human_bytes(line.source_bytes), human_bytes(line.bytes));
  }
  text += fmt::format("{:<14}  {} -> {}\n{:<14}  {}\n", "in all", human_bytes(plan.source_bytes),
                      human_bytes(plan.packed_bytes), "experts",
                      show_each(plan.expert_bytes, plan.n_experts, plan.bytes_per_expert));
  if (plan.n_layers_done > 0)
    text += fmt::format("{:<14}  {} of {} layers\n", "done before", plan.n_layers_done, plan.n_layers);
  text +=
      fmt::format("{:<14}  {} needed, {} free\n", "disk", human_bytes(plan.needed_bytes), human_bytes(plan.free_bytes));
  text += fmt::format("{:<14}  {}\n", "memory", human_bytes(plan.memory_bytes));
  for (const std::string& note : plan.notes) text += "note: " + note + "\n";
  return text;
}

std::string show_report(const PackReport& report) {
  std::string text =
      fmt::format("packed {} into {} in {:.1f} s: {:.2f} GB/s, {:.0f} % of the slowest part\n",
                  human_bytes(report.bytes_read), human_bytes(report.bytes_written), report.seconds,
                  report.seconds > 0 ? static_cast<double>(report.bytes_read) / report.seconds * 1e-9 : 0.0,
                  100 * report.share_of_slowest);
  text += fmt::format("while busy: read {:.2f} GB/s, quantiser {}, write {:.2f} GB/s\n", report.read_gb_per_s,
                      report.encode_gb_per_s > 0 ? fmt::format("{:.2f} GB/s", report.encode_gb_per_s) : "not needed",
                      report.write_gb_per_s);
  if (report.n_layers_kept > 0) text += fmt::format("{} layers were there already, and whole\n", report.n_layers_kept);
  return text;
}

void verify(const Options& options, ProgressLine& progress) {
  const uint64_t bytes = verify_pack(options.pack);
  progress.erase();
  if (!options.quiet) write_error(fmt::format("verified {}\n", human_bytes(bytes)));
}

int run(Options& options) {
  options.pack.delete_source = options.times_to_delete > 0;
  if (options.times_to_delete == 1 && !options.dry_run) {
    throw Error(Fault::usage,
                fmt::format("--delete-source-shards: deletes {} as packing goes on, for good; give it twice if that is "
                            "what you want, with --dry-run to see what would go",
                            options.pack.source));
  }
  if (options.dry_run) {
    StandardOutput().write(show_plan(plan_pack(options.pack)));
    return kExitOk;
  }
  ProgressLine progress;
  catch_interrupts();
  options.pack.keep_going = [] { return !interrupted(); };
  options.pack.on_progress = [&](const Progress& step) { progress.show(step); };
  if (options.verify && is_packed(options.pack.destination)) {
    verify(options, progress);
    return kExitOk;
  }
  if (!options.quiet) write_error(show_plan(plan_pack(options.pack)));
  const PackReport report = pack(options.pack);
  progress.erase();
  if (!options.quiet) write_error(show_report(report));
  if (options.verify) verify(options, progress);
  return kExitOk;
}

}  // namespace

Command add_pack(CLI::App& cli) {
  auto chosen = std::make_shared<Options>();
  PackOptions& pack = chosen->pack;
  CLI::App* options = cli.add_subcommand("pack", "Turn a model into the folder that streams best");
  options->add_option("SRC", pack.source, "A .gguf file, a folder of safetensors, or a packed folder")
      ->check(not_empty)
      ->required();
  options->add_option("DST", pack.destination, "The folder to write: new, empty, or begun by the same command")
      ->check(not_empty)
      ->required();
  const auto add_format = [&](const char* name, std::string& format, const char* help) {
    options->add_option(name, format, help)->option_text("FORMAT")->check(expect("a format"));
  };
  add_format("--experts", pack.experts, "Of routed experts; default: keep, byte for byte");
  add_format("--trunk", pack.trunk,
             "Of everything else; router and norms become f32, a draft head q8_0; default: keep");
  add_format("--draft-head", pack.draft_head,
             "Of the head that predicts further tokens; default: as --trunk says, else keep");
  options->add_option("--recipe", pack.recipe, "4bit, 3bit, 2bit, or a JSON file with formats by role and layer")
      ->option_text("NAME")
      ->check(expect("a recipe"));
  options
      ->add_option("--imatrix", pack.imatrix,
                   "Search scales for least error where it matters: a file of flashmoe calibrate")
      ->option_text("FILE")
      ->check(not_empty);
  options->add_option("--scale-type", pack.scale_type, "Of affine scales and biases; default: f16")
      ->option_text("f16|bf16")
      ->check(expect("f16 or bf16"));
  options->add_flag("--allow-nonfinite", pack.allow_nonfinite,
                    "Pack weights that are not finite; quantised they become 0");
  options->add_flag("--delete-source-shards", chosen->times_to_delete,
                    "Delete each file of SRC when all in it is packed and compared; must be given twice");
  add_size(*options, "--ram", pack.ram_bytes, "Most memory for what is on its way; default: 512 MiB");
  add_number(*options, "--threads", pack.n_threads, 1, 1024, "Threads; default: the CPUs this process may use");
  options->add_flag("--dry-run", chosen->dry_run, "Print what would be done, and do nothing");
  options->add_flag(
      "--verify", chosen->verify,
      "Read everything again afterwards and compare checksums; of a DST that is packed already only that");
  options->add_flag("--quiet", chosen->quiet, "Print nothing but errors");
  options->footer(kFooter);
  return {options, [chosen] { return run(*chosen); }};
}

}  // namespace flashmoe
