"""flashmoe run and serve --trace, trace, simulate, report: the figures hang together, and what is no trace is refused."""
import html.parser
import json
import re
import subprocess
import sys
import threading
import time
import unittest

from flashmoe_cli import BINARY, SOURCE_DIR, Case, flashmoe, smallest_ram
from flashmoe_server import Server
from terminal_session import errors_on_terminal

VOID = {"meta"}


class WellFormed(html.parser.HTMLParser):
    """Collects open elements and every reference to something outside."""

    def __init__(self):
        super().__init__()
        self.open, self.outside, self.n_charts = [], [], 0

    def handle_starttag(self, tag, attributes):
        self.n_charts += tag == "svg"
        self.outside += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()


class Trace(Case):
    def record(self, name, *arguments):
        """Path of the trace of a streamed run, and the run's statistics."""
        path = self.folder / name
        _, statistics = self.statistics("--trace", path, "--experts", "streamed", "--ram", f"{smallest_ram() + 3}M",
                                        "--ctx", 512, "--learn", "off", "-p", "Explain quantum computing.", *arguments)
        return path, statistics

    def test_record_read_and_simulate(self):
        path, statistics = self.record("a.trace", "--read-ahead", "off", "--trace-guesses", "-n", 60)
        read = json.loads(self.assert_done(flashmoe("trace", path, "--json")).out)
        self.assertAlmostEqual(read["recorded_hit_rate"], statistics["cache"]["hit_rate"])
        self.assertEqual((read["n_layers"], read["n_experts"], read["n_used"]), (8, 16, 4))
        for name in ("temporal", "co-occurrence", "next-layer router"):
            self.assertGreater(read["predictors"][name]["caught"], 0)
        again, more = json.loads(self.assert_done(flashmoe("simulate", path, "--json", "--cache", "+0M,+4M")).out)
        self.assertAlmostEqual(again["hit_rate"], statistics["cache"]["hit_rate"], delta=0.01)
        self.assertGreater(more["hit_rate"], again["hit_rate"])
        self.assertGreater(more["tok_per_s"], again["tok_per_s"])
        for page in (flashmoe("trace", path), flashmoe("simulate", path)):
            self.assertLessEqual(max(map(len, self.assert_done(page).out.splitlines())), 80, page.out)
            self.assertEqual(page.err, "")

    def test_of_a_service(self):
        path = self.folder / "served.trace"
        server = Server("--trace", path, "--parallel", 2, "--experts", "streamed", "--ctx", 1024)
        self.addCleanup(server.process.kill)

        def ask(text):
            body = {"messages": [{"role": "user", "content": text}], "max_tokens": 40}
            self.assertEqual(server.post("/v1/chat/completions", body)[0], 200)

        askers = [threading.Thread(target=ask, args=(text,)) for text in ("Explain quantum computing.", "Who are you?")]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        time.sleep(1.1)
        ask("What is a cat?")  # what waited for more than a second is written with the next step
        self.assert_fails(flashmoe("trace", path), 1, "still being written", "--unfinished")
        live = json.loads(self.assert_done(flashmoe("trace", path, "--unfinished", "--json")).out)
        self.assertGreaterEqual(live["sequences"], 2)
        self.assertEqual(server.stop(), 0)  # by Ctrl-C
        whole = json.loads(self.assert_done(flashmoe("trace", path, "--json")).out)
        self.assertIn(whole["sequences"], range(3, 7))  # an answer that is read as history is one of its own
        self.assertGreaterEqual(whole["tokens"], live["tokens"])
        simulated = json.loads(self.assert_done(flashmoe("simulate", path, "--json")).out)[0]
        self.assertAlmostEqual(simulated["hit_rate"], whole["recorded_hit_rate"], delta=0.01)
        self.assert_done(flashmoe("report", path, "-o", self.folder / "x.html"))
        self.assert_fails(flashmoe("serve", "--trace-scores"), 2, "--trace FILE")
        self.assert_fails(flashmoe("serve", "--trace", self.folder / "no" / "t"), 1, "no/t")

    def test_report(self):
        path, _ = self.record("<a & b>.trace", "-n", 60)
        picks = self.folder / "picks.jsonl"
        picks.write_text("".join(f'{{"layers": [[{i % 8}, 8], [{i % 5}, 9]]}}\n' for i in range(50)), encoding="utf-8")
        page = self.folder / "report.html"
        self.assertEqual(self.assert_done(flashmoe("report", path, picks, "-o", page)).out, "")
        text = page.read_text(encoding="utf-8")
        parser = WellFormed()
        parser.feed(text)
        self.assertEqual((parser.open, parser.outside), ([], []))
        self.assertGreaterEqual(parser.n_charts, 10)
        self.assertNotIn("nan", text)
        self.assertIn("&lt;a &amp; b&gt;.trace", text)

    def test_what_is_no_trace(self):
        path, _ = self.record("a.trace", "-n", 10)
        cut = self.folder / "cut.trace"
        cut.write_bytes(path.read_bytes()[:-50])
        foreign = self.folder / "foreign"
        foreign.write_bytes(b"GGUF" + bytes(1000))
        for command in (["trace"], ["simulate"], ["report", "-o", self.folder / "x.html"]):
            self.assert_fails(flashmoe(*command, cut), 1, cut, "cut short")
            self.assert_fails(flashmoe(*command, foreign), 1, foreign, "not a routing trace")
            self.assert_fails(flashmoe(*command, self.folder / "absent"), 1, "absent")
        self.assertFalse((self.folder / "x.html").exists())

    def test_a_limit_that_ends_the_recording(self):
        path = self.folder / "short.trace"
        arguments = ["run", "--quiet", "-p", "hi", "-n", 40, "--trace", path]
        self.assert_fails(flashmoe(*arguments, "--trace-limit", 1), 2, "--trace-limit 1 B", "raise it")
        self.assertFalse(path.exists())
        run = self.assert_done(flashmoe(*arguments, "--trace-limit", "4K"))
        told = re.fullmatch(rf"flashmoe: note: {path}: recording ended at --trace-limit, after (\d+) tokens\n", run.err)
        self.assertIsNotNone(told, run.err)
        read = json.loads(self.assert_done(flashmoe("trace", path, "--json")).out)
        self.assertEqual((read["tokens"], read["full"]), (int(told[1]), True))
        self.assertEqual(self.assert_done(flashmoe(*arguments)).err, "")

    def test_what_a_trace_tells_itself_is_not_asked_for(self):
        path, _ = self.record("a.trace", "-n", 20)
        for option, value in (("--expert-size", "3M"), ("--compute", 5)):
            self.assert_fails(flashmoe("trace", path, option, value), 2, option, path, "simulate")
            self.assert_fails(flashmoe("report", path, "-o", self.folder / "x.html", option, value), 2, option)
            self.assert_done(flashmoe("simulate", path, option, value))
        picks = self.folder / "picks.jsonl"  # which does not tell it
        picks.write_text('{"layers": [[1, 8], [2, 9]]}\n' * 40, encoding="utf-8")
        self.assert_done(flashmoe("report", path, picks, "-o", self.folder / "x.html", "--expert-size", "3M", "--compute", 5))
        self.assertIn("would bring: --disk, --expert-size, --compute.", self.assert_done(flashmoe("trace", picks)).out)
        told = self.assert_done(flashmoe("trace", picks, "--expert-size", "3M", "--compute", 5)).out
        self.assertIn("would bring: --disk.", told)

    def test_the_last_layer_has_no_next_one(self):
        path, _ = self.record("a.trace", "-n", 20)
        lines = self.assert_done(flashmoe("trace", path)).out.splitlines()
        last = next(line for line in lines if line.startswith("  7 "))
        self.assertEqual(last.split()[-1], "-")
        layers = json.loads(flashmoe("trace", path, "--json").out)["layers"]
        self.assertEqual([layer["next_layer"] is None for layer in layers], [False] * 7 + [True])

    def test_usage(self):
        self.assert_fails(flashmoe("run", "-p", "x", "--trace-guesses"), 2, "--trace FILE")
        self.assert_fails(flashmoe("run", "-p", "x", "--trace", self.folder / "no" / "t"), 1, "no/t")
        full = flashmoe("run", "-p", "x", "--quiet", "--trace", "/dev/full")  # told when the answer was given
        self.assertEqual(full.code, 1)
        self.assertIn("/dev/full", full.err)
        for bad in (["--cache", "8X"], ["--cache", "0%"], ["--disk", "0"], ["--policy", "fifo"], ["--ram-speed", "a"]):
            self.assert_fails(flashmoe("simulate", "t", *bad), 2, bad[0], bad[1])
        for bad in ("0", "101"):
            self.assert_fails(flashmoe("trace", "t", "--cache-share", bad), 2, "above 0, and at most 100")

    def test_progress_counts_steps_and_leaves_no_trace(self):
        path, _ = self.record("a.trace", "-n", 200)
        for command in ("trace", "simulate"):
            code, out, shown = errors_on_terminal([BINARY, command, path])
            self.assertEqual(code, 0)
            self.assertNotIn(b"\x1b", out)
            self.assertRegex(shown, rb"^\r[a-z ]+  [\d,]+ of [\d,]+ steps")
            self.assertTrue(shown.endswith(b"\r\x1b[K"), shown[-80:])

    def test_opening_is_shown_where_all_must_be_looked_through(self):
        path = self.folder / "picks.jsonl"
        path.write_text('{"layers": [[1, 8], [2, 9]]}\n' * 150_000, encoding="utf-8")
        code, _, shown = errors_on_terminal([BINARY, "trace", path])
        self.assertEqual(code, 0)
        self.assertRegex(shown, rb"^\ropening  [\d.]+ MB of 4.35 MB")

    def test_progress_plot(self):
        prefix = self.folder / "progress"
        tool = [sys.executable, SOURCE_DIR / "tools" / "progress.py", "-o", prefix]
        subprocess.run(tool, check=True, capture_output=True)
        drawn = prefix.with_suffix(".svg").read_text(encoding="utf-8")
        self.assertIn("</svg>", drawn)
        self.assertEqual(drawn.count("h10v10h-10z"), 1, "the other engine's mark has a shape of its own")
        bad = self.folder / "bad.tsv"
        bad.write_text("a\tb\n", encoding="utf-8")
        binary = self.folder / "binary.tsv"
        binary.write_bytes(b"\xff\xfe")
        for wrong in ([bad], [binary], [self.folder / "absent.tsv"], ["-o", self.folder / "absent" / "x"]):
            run = subprocess.run([*tool, *wrong], check=False, capture_output=True)
            self.assertEqual(run.returncode, 1)
            self.assertEqual(run.stderr.count(b"\n"), 1, run.stderr)


if __name__ == "__main__":
    unittest.main()
