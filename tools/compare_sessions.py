#!/usr/bin/env python3
"""Several answers of one flashmoe serve at once beside the same answers one after the other, in turn.

compare_sessions.py -m MODEL [--ram SIZE] [--sessions N] [--gen-tokens N] [--rounds K] [--threads N] [--read-ahead CHOICE] [--io MODE]
One server, both ways by turns. The first round, which also compares log probabilities, is a warm-up. Every answer must be the same
text alone and beside others. "decode": the server's decode_seconds_total, which leaves out the prompts' share of a step.
"""
import argparse
import concurrent.futures
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

DEFAULT_BINARY = Path(__file__).resolve().parent.parent / "build" / "release" / "bin" / "flashmoe"
PROMPTS = ["hello there my old friend of mine", "the weather in the mountains was cold", "a short history of the printing press",
           "how do birds find their way home", "seven ships sailed out of the harbour", "what is a prime number good for",
           "the cook put salt into the soup", "my uncle repairs clocks and old radios"]
COUNTERS = {"looked up": "expert_hits_total", "missed": "expert_misses_total", "waited": "read_wait_seconds_total",
            "busy": "read_busy_seconds_total", "guessed": "expert_guessed_total", "came true": "expert_guesses_used_total",
            "decode": "decode_seconds_total"}
STAGES = ["embed", "norm", "mix", "route", "fetch", "experts", "logits"]
RATES = ["all, tok/s", "decode, tok/s"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--ram", default="8G")
    parser.add_argument("--sessions", type=int, default=4, choices=range(2, len(PROMPTS) + 1), metavar="N", help="2 to 8; default 4")
    parser.add_argument("--gen-tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--read-ahead", default="auto")
    parser.add_argument("--io", default="auto")
    parser.add_argument("--binary", default=str(DEFAULT_BINARY))
    return parser.parse_args()


class Server:
    def __init__(self, arguments):
        self.process = subprocess.Popen([arguments.binary, "serve", "-m", arguments.model, "--ram", arguments.ram, "--port", "0",
                                         "--parallel", str(arguments.sessions), "--threads", str(arguments.threads),
                                         "--read-ahead", arguments.read_ahead, "--io", arguments.io],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.url = None
        for line in self.process.stderr:
            print(line, end="", file=sys.stderr)
            if found := re.search(r"served on (\S+)/", line):
                self.url = found.group(1)
            if "of context" in line:
                break
        if self.url is None:
            sys.exit("the server did not start")

    def get(self, path):
        with urllib.request.urlopen(self.url + path) as response:
            return response.read().decode()

    def ask(self, prompt, n_tokens, logprobs):
        body = {"prompt": prompt, "max_tokens": n_tokens, "temperature": 0, **({"logprobs": 2} if logprobs else {})}
        request = urllib.request.Request(self.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            answer = json.load(response)
        return answer["choices"][0]["text"], answer["choices"][0]["logprobs"], answer["usage"]["completion_tokens"]

    def counters(self):
        text = self.get("/metrics")
        found = {name: float(re.search(rf"^flashmoe_{key} (\S+)", text, re.M).group(1)) for name, key in COUNTERS.items()}
        for stage, seconds in re.findall(r'^flashmoe_stage_seconds_total{.*stage="(\w+)"} (\S+)', text, re.M):
            found[stage] = found.get(stage, 0) + float(seconds)
        return found

    def stop(self):
        self.process.terminate()
        self.process.communicate()


def turn(server, prompts, n_tokens, at_once, logprobs):
    """All answers, and what they took."""
    before = server.counters()
    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(len(prompts) if at_once else 1) as clients:
        answers = list(clients.map(lambda prompt: server.ask(prompt, n_tokens, logprobs), prompts))
    seconds = time.perf_counter() - start
    took = {name: value - before.get(name, 0) for name, value in server.counters().items()}
    n_tokens = sum(n for _, _, n in answers)
    took["all, tok/s"], took["decode, tok/s"] = n_tokens / seconds, n_tokens / took["decode"]
    stages = ", ".join(f"{name} {took[name]:.1f}" for name in STAGES if name in took)
    print(f"{'at once' if at_once else 'in turn'}: {took['all, tok/s']:.2f} tok/s, {seconds:.1f} s; decode {took['decode, tok/s']:.2f} tok/s, {took['decode']:.1f} s\n"
          f"    {took['looked up'] + took['missed']:.0f} experts looked up, {took['missed']:.0f} missed; {took['guessed']:.0f} guesses, {took['came true']:.0f} came true; "
          f"drive busy {took['busy']:.1f} s, waited for {took['waited']:.1f} s\n    seconds in {stages}", flush=True)
    return [answer[:2] for answer in answers], took


def main():
    arguments = parse_arguments()
    prompts = PROMPTS[:arguments.sessions]
    server = Server(arguments)
    print("reads by " + json.loads(server.get("/props"))["io_mode"])
    ratios = {rate: [] for rate in RATES}
    try:
        for number in range(arguments.rounds + 1):
            order = (False, True) if number % 2 == 0 else (True, False)
            rounds = {at_once: turn(server, prompts, arguments.gen_tokens, at_once, number == 0) for at_once in order}
            if rounds[False][0] != rounds[True][0]:
                sys.exit("an answer beside others differs from the same answer alone")
            if number > 0:
                for rate in RATES:
                    ratios[rate].append(rounds[True][1][rate] / rounds[False][1][rate])
                print("at once / in turn: " + "; ".join(f"{rate} {ratios[rate][-1]:.2f}" for rate in RATES), flush=True)
                print("read ahead: " + json.loads(server.get("/props"))["read_ahead"], flush=True)
    finally:
        server.stop()
    print(f"medians of {arguments.rounds} rounds: " + "; ".join(f"{rate} {statistics.median(ratios[rate]):.2f}" for rate in RATES) + "; all answers the same")


if __name__ == "__main__":
    main()
