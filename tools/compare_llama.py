#!/usr/bin/env python3
"""flashmoe bench beside llama.cpp (pip install llama-cpp-python): the same GGUF, threads and token counts, in turn.

compare_llama.py -m MODEL.gguf [--prompt-tokens N] [--gen-tokens N] [--repeat R] [--threads N] [--rounds K]
Each program has the machine to itself: it loads, runs once to warm up and R times measured, and ends.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

DEFAULT_BINARY = Path(__file__).resolve().parent.parent / "build" / "release" / "bin" / "flashmoe"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--gen-tokens", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=1, help="how often both programs take their turn")
    parser.add_argument("--binary", default=str(DEFAULT_BINARY))
    parser.add_argument("--llama-alone", action="store_true", help=argparse.SUPPRESS)  # one turn, JSON to stdout
    return parser.parse_args()


def run_llama(arguments):
    """One turn of llama.cpp in this process: {"prefill": [tok/s], "decode": [tok/s], "load_s"}, warm-up first."""
    import llama_cpp
    import numpy

    start = time.perf_counter()
    context = arguments.prompt_tokens + arguments.gen_tokens + 8
    model = llama_cpp.Llama(model_path=arguments.model, n_ctx=context, n_batch=512, n_threads=arguments.threads,
                            n_threads_batch=arguments.threads, verbose=False)
    turn = {"prefill": [], "decode": [], "load_s": time.perf_counter() - start, "version": llama_cpp.__version__}
    vocabulary = model.n_vocab()

    def likeliest():  # reading the logits also waits for them
        return int(numpy.ctypeslib.as_array(model._ctx.get_logits(), shape=(vocabulary,)).argmax())

    for repetition in range(arguments.repeat + 1):
        source = random.Random(repetition)
        prompt = [source.randrange(vocabulary) for _ in range(arguments.prompt_tokens)]
        model.reset()
        start = time.perf_counter()
        model.eval(prompt)
        token = likeliest()
        middle = time.perf_counter()
        for _ in range(arguments.gen_tokens):
            model.eval([token])
            token = likeliest()
        end = time.perf_counter()
        turn["prefill"].append(arguments.prompt_tokens / (middle - start))
        turn["decode"].append(arguments.gen_tokens / (end - middle))
    return turn


def llama_turn(arguments):
    run = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--llama-alone"], check=False, capture_output=True,
                         text=True)
    if run.returncode != 0:
        sys.exit(f"llama.cpp failed:\n{run.stderr.strip()[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def flashmoe_turn(arguments):
    run = subprocess.run([arguments.binary, "bench", "-m", arguments.model, "--json",
                          "--prompt-tokens", str(arguments.prompt_tokens), "--gen-tokens", str(arguments.gen_tokens),
                          "--repeat", str(arguments.repeat), "--threads", str(arguments.threads)],
                         check=False, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(run.stderr.strip())
    return json.loads(run.stdout)


def median_and_range(values):
    return f"{statistics.median(values):8.2f}  ({min(values):.2f} to {max(values):.2f})"


def main():
    arguments = parse_arguments()
    if arguments.llama_alone:
        print(json.dumps(run_llama(arguments)))
        return
    try:
        import llama_cpp  # noqa: F401
    except ImportError:
        sys.exit("llama-cpp-python is not installed: pip install llama-cpp-python")
    llama, ours = [], []
    for number in range(arguments.rounds):
        llama.append(llama_turn(arguments))
        print(f"round {number + 1}, llama.cpp: {llama[-1]}", file=sys.stderr)
        ours.append(flashmoe_turn(arguments))
        print(f"round {number + 1}, flashmoe: {ours[-1]['prefill']} {ours[-1]['decode']} {ours[-1]['roofs']}",
              file=sys.stderr)
    print(f"{arguments.model}, {arguments.threads} threads, {arguments.rounds} rounds of {arguments.repeat} repetitions "
          f"after one to warm up\ntok/s, median and range; flashmoe's range is over the medians of its rounds")
    for phase, tokens in (("prefill", arguments.prompt_tokens), ("decode", arguments.gen_tokens)):
        theirs = [speed for turn in llama for speed in turn[phase][1:]]
        our_speeds = [turn[phase]["tok_per_s"] for turn in ours]
        print(f"{phase}, {tokens} tokens")
        print(f"  llama.cpp {median_and_range(theirs)}")
        print(f"  flashmoe  {median_and_range(our_speeds)}")
        print(f"  ratio     {statistics.median(our_speeds) / statistics.median(theirs):8.2f}")
    for name, value in (("RAM roof", "ram_roof_share"), ("disk roof", "disk_roof_share")):
        shares = [turn["decode"][value] for turn in ours if turn["decode"][value] is not None]
        if shares:
            print(f"share of the {name}, flashmoe: {statistics.median(shares):.3f}")


if __name__ == "__main__":
    main()
