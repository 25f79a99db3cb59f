"""flashmoe moe-bench: the figures hang together, parts of a model are told, a trace is replayed."""
import json
import unittest

from flashmoe_cli import QUESTION, Case, flashmoe, smallest_ram, start

SHORT = ["--repeat", 2]


class MoeBench(Case):
    def bench(self, *arguments, tokens=20):
        run = self.assert_done(flashmoe("moe-bench", "--json", *SHORT, "--tokens", tokens, *arguments))
        self.assertEqual(run.err, "")
        return json.loads(run.out)

    def test_in_memory(self):
        report = self.bench("--threads", 1)
        cold, warm = report["cold"], report["warm"]
        self.assertEqual((report["experts"], report["threads"], report["layers"], report["picks_per_layer"]),
                         ("resident", 1, 8, 4))
        self.assertTrue(report["whole_model"])
        self.assertEqual((warm["hit_rate"], warm["bytes_missed_per_token"], warm["disk_roof_share"]), (1, 0, None))
        self.assertLess(cold["hit_rate"], 1)
        self.assertGreater(cold["io_gb_per_s"], 0)
        for phase in (cold, warm):
            self.assertEqual(phase["tokens"], 20)
            self.assertGreater(phase["tok_per_s"], 0)
            self.assertGreater(phase["ram_roof_share"], 0)
        self.assertFalse(report["roofs"]["ram_measured_once"])  # so small a model leaves the room

    def test_streamed(self):
        small = ["--experts", "streamed", "--ram", f"{smallest_ram()}M", "--ctx", 128]
        report = self.bench(*small)
        self.assertEqual(report["experts"], "streamed")
        self.assertTrue(report["roofs"]["ram_measured_once"])
        cold = report["cold"]  # a single repetition
        self.assertAlmostEqual(cold["ram_roof_share"], cold["compute_gb_per_s"] / report["roofs"]["ram_gb_per_s"])
        for phase in (report["cold"], report["warm"]):
            self.assertLess(phase["hit_rate"], 1)
            self.assertGreater(phase["disk_roof_share"], 0)
            self.assertGreater(phase["ram_roof_share"], 0)

    def test_parts_of_the_model(self):
        report = self.bench("--layers", "0-2,5", "--k", 2)
        self.assertEqual((report["layers"], report["picks_per_layer"], report["whole_model"]), (4, 2, False))
        page = self.assert_done(flashmoe("moe-bench", *SHORT, "--layers", "0-2,5", "--k", 2)).out
        self.assertIn("neither is the whole model's", page)

    def test_a_trace(self):
        trace = self.folder / "run.trace"
        self.ask("-n", 30, "-p", QUESTION, "--trace", trace)
        report = self.bench("--trace", trace, tokens=9)
        self.assertEqual(report["trace_rounds"], 0)
        self.assertIn(str(trace), report["picks"])
        page = self.assert_done(flashmoe("moe-bench", "--trace", trace, "--tokens", 50)).out
        self.assertIn("began anew", page)
        self.assert_fails(flashmoe("moe-bench", "--trace", trace, "--k", 5), 1, trace, "4 picks")
        self.assert_fails(flashmoe("moe-bench", "--trace", trace, "--seed", 5), 2, "--seed")

    def test_for_people(self):
        for more in ([], ["--experts", "streamed", "--ram", f"{smallest_ram()}M"]):
            page = self.assert_done(flashmoe("moe-bench", *SHORT, *more)).out
            self.assertLessEqual(max(map(len, page.splitlines())), 80, page)
            for part in ("cold", "warm", "GB/s", "bound", "spark.gguf"):
                self.assertIn(part, page)
            self.assertEqual("before the first repetition only" in page, bool(more))

    def test_values(self):
        for option, bad in (("--repeat", 0), ("--k", 0), ("--tokens", "x"), ("--layers", "3-1"), ("--layers", "1,"),
                            ("--layers", 8), ("--k", 17)):
            self.assert_fails(flashmoe("moe-bench", option, bad), 2, option)
        self.assert_fails(flashmoe("moe-bench", "--trace", self.folder / "absent"), 1, "absent")

    def test_interrupt(self):
        self.assert_interrupted(start("moe-bench", "--tokens", 100000, "--repeat", 1000), after=1.5)


if __name__ == "__main__":
    unittest.main()
