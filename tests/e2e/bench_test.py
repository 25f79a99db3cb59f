"""flashmoe bench: the figures hang together, and nothing but them goes to standard output."""
import json
import os
import unittest

from flashmoe_cli import MODEL, Case, flashmoe, smallest_ram, start

SHORT = ["--prompt-tokens", 70, "--gen-tokens", 8, "--repeat", 2]


class Bench(Case):
    def bench(self, *arguments):
        run = self.assert_done(flashmoe("bench", "--json", *SHORT, *arguments))
        self.assertEqual(run.err, "")
        return json.loads(run.out)

    def test_in_memory(self):
        report = self.bench("--threads", 1)
        decode, roofs = report["decode"], report["roofs"]
        for phase, tokens in (("prefill", 70), ("decode", 8)):
            self.assertEqual(report[phase]["tokens"], tokens)
            self.assertGreater(report[phase]["tok_per_s"], 0)
            self.assertGreaterEqual(report[phase]["spread"], 0)
            self.assertEqual((report[phase]["hit_rate"], report[phase]["bytes_missed_per_token"]), (1, 0))
        share = decode["tok_per_s"] * decode["bytes_per_token"] / roofs["ram_gb_per_s"] / 1e9
        self.assertAlmostEqual(decode["ram_roof_share"], share, delta=share / 2)  # a median of shares
        self.assertIsNone(decode["disk_roof_share"])
        self.assertIsNone(roofs["disk_gb_per_s"])
        self.assertGreater(roofs["int8_tops"], 0)
        self.assertEqual((report["threads"], report["experts"], report["repetitions"]), (1, "resident", 2))
        self.assertEqual(report["model"]["file_bytes"], MODEL.stat().st_size)
        self.assertGreater(report["model"]["format_bytes"]["Q4_K"], 0)
        self.assertLess(report["memory"]["peak_bytes"], report["memory"]["budget_bytes"])

    def test_streamed(self):
        report = self.bench("--experts", "streamed", "--ram", f"{smallest_ram()}M", "--ctx", 128)
        decode = report["decode"]
        self.assertEqual(report["experts"], "streamed")
        self.assertIn("depth", report["io_mode"])
        self.assertLess(decode["hit_rate"], 1)
        self.assertLess(report["memory"]["peak_bytes"], report["memory"]["budget_bytes"])  # looks at the disk left out
        share = decode["tok_per_s"] * decode["bytes_missed_per_token"] / report["roofs"]["disk_gb_per_s"] / 1e9
        self.assertAlmostEqual(decode["disk_roof_share"], share, delta=share / 2)

    def test_tells_what_smaller_caches_would_hit(self):
        fresh = {"env": {**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache")}}
        small = ["--experts", "streamed", "--ram", f"{smallest_ram() + 6}M", "--ctx", 128]
        tokens = ["--prompt-tokens", 70, "--gen-tokens", 48]

        def forecast():
            return json.loads(self.assert_done(flashmoe("plan", "--json", *tokens, *small, **fresh)).out)

        usual = forecast()
        self.assertLess(usual["cache_share"], 1)
        self.assertEqual(usual["hit_rate_source"], "usual for this share of experts")
        self.assert_done(flashmoe("bench", *tokens, "--repeat", 2, **fresh))  # all in memory
        told = forecast()
        self.assertEqual(told["hit_rate_source"], "from benchmarks of this model")
        had = json.loads(self.assert_done(flashmoe("bench", "--json", *tokens, *small, **fresh)).out)["decode"]
        self.assertAlmostEqual(told["hit_rate"], had["hit_rate"], delta=0.1)

    def test_for_people(self):
        for more in ([], ["--experts", "streamed"]):
            page = self.assert_done(flashmoe("bench", *SHORT, *more)).out
            self.assertLessEqual(max(map(len, page.splitlines())), 80, page)
            for part in ("prefill", "decode", "warm-up", "RAM", "int8", "spark.gguf"):
                self.assertIn(part, page)

    def test_one_repetition_has_no_spread(self):
        page = self.assert_done(flashmoe("bench", "--prompt-tokens", 8, "--gen-tokens", 4, "--repeat", 1)).out
        self.assertRegex(page, r"prefill +\d+ +[\d.]+ +- ")

    def test_a_context_that_is_too_small(self):
        self.assert_fails(flashmoe("bench", *SHORT, "--ctx", 75), 2, "70", "75", "--ctx")
        self.assert_fails(flashmoe("bench", *SHORT, "--ctx", 60), 2, "70", "60")
        for prompt, gen in ((9000, 64), (8192, 1), (8000, 193)):
            self.assert_fails(flashmoe("bench", "--prompt-tokens", prompt, "--gen-tokens", gen), 2, prompt, gen, "8192")

    def test_values(self):
        for option, bad in (("--repeat", 0), ("--repeat", "x"), ("--gen-tokens", 0), ("--prompt-tokens", "1.5")):
            self.assert_fails(flashmoe("bench", option, bad), 2, option)

    def test_interrupt(self):
        self.assert_interrupted(start("bench", "--gen-tokens", 4000, "--repeat", 1000), after=1.5)


if __name__ == "__main__":
    unittest.main()
