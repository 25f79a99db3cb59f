"""flashmoe plan and doctor: nothing is loaded, the figures hang together, pages fit."""
import json
import shutil
import unittest

from flashmoe_cli import MODEL, Case, flashmoe, start


class Plan(Case):
    def plan(self, *arguments):
        return json.loads(self.assert_done(flashmoe("plan", "--json", *arguments)).out)

    def test_streamed(self):
        plan = self.plan("--experts", "streamed", "--hit-rate", 50)
        decode = plan["decode"]
        self.assertEqual((plan["experts"], plan["hit_rate"]), ("streamed", 0.5))
        self.assertAlmostEqual(decode["warm_tok_per_s"] * (decode["compute_s"] + decode["disk_wait_s"]), 1)
        self.assertLess(decode["cold_tok_per_s"], decode["warm_tok_per_s"])
        self.assertGreater(plan["prefill"]["tok_per_s"], 0)
        memory = plan["memory"]
        self.assertEqual(sum(a["bytes"] for a in memory["allotments"]), memory["budget_bytes"])
        self.assertLessEqual(memory["budget_bytes"], memory["limit_bytes"])
        lenders = sum(a["bytes"] for a in memory["allotments"] if a["name"] in ("kv_cache", "delta_state", "workspace"))
        self.assertTrue(0 <= memory["lent_bytes"] < lenders)

    def test_resident(self):
        plan = self.plan("--ctx", 1024)
        self.assertEqual((plan["experts"], plan["context_tokens"]), ("resident", 1024))
        self.assertEqual(plan["decode"]["cold_tok_per_s"], plan["decode"]["warm_tok_per_s"])
        self.assertIsNone(plan["roofs"]["disk_gb_per_s"])
        self.assertEqual(plan["memory"]["lent_bytes"], 0)

    def test_for_people(self):
        for more in ([], ["--experts", "streamed", "--ram", "100M"]):
            page = self.assert_done(flashmoe("plan", *more)).out
            self.assertLessEqual(max(map(len, page.splitlines())), 80, page)
            for part in ("trunk", "expert_cache", "decode", "prefill", "tok/s"):
                self.assertIn(part, page)

    def test_below_the_floor(self):
        run = flashmoe("plan", "--ram", "10M")
        self.assertEqual((run.code, run.out), (3, ""))
        self.assertIn("at least", run.err)

    def test_interrupt(self):
        self.assert_interrupted(start("plan", "--experts", "streamed"), after=0.3)

    def test_values(self):
        self.assert_fails(flashmoe("plan", "--hit-rate", 101), 2, "--hit-rate")
        self.assert_fails(flashmoe("plan", "--prompt-tokens", 8193), 2, "--prompt-tokens", "8192")
        self.assert_fails(flashmoe("plan", "--ctx", 64), 2, "512", "--ctx")
        self.assert_done(flashmoe("plan", "--ctx", 512))  # of an answer as much as fits
        self.assert_fails(flashmoe("plan", "-m", self.folder / "gone.gguf"), 1, "gone.gguf")


class Doctor(Case):
    def examine(self, *arguments):
        run = flashmoe("doctor", "--json", *arguments)
        report = json.loads(run.out)
        self.assertEqual(run.code, 0 if report["healthy"] else 1)
        self.assertEqual(report["healthy"], all(f["verdict"] != "problem" for f in report["findings"]))
        for finding in report["findings"]:
            self.assertEqual(finding["verdict"] == "good", finding["mend"] == "", finding)
        return {finding["what"]: finding for finding in report["findings"]}, report

    def test_the_machine(self):
        findings, _ = self.examine()
        self.assertLessEqual({"cpu", "memory", "huge pages", "io_uring", "RAM speed"}, set(findings))

    def test_a_model(self):
        findings, report = self.examine("-m", MODEL)
        self.assertEqual(findings["model"]["verdict"], "good")
        self.assertGreater(report["decode_tok_per_s"], 0)

    def test_a_cut_off_file(self):
        cut = self.folder / "cut.gguf"
        cut.write_bytes(MODEL.read_bytes()[:-1000])
        findings, report = self.examine("-m", cut)
        self.assertFalse(report["healthy"])
        self.assertEqual(findings["model"]["verdict"], "problem")
        self.assertIn("fetch", findings["model"]["mend"])

    def test_for_people(self):
        shutil.copy(MODEL, self.folder / "m.gguf")
        (self.folder / "m.gguf.part").write_bytes(b"")
        run = flashmoe("doctor", "-m", self.folder)
        self.assertEqual(run.code, 1)
        self.assertLessEqual(max(map(len, run.out.splitlines())), 80, run.out)
        self.assertIn("m.gguf.part", run.out)
        self.assertIn("mend:", run.out)


if __name__ == "__main__":
    unittest.main()
