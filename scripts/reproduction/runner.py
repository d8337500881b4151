"""Takes steps one after the other, skips what is done, and keeps what comes of it after every one."""
import base64
import json
import math
import pathlib
import signal
import subprocess
import sys
import time

from reproduction import machine, plan


class StepFailed(Exception):
    pass


def duration(seconds):
    seconds = int(round(seconds))
    minutes, hours = seconds // 60, seconds // 3600
    return f"{hours}:{minutes % 60:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def say(text):
    print(f"reproduce_paper: {text}", file=sys.stderr, flush=True)


# ---- what is kept of the JSON that the tools print

def chosen(of, *names):
    return {name: of[name] for name in names if name in of}


def of_quantize(step, printed):
    summary, inspection = printed
    result = chosen(summary, "bits_per_weight", "stored_bits_per_weight", "outlier_share", "relative_error", "file_bytes", "seconds",
                    "outlier_threshold", "calibration_tokens")
    result["weights"] = inspection["blocks"]["weights"]
    result["context"] = inspection["memory"]["context"]  # the model's, at most 4096
    result["config"] = chosen(inspection["config"], "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads",
                              "vocab_size", "max_position_embeddings")
    if "modules" in inspection:
        result["modules"] = [module["name"] for module in inspection["modules"] if ".layers." in module["name"] or ".h." in module["name"]]
    return result


def of_perplexity(step, printed):
    return chosen(printed[0], "perplexity", "standard_error", "windows", "context", "text_tokens", "backend")


def of_task(step, printed):
    (score,) = printed[0]["tasks"].values()
    return chosen(score, "acc", "acc_stderr", "acc_norm", "acc_norm_stderr", "items")


def of_speed(step, printed):
    result = {}
    for name, rows in zip(step.models, printed):
        result[name] = {"prefix" if row["n_depth"] else "scratch": row["avg_ts"] for row in rows if row["n_gen"]}
        result[name]["n_depth"] = max(row["n_depth"] for row in rows)
    return result


LOW, HIGH = -4.0, 4.0  # powers of ten of what a picture's 256 shades stand for


def shades(cells):
    """log10 of each cell as a byte: what results.json keeps of a map."""
    def shade(cell):
        place = (math.log10(cell) if cell > 0 else LOW) - LOW
        return max(0, min(255, round(255 * place / (HIGH - LOW))))
    return base64.b64encode(bytes(shade(cell) for row in cells for cell in row)).decode()


def of_sensitivity(step, printed):
    maps = []
    for found in printed[:-1]:
        kept = chosen(found, "module", "shape", "total", "densest_rows", "densest_columns", "heads", "heads_along")
        kept["heads"] = [round(share, 5) for share in kept["heads"]]
        kept.update({"cells": [len(found["map"]), len(found["map"][0])], "low": LOW, "high": HIGH, "log10_shades": shades(found["map"])})
        maps.append(kept)
    spreads = [chosen(found, "module", "shape", "outliers", "densest_rows", "densest_columns") for found in printed[-1]["matrices"]]
    return {"maps": maps, "outliers": spreads}


KEEP = {"quantize": of_quantize, "perplexity": of_perplexity, "task": of_task, "speed": of_speed, "sensitivity": of_sensitivity}


# ---- what steps take

class Estimate:
    """Seconds of steps, from the f16 model's speed at first, and then from what steps of their kind took."""

    def __init__(self, speed, weights, cores):
        self.speed, self.weights, self.cores = speed, weights, cores
        self.guessed, self.took = {}, {}

    def guess(self, step):
        tokens = 1.3 * step.prompt_tokens + 5 * step.calibration_tokens
        return (1 + 2 * len(step.commands) + tokens / self.speed["prompt"] + step.new_tokens / self.speed["decode"] +
                30e-9 * step.solves * self.weights / self.cores)

    def learn(self, step, seconds):
        self.guessed[step.kind] = self.guessed.get(step.kind, 0) + self.guess(step)
        self.took[step.kind] = self.took.get(step.kind, 0) + seconds

    def seconds(self, step):
        guess = self.guess(step)
        if step.kind in self.took:
            guess *= self.took[step.kind] / self.guessed[step.kind]
        return guess


class Runner:
    def __init__(self, folders, bin_folder, out, header):
        self.folders = folders  # placeholder: path
        self.bin = bin_folder
        self.out = out
        self.path = out / "results.json"
        self.same_sample = True  # as the results that are there
        (out / "models").mkdir(parents=True, exist_ok=True)
        self.checksums = machine.Checksums(out / "checksums.json")
        self.results = {"header": header, "steps": {}, "failed": {}}
        if self.path.exists():
            kept = machine.results_of(self.path)
            self.results["steps"] = kept["steps"]
            self.same_sample = kept["header"]["sample"] == header["sample"]
        self.commit, self.machine = machine.commit(), machine.described()
        self.version = self.tool_version()
        self.failed = {}

    # -- commands

    def real(self, text):
        return plan.real(text, self.folders)

    def tool_version(self):
        result = subprocess.run([self.bin / "spqr-quantize", "--version"], stdout=subprocess.PIPE, text=True)
        return result.stdout.strip()

    def run(self, program, arguments):
        command = [str(self.bin / program)] + [self.real(argument) for argument in arguments]
        with open(self.out / "log.txt", "a+", encoding="utf-8", errors="replace") as log:
            log.write("+ " + " ".join(command) + "\n")
            log.flush()
            begin = log.tell()
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, errors="replace", start_new_session=True)
            try:
                printed, _ = process.communicate()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)  # it leaves in order, what can be resumed is kept
                try:
                    process.wait()
                except KeyboardInterrupt:
                    process.kill()
                raise
            if process.returncode == 130:
                raise KeyboardInterrupt
            if process.returncode != 0:
                log.seek(begin)
                lines = log.read().strip().splitlines()
                raise StepFailed(lines[-1] if lines else f"{program} ended with status {process.returncode}")
        try:
            return json.loads(printed)
        except ValueError:
            raise StepFailed(f"{program} printed no JSON") from None

    def quantize(self, program, arguments):
        """Goes on with what an interrupted run left, or anew where that cannot be gone on with."""
        partial = pathlib.Path(self.real(arguments[1]) + ".journal")
        if partial.exists():
            try:
                return self.run(program, arguments + ["--resume"])
            except StepFailed:
                pass
        return self.run(program, arguments)

    # -- what is done already

    def key(self, step):
        """What the step's result depends on; null while a model that it reads is not there."""
        inputs = {name: self.checksums.of(self.real(name)) for name in step.inputs}
        for name in step.models:
            made = self.results["steps"].get(f"{name}/quantize")
            if made is None or f"{name}/quantize" in self.failed:
                return None
            inputs[plan.model_file(name)] = made["result"]["checksum"]
        return {"commands": [[program, *arguments] for program, arguments in step.commands], "inputs": inputs, "version": self.version}

    def is_done(self, step):
        kept = self.results["steps"].get(step.name)
        return kept is not None and kept["key"] == self.key(step)

    def pending(self, steps):
        """Steps to take: also those that make a model again which a step to take reads."""
        left = [step for step in steps if not self.is_done(step)]
        needed = {name for step in left for name in step.models}
        names = {step.name for step in left}
        for step in steps:
            if step.makes in needed and not self.model_is_there(step):
                names.add(step.name)
        return [step for step in steps if step.name in names]

    def model_is_there(self, step):
        kept = self.results["steps"].get(step.name)
        file = pathlib.Path(self.real(plan.model_file(step.makes)))
        return kept is not None and file.exists() and file.stat().st_size == kept["result"]["file_bytes"]

    def forget_others(self, steps):
        """Results of other options or files, which would stand beside these. Ablations of the same sample stay."""
        steps = {step.name: step for step in steps}

        def is_other(name):
            if name == f"{plan.BASELINE}/quantize" or (name not in steps and name.startswith("ablation/") and self.same_sample):
                return False
            return name not in steps or not self.is_done(steps[name])

        while others := [name for name in self.results["steps"] if is_other(name)]:  # and then what was made of them
            for name in others:
                del self.results["steps"][name]

    # -- steps

    def take(self, step):
        begin = time.time()
        printed = [(self.quantize if program == "spqr-quantize" else self.run)(program, arguments)
                   for program, arguments in step.commands]
        try:
            result = KEEP[step.kind](step, printed)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StepFailed(f"{step.commands[0][0]} printed JSON without what is looked for: {error!r}") from None
        if step.makes:
            result["checksum"] = self.checksums.of(self.real(plan.model_file(step.makes)))
        return result, time.time() - begin

    def store(self):
        machine.replace(self.path, json.dumps(self.results, indent=1) + "\n")

    def attempt(self, step):
        """True where it was taken; a failure is told and kept."""
        lost = [name for name in step.models if f"{name}/quantize" in self.failed]
        try:
            if lost:
                raise StepFailed(f"{', '.join(lost)} could not be made")
            result, seconds = self.take(step)
        except StepFailed as failure:
            say(f"FAILED: {step.says}: {failure}")
            self.failed[step.name] = self.results["failed"][step.name] = str(failure)
            self.results["steps"].pop(step.name, None)
            self.store()
            return False
        self.results["steps"][step.name] = {"result": result, "seconds": round(seconds, 2), "commit": self.commit,
                                            "machine": self.machine, "key": self.key(step)}
        self.store()
        return True

    def take_all(self, steps, estimate):
        left = self.pending(steps)
        for step in steps:
            if step.name in self.results["steps"]:
                estimate.learn(step, self.results["steps"][step.name]["seconds"])
        seconds = sum(estimate.seconds(step) for step in left)
        say(f"{len(steps) - len(left)} of {len(steps)} steps are done; the others take about {duration(seconds)}")
        for done, step in enumerate(left):
            seconds = sum(estimate.seconds(each) for each in left[done:])
            say(f"[{done + 1}/{len(left)}, {duration(seconds)} left] {step.says}")
            if self.attempt(step):
                estimate.learn(step, self.results["steps"][step.name]["seconds"])
