#!/usr/bin/env python3
"""scripts/gpu_check: the report of every step on the emulated GPU, and what becomes of steps that fail or take too long.

    gpu_check_test.py SCRIPT BUILD
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

SCRIPT, BUILD = sys.argv[1], pathlib.Path(sys.argv[2])
PROGRAMS = ["kernels_tests", "models_tests", "spqr-bench", "spqr-quantize", "spqr-run"]
ROW = {"op": "x", "shape": "1x1", "n_prompt": 1, "n_depth": None, "avg_ns": 1, "gb_per_s": 3.0, "read_bandwidth_gb_per_s": 4.0,
       "share_of_read_bandwidth": 0.75, "gflop_per_s": 1.0, "relative_error": 0.0}
CASES = "[doctest] test cases:  2 | 2 passed | 0 failed | 0 skipped"


def check(condition, what):
    if not condition:
        sys.exit(f"gpu_check_test: {what}")


def steps_of(folder):
    return {step["name"]: step for step in json.loads((folder / "report.json").read_text())["steps"]}


def run(folder, *arguments):
    """Exit status, and the steps by their names."""
    done = subprocess.run([SCRIPT, "--out", folder, "--quick", *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, steps_of(folder)


def program(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + textwrap.dedent(body) + "\n")
    path.chmod(0o755)


def fake_build(folder, **bodies):
    """Programs that do what is said of them, and else something good."""
    good = {"spqr-bench": f"echo '{json.dumps(ROW)}'", "kernels_tests": f"echo '{CASES}'", "models_tests": f"echo '{CASES}'"}
    for name in PROGRAMS:
        program(folder / "bin" / name, bodies.get(name.replace("-", "_"), good.get(name, "exit 0")))


def emulated(folder):
    """All steps on the real programs; a sanitizer that finds nothing."""
    sanitizer = folder / "sanitizer"
    program(sanitizer, """\
        shift 4
        "$@" || exit 1
        echo '========= ERROR SUMMARY: 0 errors'""")
    status, steps = run(folder / "emulated", "--emulated", "--build", BUILD, "--sanitizer", sanitizer)
    for name, step in steps.items():
        wanted = "skipped" if name in ("build", "model-7b") else "passed"
        check(step["status"] == wanted, f"{name} {step['status']}: {step['reason']}\n{step['output']}")
    check(status == 0, f"exit status {status}")
    check(list(steps) == ["machine", "build", "device", "operations", "golden", "products", "prompts", "attention", "model-1b",
                          "memory", "memcheck", "racecheck", "model-7b"], f"steps {list(steps)}")
    check(steps["operations"]["figures"]["cases"] > 0 and steps["golden"]["figures"]["passed"] > 0, "no tests were counted")
    check([row["op"] for row in steps["products"]["figures"]["operations"]] == ["spqr_matvec", "dense_matvec"],
          "rows of products")
    rows = [row for name in ("device", "products", "prompts", "attention") for row in steps[name]["figures"]["operations"]]
    rows += steps["model-1b"]["figures"]["packed"] + steps["model-1b"]["figures"]["f16"]
    check(len(rows) == 10, f"{len(rows)} rows")
    for row in rows:
        check(row["gb_per_s"] > 0 and row["read_bandwidth_gb_per_s"] > 0, f"a row without rates: {row}")
    check(all(step["commands"] for name, step in steps.items() if step["status"] == "passed"), "a step without commands")
    text = (folder / "emulated/report.md").read_text()
    for part in ("# emulated GPU", "| golden | passed |", "| spqr_matvec | 256x512 |", "| 1b packed |", "| 1b f16 |", "## Memory"):
        check(part in text, f"report.md has no '{part}':\n{text}")


def failing(folder):
    """Steps that fail or take too long are said to, and the others run."""
    fake_build(folder / "build",
               spqr_bench=f"""\
                   echo '{json.dumps(ROW)}'
                   case "$*" in *spqr_matvec*) echo 'spqr-bench: error: off by a lot'; exit 1;; *attention*) sleep 100;; esac""",
               models_tests="kill -SEGV $$", kernels_tests="echo 'test cases: 0 | 0 passed | 0 failed | 4 skipped'")
    began = time.monotonic()
    status, steps = run(folder / "failing", "--build", folder / "build", "--limits", "attention=2", "--sanitizer", "/nowhere/sanitizer")
    check(time.monotonic() - began < 60, "a step that takes too long was not ended")
    check(status == 1, f"exit status {status}")
    wanted = {"operations": ("failed", "no test ran"), "golden": ("failed", "signal 11"), "products": ("failed", "off by a lot"),
              "prompts": ("passed", ""), "attention": ("timed out", "within 2 s"), "model-1b": ("passed", ""),
              "memory": ("passed", ""), "memcheck": ("failed", "cannot run /nowhere/sanitizer")}
    for name, (result, reason) in wanted.items():
        step = steps[name]
        check(step["status"] == result and reason in step["reason"], f"{name} {step['status']}: {step['reason']}")
    for name in ("products", "attention"):
        check(len(steps[name]["figures"]["operations"]) == 1, f"{name} lost the row that was measured")
    check("off by a lot" in (folder / "failing/report.md").read_text(), "report.md does not say why")


def without_device(folder):
    fake_build(folder / "build", spqr_bench="echo 'spqr-bench: error: no NVIDIA GPU is present'; exit 1")
    status, steps = run(folder / "none", "--build", folder / "build")
    check(status == 1, f"exit status {status} without a device")
    check("no NVIDIA GPU" in steps["device"]["reason"], steps["device"]["reason"])
    check(steps["golden"]["status"] == "skipped" and "no NVIDIA GPU" in steps["golden"]["reason"], "golden was not skipped")


def out_of_time(folder):
    fake_build(folder / "build")
    status, steps = run(folder / "late", "--build", folder / "build", "--minutes", 0.01)
    check(steps["golden"]["status"] == "skipped" and steps["golden"]["reason"] == "no time is left", "there was time left")
    check(status == 1, f"exit status {status}, but no device was seen")


def cut_off(folder):
    """A run that ends in mid-step leaves a report of what it had, and nothing that runs on."""
    fake_build(folder / "build", models_tests=f"echo $$ > {folder}/pid; exec sleep 100")
    child = subprocess.Popen([SCRIPT, "--out", folder / "cut", "--quick", "--build", folder / "build"], stdout=subprocess.DEVNULL)
    for _ in range(300):
        if (folder / "pid").is_file() and (folder / "pid").read_text().strip():
            break
        time.sleep(0.1)
    before = steps_of(folder / "cut")
    check(before["operations"]["status"] == "passed" and before["golden"]["status"] == "running", "no report after each step")
    child.send_signal(signal.SIGTERM)
    check(child.wait(30) == 128 + signal.SIGTERM, "exit status of a run that was ended")
    after = steps_of(folder / "cut")
    check(after["golden"]["reason"] == "interrupted" and "products" not in after, "steps of a run that was ended")
    try:
        os.kill(int((folder / "pid").read_text()), 0)
        check(False, "a command runs on")
    except ProcessLookupError:
        pass


def packed(folder):
    """What --pack makes runs by itself, with nothing of the checkout or the build."""
    subprocess.run([SCRIPT, "--pack", folder / "pack", "--build", BUILD], check=True)
    size = sum(path.stat().st_size for path in (folder / "pack").rglob("*") if path.is_file())
    check(size < 64 << 20, f"the pack has {size} bytes")
    again = subprocess.run([SCRIPT, "--pack", folder / "pack", "--build", BUILD], stderr=subprocess.PIPE, text=True, check=False)
    check(again.returncode == 2 and "is there already" in again.stderr, "a folder that is there was taken")
    moved = (folder / "pack").rename(folder / "moved")
    done = subprocess.run([moved / "gpu_check", "--emulated", "--quick", "--only", "golden,products", "--out", folder / "report"],
                          env={"PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE, text=True, check=False)
    check(done.returncode == 0, done.stdout)
    steps = steps_of(folder / "report")
    check(str(moved / "fixtures") in steps["golden"]["commands"][0] and str(moved / "lib") in steps["golden"]["commands"][0],
          steps["golden"]["commands"][0])
    check(steps["machine"]["figures"]["commit"], "the pack does not say what it was made from")


def main():
    for test in (failing, without_device, out_of_time, cut_off, emulated, packed):
        with tempfile.TemporaryDirectory() as folder:
            test(pathlib.Path(folder))
            print(f"{test.__name__}: good")


if __name__ == "__main__":
    main()
