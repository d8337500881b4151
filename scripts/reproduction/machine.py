"""What a number has to have beside it: commit, machine, and checksums of what it was made of."""
import hashlib
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def commit():
    def git(*arguments):
        result = subprocess.run(["git", "-C", str(ROOT), *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return result.stdout.strip() if result.returncode == 0 else ""
    try:
        head = git("rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if head and git("status", "--porcelain", "--untracked-files=no") else "") or "unknown"
    except OSError:
        return "unknown"


def described():
    """ "AMD EPYC 9B45, 2 cores, 24 GiB" """
    def lines(path):
        try:
            return pathlib.Path(path).read_text().splitlines()
        except OSError:
            return []
    model = next((line.split(":", 1)[1].strip() for line in lines("/proc/cpuinfo") if line.startswith("model name")), "processor")
    memory = next((int(line.split()[1]) for line in lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {memory / 2**20:.0f} GiB"


class Checksums:
    """Of files and folders. What was read once is not read again while size and time are the same."""

    def __init__(self, memory):
        self.memory = memory
        try:
            self.known = json.loads(memory.read_text())
        except (OSError, ValueError):
            self.known = {}

    def of(self, path):
        path = pathlib.Path(path)
        if not path.is_dir():
            return self.of_file(path)
        total = hashlib.blake2b(digest_size=16)
        for file in sorted(each for each in path.rglob("*") if each.is_file()):
            total.update(f"{file.relative_to(path)} {self.of_file(file)}\n".encode())
        return total.hexdigest()

    def of_file(self, path):
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns]
        found = self.known.get(str(path.resolve()))
        if found and found[0] == state:
            return found[1]
        total = hashlib.blake2b(digest_size=16)
        with open(path, "rb") as file:
            while block := file.read(1 << 22):
                total.update(block)
        self.known[str(path.resolve())] = [state, total.hexdigest()]
        replace(self.memory, json.dumps(self.known, indent=0))
        return total.hexdigest()


class NoResults(Exception):
    pass


def results_of(path):
    """A results.json; NoResults, with a sentence, where it is none."""
    try:
        results = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise NoResults(f"{path} cannot be read: {error}") from None
    if not isinstance(results, dict) or not all(isinstance(results.get(key), dict) for key in ("header", "steps", "failed")):
        raise NoResults(f"{path} holds no results of this script")
    return results


def replace(path, text):
    """All of it or nothing, whatever happens meanwhile."""
    temporary = path.with_name(path.name + ".new")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
