#!/usr/bin/env -S python3 -IS
"""Stands for each of our tools, by the name it is called with: prints JSON as they do, of made-up numbers.

FAKE_CALLS names a file to which every call is added. A call that has FAKE_FAIL in it fails; one that has FAKE_HANG in it waits to
be interrupted. FAKE_GPTQ is what GPTQ's perplexities are multiplied with.
"""
import json
import os
import sys

TOOL = os.path.basename(sys.argv[0])
ARGUMENTS = sys.argv[1:]
CALL = " ".join([TOOL, *ARGUMENTS])


def value(option, default=None):
    return ARGUMENTS[ARGUMENTS.index(option) + 1] if option in ARGUMENTS else default


def quantize():
    out = ARGUMENTS[1]
    bits = 16 if value("--scheme") == "f16" else float(value("--target-bits", value("--bits")))
    with open(out, "w", encoding="utf-8") as file:
        file.write(" ".join(ARGUMENTS[2:]) + "\n" * int(10 * bits))
    return {"bits_per_weight": bits, "stored_bits_per_weight": bits + 0.01, "outlier_share": 0.005, "relative_error": 0.01,
            "file_bytes": os.path.getsize(out), "seconds": 1.0, "outlier_threshold": 0.2, "calibration_tokens": 100, "modules": []}


def inspect():
    if "--sensitivity" in ARGUMENTS:
        heads = [0.25, 0.75] if "_proj" in value("--sensitivity") and "mlp" not in value("--sensitivity") else []
        return {"module": value("--sensitivity"), "shape": [4, 6], "total": 2.0, "densest_rows": {"count": 1, "share": 0.5},
                "densest_columns": {"count": 1, "share": 0.25}, "heads": heads, "heads_along": "rows", "row_sums": [], "column_sums": [],
                "map": [[0, 1, 10], [0.1, 100, 0.01]]}
    names = [f"model.layers.{layer}.{name}" for layer in (0, 10, 2) for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj")]
    if "--outliers" in ARGUMENTS:
        return {"matrices": [{"module": name, "shape": [4, 6], "outliers": 2, "densest_rows": {"count": 1, "share": 0.5},
                              "densest_columns": {"count": 1, "share": 1.0}} for name in names]}
    config = json.loads(os.environ.get("FAKE_CONFIG", '{"model_type": "llama", "hidden_size": 8}'))
    return {"blocks": {"weights": 1000}, "memory": {"context": 2048}, "config": config, "modules": [{"name": name} for name in names]}


def perplexity():
    with open(value("-m"), encoding="utf-8") as file:
        text = file.read()
    bits = 16 if "--scheme f16" in text else float(value_in(text, "--target-bits") or value_in(text, "--bits"))
    loss = {"spqr": 0.5, "gptq": 2 * float(os.environ.get("FAKE_GPTQ", 1)), "rtn": 4, "f16": 0}[value_in(text, "--scheme")]
    return {"perplexity": 10 + loss * (6 - bits) if loss else 10, "standard_error": 0.1, "windows": int(value("--windows", 20)), "context": 2048,
            "text_tokens": 9999, "backend": "cpu", "model": "x"}


def value_in(text, option):
    words = text.split()
    return words[words.index(option) + 1] if option in words else None


def evaluate():
    return {"tasks": {value("--tasks"): {"items": int(value("--limit", 1000)), "acc": 0.5, "acc_stderr": 0.01, "seconds": 1}}, "mean_acc": 0.5}


def bench():
    speed = 20.0 if "f16" in value("-m") else 50.0
    rows = [{"n_prompt": int(value("-p")), "n_gen": 0, "n_depth": 0, "avg_ts": 1000.0}] if value("-p") != "0" else []
    return rows + [{"n_prompt": 0, "n_gen": 100, "n_depth": int(depth), "avg_ts": speed / (1 + int(depth) / 1024)}
                   for depth in value("-d", "0").split(",")]


def main():
    if ARGUMENTS == ["--version"]:
        return print("spqr-quantize 0.0")
    with open(os.environ["FAKE_CALLS"], "a", encoding="utf-8") as calls:
        calls.write(CALL + "\n")
    if os.environ.get("FAKE_HANG", "\0") in CALL:
        import signal
        import time
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
        time.sleep(60)
    if os.environ.get("FAKE_FAIL", "\0") in CALL:
        sys.exit(f"{TOOL}: error: this one fails")
    kinds = {"spqr-quantize": quantize, "spqr-inspect": inspect, "spqr-perplexity": perplexity, "spqr-eval": evaluate, "spqr-bench": bench}
    print(json.dumps(kinds[TOOL]()))


main()
