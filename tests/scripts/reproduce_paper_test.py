#!/usr/bin/env python3
"""scripts/reproduce_paper and measure_quality with made-up tools: what they run, keep, skip and say; and that docs/results are what is made of
their JSON."""
import copy
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCRIPT = ROOT / "scripts/reproduce_paper"
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "scripts"))
from reproduction import page, plan  # noqa: E402
from reproduction.runner import duration, shades  # noqa: E402


class Folder(unittest.TestCase):
    """A model, texts and tasks of a few bytes, and tools that are not ours."""

    tasks = ("tasks/piqa/valid.jsonl", "tasks/winogrande/dev.jsonl", "tasks/hellaswag/val.jsonl", "tasks/arc/easy.jsonl")

    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = pathlib.Path(self.temporary.name)
        for name in (*(text.file for text in plan.TEXTS.values()), *self.tasks):
            file = self.folder / "data" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"this is {name}\n" * 10)
        (self.folder / "model").mkdir()
        (self.folder / "model/weights").write_text("numbers")
        (self.folder / "bin").mkdir()
        for tool in ("quantize", "inspect", "perplexity", "eval", "bench"):
            (self.folder / f"bin/spqr-{tool}").symlink_to(HERE / "fake_tool.py")
        self.calls_file = self.folder / "calls"

    def command(self, *more):
        return [SCRIPT, "--model", self.folder / "model", "--data", self.folder / "data", "--out", self.folder / "out", "--bin",
                self.folder / "bin", *more]

    def environment(self, given):
        return {**{name: value for name, value in os.environ.items() if not name.startswith("FAKE_")}, "FAKE_CALLS": str(self.calls_file), **given}

    def run_script(self, *more, status=0, **given):
        """What it wrote to standard error, and the tools' calls."""
        self.calls_file.write_text("")
        done = subprocess.run(self.command(*more), env=self.environment(given), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(done.stdout, "")
        return done.stderr, self.calls()

    def calls(self):
        return self.calls_file.read_text().splitlines()

    def results(self):
        return json.loads((self.folder / "out/results.json").read_text())

    def page(self):
        return (self.folder / "out/results.md").read_text()

    def models_made(self, calls):
        return sorted({pathlib.Path(call.split()[2]).stem for call in calls if call.startswith("spqr-quantize")})


class Whole(Folder):
    def test_everything_is_measured_and_nothing_twice(self):
        told, calls = self.run_script("--ablations")
        self.assertIn("the others take about", told)
        self.assertEqual(len(self.models_made(calls)), len(plan.METHODS) + 1 + len(plan.ABLATIONS))
        text = self.page()
        for table in ("Table 1", "Table 2", "Table 3", "Table 4", "Figure 1", "Figure 2", "Ablations"):
            self.assertIn(table, text)
        # model, size, bits, method, three perplexities: SpQR at 3.94 bits loses 0.5 (6 - 3.94)
        self.assertRegex(text, r"\| model \| [\de.-]+ \| 3\.940 \| SpQR \| 11\.030 \| 11\.030 \| 11\.030 \|")
        self.assertRegex(text, r"\| model \| [\de.-]+ \| 4\.000 \| GPTQ \| 50\.00 ± 1\.00 \|.*\| 50\.00 \|")
        self.assertRegex(text, r"\| SpQR \| 50\.0 \(50\.0-50\.0\) \| 2\.50 \(2\.50-2\.50\) \| 25\.0 \(25\.0-25\.0\) \| 2\.50")
        self.assertIn("75.0 % in head 1 of 2", text)
        self.assertIn("`model.layers.10.mlp.down_proj`", text)
        self.assertIn("| groups of 128 | 3.000 | 0.500 % |", text)
        self.assertNotIn("The paper's own", text)
        for name, step in self.results()["steps"].items():
            for key in ("commit", "machine", "seconds", "key"):
                self.assertIn(key, step, name)
            self.assertNotIn(str(self.folder), json.dumps(step))
        again, calls = self.run_script("--ablations")
        self.assertIn("all is done already", again)
        self.assertEqual(calls, [])
        self.assertEqual(self.page(), text)

    def test_speed_takes_turns_and_turns_the_order(self):
        _, calls = self.run_script()
        order = [pathlib.Path(call.split()[2]).stem for call in calls if call.startswith("spqr-bench") and "--no-mmap" in call]
        models = ["f16", "spqr-4.6", "spqr-3.9", "spqr-3.5"]
        self.assertEqual(order, (models + models[::-1]) * 2 + models)

    def test_a_method_is_finished_before_the_next_is_begun(self):
        _, calls = self.run_script()
        models = [pathlib.Path(call.split()[2]).stem for call in calls if call.startswith(("spqr-perplexity", "spqr-eval"))]
        turns = [name for name, before in zip(models, [None] + models) if name != before]
        self.assertEqual(turns, ["f16", "spqr-4.6", "spqr-3.9", "spqr-3.5", "gptq-4", "gptq-3", "rtn-4", "rtn-3"])

    def test_what_changed_is_done_again_and_nothing_else(self):
        self.run_script()
        _, calls = self.run_script("--items", "7")
        self.assertEqual({call.split()[0] for call in calls}, {"spqr-bench", "spqr-eval"})  # the first to tell how long it takes
        self.assertEqual(sum(call.startswith("spqr-eval") for call in calls), 5 * len(plan.METHODS))
        (self.folder / "data/ptb/ptb.valid.txt").write_text("another text")
        _, calls = self.run_script("--items", "7")
        self.assertEqual({call.split()[0] for call in calls}, {"spqr-bench", "spqr-perplexity"})
        self.assertTrue(all("--dataset ptb" in call for call in calls if call.startswith("spqr-perplexity")))

    def test_other_calibration_makes_all_that_is_calibrated_again_at_once(self):
        self.run_script("--quick")
        _, calls = self.run_script("--quick", "--calibration-samples", "3")
        calibrated = [method.name for method in plan.METHODS if method.calibrated]
        self.assertEqual(self.models_made(calls), sorted(calibrated + ["sensitivity"]))
        self.assertEqual(sum(call.startswith("spqr-perplexity") for call in calls), 3 * len(calibrated))
        self.assertIn("Calibrated on 3 windows", self.page())
        again, _ = self.run_script("--quick", "--calibration-samples", "3")
        self.assertIn("all is done already", again)

    def test_a_model_that_was_deleted_is_made_again_where_it_is_read(self):
        self.run_script("--quick")
        for file in (self.folder / "out/models").iterdir():
            if file.stem != "f16":
                file.unlink()
        _, calls = self.run_script("--quick")
        self.assertEqual(calls, [])
        (self.folder / "data/tasks/piqa/valid.jsonl").write_text("other questions")
        _, calls = self.run_script("--quick")
        self.assertEqual(len(self.models_made(calls)), len(plan.METHODS) - 1)
        self.assertFalse(any(call.startswith("spqr-perplexity") for call in calls))

    def test_quick_says_so(self):
        self.run_script("--quick", "--name", "Tiny")
        self.assertIn("A quick look", self.page())
        self.assertIn("round-to-nearest on Tiny", self.page())

    def test_missing_texts_and_tasks_are_left_out_and_named(self):
        (self.folder / "data/ptb/ptb.valid.txt").unlink()
        (self.folder / "data/tasks/arc/easy.jsonl").unlink()
        (self.folder / "data/tasks/arc").rmdir()
        self.run_script()
        self.assertIn("Not there to be measured: PTB, ARC-easy, ARC-challenge.", self.page())
        self.assertIn("| method | WikiText2 | C4 |\n", self.page())

    def test_render_makes_the_same_page_and_runs_nothing(self):
        self.run_script("--quick")
        text = self.page()
        (self.folder / "out/results.md").unlink()
        self.calls_file.write_text("")
        subprocess.run([SCRIPT, "--render", self.folder / "out/results.json"], check=True, env=self.environment({}), stderr=subprocess.PIPE)
        self.assertEqual(self.page(), text)
        self.assertEqual(self.calls(), [])

    def test_the_papers_numbers_stand_beside_its_own_models_only(self):
        config = {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "vocab_size": 32000, "max_position_embeddings": 2048}
        self.run_script("--quick", FAKE_CONFIG=json.dumps(config))
        self.assertIn("| LLaMA-7B | 3.94 | SpQR | 5.87 | 7.28 | 9.07 |", self.page())


class Trouble(Folder):
    tasks = ("tasks/piqa/valid.jsonl",)

    def test_a_step_that_fails_is_told_and_the_others_go_on(self):
        told, _ = self.run_script("--quick", status=1, FAKE_FAIL="models/gptq-4.spqr --scheme")
        self.assertIn("FAILED: quantize gptq-4: spqr-quantize: error: this one fails", told)
        self.assertIn("FAILED: perplexity of gptq-4 on PTB: gptq-4 could not be made", told)
        self.assertIn("- `gptq-4/quantize`: spqr-quantize: error: this one fails", self.page())
        self.assertIn("Not all is measured yet", self.page())
        self.assertIn("spqr-3.5/perplexity/ptb", self.results()["steps"])
        _, calls = self.run_script("--quick")
        self.assertEqual(self.models_made(calls), ["gptq-4"])
        self.assertNotIn("failed", self.page())
        self.assertEqual(self.results()["failed"], {})

    def test_the_first_model_that_fails_leaves_a_page(self):
        told, _ = self.run_script(status=1, FAKE_FAIL="f16.spqr")
        self.assertIn("1 steps failed: f16/quantize", told)
        self.assertIn("f16/quantize", self.page())

    def test_ctrl_c_leaves_results_and_the_same_command_goes_on(self):
        self.interrupt(signal.SIGINT)

    def test_terminated_behind_a_shell_that_ignores_ctrl_c(self):
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        self.interrupt(signal.SIGTERM)

    def interrupt(self, number):
        self.calls_file.write_text("")
        process = subprocess.Popen(self.command(), env=self.environment({"FAKE_HANG": "gptq-4.spqr --dataset c4-new"}), stderr=subprocess.PIPE, text=True)
        for _ in range(600):
            if "gptq-4.spqr --dataset c4-new" in self.calls_file.read_text():
                break
            time.sleep(0.1)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, told)
        self.assertIn("the same command goes on from here", told)
        done = set(self.results()["steps"])
        self.assertIn("gptq-4/perplexity/wikitext2", done)
        self.assertNotIn("gptq-4/perplexity/c4", done)
        self.assertIn("## Table 1", self.page())
        self.assertEqual(list((self.folder / "out").glob("*.new")), [])
        told, calls = self.run_script()
        self.assertNotIn("gptq-4", self.models_made(calls))
        self.assertFalse(any("spqr-4.6.spqr --dataset" in call for call in calls))
        self.assertTrue(done < set(self.results()["steps"]))

    def test_two_runs_do_not_share_a_folder(self):
        process = subprocess.Popen(self.command(), env=self.environment({"FAKE_HANG": "rtn-4"}), stderr=subprocess.PIPE, text=True)
        for _ in range(600):
            if self.calls_file.exists() and "rtn-4" in self.calls_file.read_text():
                break
            time.sleep(0.1)
        second = subprocess.run(self.command(), env=self.environment({}), stderr=subprocess.PIPE, text=True)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(second.returncode, 2)
        self.assertIn("another run works in", second.stderr)

    def test_wrong_usage_is_one_sentence_before_anything_runs(self):
        def refused(sentence, *command):
            done = subprocess.run([SCRIPT, *command], env={**self.environment({}), "SPQR_TEST_DATA": ""}, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 2)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertIn(sentence, done.stderr)
        refused("--model and --out are missing")
        refused("there is no model nowhere", "--model", "nowhere", "--out", "out")
        refused("which calibrates", "--model", self.folder / "model", "--out", self.folder / "out")
        refused("--items is negative", *self.command("--items", "-1")[1:])
        refused("there is no file none.json", "--render", "none.json")
        for name, text, sentence in (("cut", '{"header": {"model"', "cut.json cannot be read"), ("other", "[1]", "other.json holds no results")):
            (self.folder / f"{name}.json").write_text(text)
            refused(sentence, "--render", self.folder / f"{name}.json")
        (self.folder / "damaged").mkdir()
        (self.folder / "damaged/results.json").write_text("{")
        command = self.command()[1:]
        command[command.index("--out") + 1] = self.folder / "damaged"
        refused("results.json cannot be read", *command)
        (self.folder / "bin/spqr-eval").unlink()
        refused("spqr-eval is no program", *self.command()[1:])
        self.assertFalse((self.folder / "out").exists())


class Verdict(unittest.TestCase):
    def results(self, gptq, spqr, bits=(4.65, 3.94, 3.47), others=()):
        steps = {}

        def add(name, size, perplexities):
            steps[f"{name}/quantize"] = {"result": {"bits_per_weight": size, "file_bytes": 1 << 30}}
            for text, value in zip(("wikitext2", "c4", "ptb"), perplexities):
                steps[f"{name}/perplexity/{text}"] = {"result": {"perplexity": value}}
        add("gptq-4", 4.05, gptq)
        for name, size, perplexities in zip(("spqr-4.6", "spqr-3.9", "spqr-3.5"), bits, spqr):
            add(name, size, perplexities)
        for name, size, perplexities in others:
            add(name, size, perplexities)
        return page.Results({"header": {}, "steps": steps, "failed": {}})

    def test_near_lossless_at_the_least_size_that_is(self):
        spqr = ((10.01, 20.1, 10), (10.09, 20.1, 9), (12, 20, 10))
        text = page.near_lossless(self.results((20, 20, 20), spqr, others=[("f16", 16, (10, 20, 10))]))
        self.assertTrue(text.startswith("Yes: SpQR at 3.940 bits adds to f16's perplexity 0.90 % on WikiText2, 0.50 % on C4 and -10.00 % on PTB"), text)

    def test_one_text_that_loses_more_is_not_near_lossless(self):
        spqr = ((10, 20, 10.2), (11, 22, 11), (12, 20, 10))
        text = page.near_lossless(self.results((20, 20, 20), spqr, others=[("f16", 16, (10, 20, 10))]))
        self.assertTrue(text.startswith("**No**: SpQR at 4.650 bits adds to f16's perplexity 0.00 % on WikiText2, 0.00 % on C4 and 2.00 % on PTB"), text)

    def test_without_f16_nothing_is_said_of_losses(self):
        self.assertIn("Not all is measured yet", page.near_lossless(self.results((20, 20, 20), ((10, 10, 10),) * 3)))

    def test_better_on_all_three(self):
        text = page.verdict(self.results((20, 20, 20), ((10, 10, 10), (15, 15, 15), (19, 25, 25))))
        self.assertTrue(text.startswith("Yes: SpQR at 3.940 bits is better than GPTQ at 4.050 bits on WikiText2, C4 and PTB"), text)

    def test_a_larger_one_that_is_not_better_is_named(self):
        text = page.verdict(self.results((20, 20, 20), ((10, 10, 10), (15, 30, 15), (19, 19, 19))))
        self.assertIn("Yes: SpQR at 3.470 bits", text)
        self.assertTrue(text.endswith("But SpQR at 3.940 bits is not.\n"), text)

    def test_smaller_ones_that_are_better_too_are_named(self):
        text = page.verdict(self.results((20, 20, 20), ((10, 10, 10), (15, 15, 15), (19, 19, 19))))
        self.assertTrue(text.endswith("So is SpQR at 3.470 bits.\n"), text)

    def test_not_better_on_one_says_where_it_becomes_so(self):
        text = page.verdict(self.results((20, 20, 20), ((10, 10, 10), (15, 15, 40), (50, 50, 50))))
        self.assertIn("**No**: SpQR at 3.940 bits is not better than GPTQ at 4.050 bits on PTB.", text)
        self.assertIn("at about 4.29 bits (", text)  # half of the way from 4.65 to 3.94, in logarithms: 10, 20, 40

    def test_between_two_sizes_below_gptqs(self):
        text = page.verdict(self.results((20, 20, 20), ((10, 10, 10), (21, 21, 21), (50, 50, 50)), bits=(4.07, 3.94, 3.47)))
        self.assertRegex(text, r"at about 3\.95 bits, which is less than GPTQ takes")

    def test_nowhere(self):
        text = page.verdict(self.results((9, 20, 20), ((10, 10, 10), (15, 15, 15), (50, 50, 50))))
        self.assertIn("not better than GPTQ at 4.050 bits on WikiText2", text)
        self.assertIn("No size of SpQR that was measured (up to 4.650 bits) is better on all of them.", text)

    def test_equal_is_not_better(self):
        text = page.verdict(self.results((15, 15, 15), ((10, 10, 10), (15, 15, 15), (50, 50, 50))))
        self.assertTrue(text.startswith("**No**"), text)
        self.assertIn("on WikiText2, C4 and PTB.", text)


class Quality(Folder):
    """scripts/measure_quality, whose rows have to be those of the same methods here."""

    def measure_quality(self, *more, **given):
        self.calls_file.write_text("")
        return subprocess.run([ROOT / "scripts/measure_quality", self.folder / "model", "--data", self.folder / "data", "--out",
                               self.folder / "out", "--bin", self.folder / "bin", *more],
                              env=self.environment(given), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_asks_for_what_reproduce_paper_asks_for(self):
        _, theirs = self.run_script("--ablations")
        theirs = {call.replace("ablation-full.spqr", "spqr-3-16x16.spqr") for call in theirs}
        done = self.measure_quality()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| spqr-3-16x16 | 3.000 | 3.010 | 0.500 % | 11.500 | 11.500 | 11.500 | 1 |", done.stdout)
        ours = self.calls()
        self.assertEqual(len(ours), 6 * 4)
        made = {call for call in ours if call.startswith("spqr-quantize")}
        self.assertEqual({call.split()[2].split("/")[-1] for call in made - theirs}, {"spqr-3-8x64.spqr"})
        measured = {call for call in ours if "spqr-3-16x16.spqr" in call}
        self.assertEqual(len(measured), 4)
        self.assertLessEqual(measured, theirs)
        self.measure_quality()
        self.assertEqual(self.calls(), [])

    def test_a_failure_is_a_sentence_and_what_was_done_stays(self):
        done = self.measure_quality("--only", "f16", "rtn-4", FAKE_FAIL="--bits 4")
        self.assertEqual((done.returncode, done.stderr.splitlines()[-1]), (1, "measure_quality: error: spqr-quantize ended with status 1"))
        self.measure_quality("--only", "f16", "rtn-4")
        self.assertEqual(len(self.calls()), 4)
        (self.folder / "out/quality.json").write_text("{")
        self.assertRegex(self.measure_quality().stderr, r"^measure_quality: error: .*quality.json holds no results of this script")


class Pieces(unittest.TestCase):
    def test_durations(self):
        self.assertEqual([duration(seconds) for seconds in (0, 59.6, 3599, 3661)], ["0:00", "1:00", "59:59", "1:01:01"])

    def test_shades_are_powers_of_ten(self):
        import base64
        self.assertEqual(list(base64.b64decode(shades([[0, 1e-4, 1, 1e4, 1e9]]))), [0, 0, 128, 255, 255])

    def test_last_block_by_number(self):
        names = [f"model.layers.{layer}.self_attn.q_proj" for layer in (0, 10, 2)]
        self.assertEqual(plan.pictured(plan.by_block(names)), ["model.layers.10.self_attn.q_proj"])

    def test_ablations_change_one_thing(self):
        full = plan.ABLATIONS[0].options
        for method in plan.ABLATIONS[1:]:
            options = [option for option in method.options if option.startswith("--")]
            self.assertEqual(len(options), len(set(options)), method.name)
            self.assertNotEqual(method.options, full)

    def test_results_are_not_changed_by_rendering(self):
        results = {"header": {"model": "m", "command": "c", "quick": False, "missing": [], "sample": {"new_tokens": 1, "calibration_samples": 1,
                   "calibration_length": 1}}, "steps": {}, "failed": {}}
        before = copy.deepcopy(results)
        self.assertIn("Not all is measured yet", page.render(results, "results"))
        self.assertEqual(results, before)


class Committed(unittest.TestCase):
    """docs/results: every page is what is made of the JSON beside it, and its figures are there."""

    def test_pages_and_results_agree(self):
        folder = ROOT / "docs/results"
        pages = {file.stem for file in folder.glob("*.md")}
        self.assertEqual(pages, {file.stem for file in folder.glob("*.json")})
        for stem in sorted(pages):
            with self.subTest(stem):
                made = page.render(json.loads((folder / f"{stem}.json").read_text()), stem)
                self.assertEqual((folder / f"{stem}.md").read_text(), made, f"scripts/reproduce_paper --render docs/results/{stem}.json")
                for figure in ("figure1", "figure2"):
                    if f"({stem}-{figure}.svg)" in made:
                        for kind in ("png", "svg"):
                            self.assertTrue((folder / f"{stem}-{figure}.{kind}").exists(), f"{stem}-{figure}.{kind}")


if __name__ == "__main__":
    unittest.main()
