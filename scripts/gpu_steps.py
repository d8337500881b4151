"""Steps of scripts/gpu_check: commands with a time limit, and the report of what they gave."""
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

TAIL = 4000  # characters of output that a report keeps of a step


class Failed(Exception):
    """A step that did not do what it should; says why."""


class TimedOut(Exception):
    pass


class Skipped(Exception):
    """A step that cannot be done here; says why."""


class Interrupted(Exception):
    """Somebody ended this script; the signal."""


class Signals:
    """SIGINT and SIGTERM are remembered until somebody asks: they come between any two instructions."""

    def __init__(self):
        self.number = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.remember)

    def remember(self, number, _):
        self.number = number

    def check(self):
        if self.number is not None:
            raise Interrupted(self.number)


class Step:
    """What happened in a step; `run` starts its commands."""

    def __init__(self, name, seconds, signals):
        self.signals = signals
        self.name, self.limit, self.began = name, seconds, time.monotonic()
        self.status, self.reason, self.commands, self.figures, self.output = "running", "", [], {}, ""
        self.seconds = 0.0

    def left(self):
        return self.limit - (time.monotonic() - self.began)

    def say(self, text):
        self.output = (self.output + text)[-TAIL:]

    def run(self, command, env=None, watch=None, check=True):
        """Output of the command, of both streams; Failed or TimedOut (with what it had printed in .args[1])."""
        words = [str(word) for word in command]
        shown = " ".join([f"{key}={value}" for key, value in (env or {}).items()] + words)
        self.commands.append(shown)
        self.say(f"$ {shown}\n")
        with tempfile.TemporaryFile("w+", errors="replace") as printed:
            status = self.wait(words, dict(os.environ, **(env or {})), printed, watch)
            printed.seek(0)
            text = printed.read()
        self.say(text)
        if status is None:
            raise TimedOut(f"{words[0]} did not end within {self.limit:.0f} s", text)
        if status != 0 and check:
            lines = text.strip().splitlines() or ["it printed nothing"]
            ended = f"exit status {status}" if status > 0 else f"signal {-status}"
            raise Failed(f"{pathlib.Path(words[0]).name}: {ended}: {lines[-1]}", text)
        return text

    def wait(self, words, env, printed, watch):
        """Exit status; none where time was up."""
        try:
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT, env=env,
                                     start_new_session=True)
        except OSError as error:
            raise Failed(f"cannot run {words[0]}: {error.strerror}", "") from error
        try:
            while self.left() > 0:
                self.signals.check()
                try:
                    return child.wait(min(0.2, max(self.left(), 0.01)))
                except subprocess.TimeoutExpired:
                    if watch:
                        watch()
            return None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def finish(self, status, reason=""):
        self.status, self.reason, self.seconds = status, str(reason), time.monotonic() - self.began
        if status != "running":
            print(f"{self.name}: {status} after {self.seconds:.1f} s" + (f": {reason}" if reason else ""), flush=True)

    def json(self):
        return {"name": self.name, "commands": self.commands, "seconds": round(self.seconds, 2), "limit_seconds": self.limit,
                "status": self.status, "reason": self.reason, "figures": self.figures, "output": self.output}


def nvidia_smi(*fields):
    """Values of the first GPU, or none."""
    if not shutil.which("nvidia-smi"):
        return None
    try:
        printed = subprocess.run(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = printed.stdout.strip().splitlines()
    values = [value.strip() for value in lines[0].split(",")] if printed.returncode == 0 and lines else []
    return values if len(values) == len(fields) else None


class Report:
    """report.json and report.md, written anew whenever there is more to say."""

    def __init__(self, folder):
        self.folder, self.steps, self.began = folder, [], datetime.datetime.now(datetime.timezone.utc)
        folder.mkdir(parents=True, exist_ok=True)

    def write(self):
        data = {"began": self.began.isoformat(timespec="seconds"), "steps": [step.json() for step in self.steps]}
        self.replace("report.json", json.dumps(data, indent=1) + "\n")
        self.replace("report.md", self.markdown())

    def replace(self, name, text):
        """Whole or not at all."""
        part = self.folder / f"{name}.part"
        part.write_text(text)
        os.replace(part, self.folder / name)

    def rows(self, step):
        """Tables of what spqr-bench measured."""
        for rows in step.figures.values():
            if not isinstance(rows, list) or not rows:
                continue
            yield "operation" if "op" in rows[0] else "model", rows

    def markdown(self):
        machine = self.steps[0].figures if self.steps else {}
        lines = [f"# {machine.get('name') or 'No GPU'}, {self.began:%Y-%m-%d}", "",
                 "What `scripts/gpu_check` found.", ""]
        lines += [f"- {key}: {value}" for key, value in machine.items() if value is not None]
        lines += ["", "| step | status | seconds | |", "|---|---|---|---|"]
        for step in self.steps:
            lines.append(f"| {step.name} | {step.status} | {step.seconds:.1f} | {cell(summary(step))} |")
        tables = [(step, key, rows) for step in self.steps for key, rows in self.rows(step)]
        lines += table("operation", OPERATION_COLUMNS, tables) + table("model", MODEL_COLUMNS, tables)
        for step in self.steps:
            if "plan" in step.figures:
                lines += ["", "## Memory", "", "```", step.figures["plan"], "```"]
                if "used_mib" in step.figures:
                    lines += ["", f"Most that was in use: {step.figures['used_mib']} MiB, the driver's context included."]
            if step.status in ("failed", "timed out") and step.output:
                lines += ["", f"## {step.name}: {step.status}", "", "```", step.output.strip(), "```"]
        return "\n".join(lines) + "\n"


def cell(text):
    return " ".join(text.replace("|", "/").split())


def summary(step):
    """What a row of the table of steps says beside the status."""
    figures = [f"{key} {value}" for key, value in step.figures.items() if isinstance(value, int)]
    return "; ".join(([step.reason] if step.reason else []) + ([", ".join(figures)] if figures and step.name != "machine" else []))


def limit(row):
    share, bandwidth = row["share_of_read_bandwidth"], row["read_bandwidth_gb_per_s"]
    return f"{100 * share:.0f} % of {bandwidth:.0f}"


OPERATION_COLUMNS = {
    "operation": lambda step, row: row["op"],
    "shape": lambda step, row: row["shape"] + (f" @ {row['n_depth']}" if row["n_depth"] else ""),
    "tokens": lambda step, row: row["n_prompt"],
    "microseconds": lambda step, row: f"{row['avg_ns'] / 1e3:.1f}",
    "GB/s": lambda step, row: f"{row['gb_per_s']:.1f}",
    "of read bandwidth": lambda step, row: limit(row),
    "GFLOP/s": lambda step, row: f"{row['gflop_per_s']:.0f}",
    "error": lambda step, row: f"{row['relative_error']:.1e}",
}
MODEL_COLUMNS = {
    "model": lambda step, row: f"{step.name.removeprefix('model-')} {row['group']}",
    "MB": lambda step, row: f"{row['model_size'] / 1e6:.0f}",
    "test": lambda step, row: f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}",
    "tokens/s": lambda step, row: f"{row['avg_ts']:.1f}",
    "GB/s": lambda step, row: f"{row['gb_per_s']:.1f}",
    "of read bandwidth": lambda step, row: limit(row),
    "outside products": lambda step, row: f"{100 * row['share_outside_products']:.0f} %",
}


def table(kind, columns, tables):
    """Lines of all rows of one kind."""
    rows = [(step, row) for step, key, some in tables if key == kind for row in some]
    if not rows:
        return []
    lines = ["", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(value(text, step, row) for text in columns.values()) + " |" for step, row in rows]


def value(text, step, row):
    try:
        return str(text(step, row))
    except TypeError:  # what is null
        return ""
