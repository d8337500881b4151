"""The page of a results.json: the paper's tables 1-4, its two figures, ablations, and how numbers came about.

Nothing but results.json decides what stands in it.
"""
import math
import statistics

from reproduction import paper, plan

TEXT_ORDER = ("wikitext2", "c4", "ptb")  # as the paper's columns
TABLE_1 = ("f16", "spqr-4.6", "rtn-4", "gptq-4", "spqr-3.9")
TABLE_2 = ("f16", "rtn-3", "gptq-3", "spqr-3.5")
FAMILY = {method.name: method.family for method in plan.METHODS}


class Results:
    def __init__(self, results):
        self.header, self.all, self.failed = results["header"], results["steps"], results["failed"]

    def of(self, name):
        return self.all.get(name, {}).get("result")

    def value(self, name, key):
        result = self.of(name)
        return None if result is None else result.get(key)

    def perplexity(self, name, text):
        return self.value(f"{name}/perplexity/{text}", "perplexity")

    def bits(self, name):
        return self.value(f"{name}/quantize", "bits_per_weight")

    def gib(self, name):
        size = self.value(f"{name}/quantize", "file_bytes")
        return None if size is None else size / 2**30

    def has(self, name):
        return self.of(f"{name}/quantize") is not None

    def texts(self):
        return [text for text in TEXT_ORDER if any(f"/perplexity/{text}" in name for name in self.all)]

    def has_all_texts(self, name):
        return self.has(name) and bool(self.texts()) and all(self.perplexity(name, text) for text in self.texts())

    def family(self, family):
        """Methods of a curve with all that figure 1 needs, by bits."""
        names = [method.name for method in plan.METHODS if method.family == family and self.has(method.name)]
        return sorted(names, key=self.bits)


def number(value, form):
    return "" if value is None else format(value, form)


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


# ---- tables 1 and 2

# What a file is: the first columns of the paper's tables.
IS = ["model", "size, GiB", "average bits", "method"]


def is_cells(results, name):
    size = results.gib(name)
    return [results.header["model"], number(size, ".3f" if size and size >= 0.1 else ".3g"), number(results.bits(name), ".3f"), FAMILY[name]]


def perplexity_table(results, names):
    texts = results.texts()
    titles = [plan.TEXTS[text].title for text in texts]
    text = table(IS + titles, [is_cells(results, name) + [number(results.perplexity(name, each), ".3f") for each in texts]
                               for name in names if results.has(name)])
    known = paper.rows(results.value(f"{plan.BASELINE}/quantize", "config"), texts)
    if known and names == TABLE_1:
        text += "\nThe paper's own:\n\n" + table(["model", "average bits", "method"] + titles, known)
    return text


# ---- is SpQR near-lossless, and does it win at the same size?

NEAR_LOSSLESS = 0.01  # more perplexity than f16 has, in the paper's abstract
NOT_YET = "Not all is measured yet that is needed to tell.\n"


def listed(words):
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def near_lossless(results):
    names = [name for name in results.family("SpQR") if results.has_all_texts(name)]
    if not names or not results.has_all_texts(plan.BASELINE):
        return NOT_YET

    def losses(name):
        return [results.perplexity(name, text) / results.perplexity(plan.BASELINE, text) - 1 for text in results.texts()]

    near = [name for name in names if max(losses(name)) < NEAR_LOSSLESS]
    name = near[0] if near else names[-1]
    figures = listed([f"{100 * loss:.2f} % on {plan.TEXTS[text].title}" for loss, text in zip(losses(name), results.texts())])
    return (f"{'Yes' if near else '**No**'}: SpQR at {results.bits(name):.3f} bits adds to f16's perplexity {figures}; the paper calls less than "
            f"{100 * NEAR_LOSSLESS:g} % near-lossless.\n")


def crossing(points, rival):
    """Bits at which a curve of (bits, perplexity) reaches `rival`, lines between logarithms; null if nowhere."""
    reached = None
    for bits, perplexity in sorted(points, reverse=True):
        if perplexity > rival:
            if reached is None:
                return None
            before, least = reached
            share = (math.log(rival) - math.log(least)) / (math.log(perplexity) - math.log(least))
            return before - share * (before - bits)
        reached = (bits, perplexity)
    return reached[0] if reached else None


def verdict(results):
    texts = results.texts()
    rival = plan.RIVAL
    limit = results.bits(rival)
    names = [name for name in results.family("SpQR") if results.has_all_texts(name)]
    if not names or not results.has_all_texts(rival):
        return NOT_YET
    titles = [plan.TEXTS[text].title for text in texts]
    smaller = [name for name in names if results.bits(name) <= limit]
    winners = [name for name in smaller if all(results.perplexity(name, text) < results.perplexity(rival, text) for text in texts)]
    if winners:
        *also, best = winners
        figures = ", ".join(f"{results.perplexity(best, text):.3f} to {results.perplexity(rival, text):.3f}" for text in texts)
        text = f"Yes: SpQR at {results.bits(best):.3f} bits is better than GPTQ at {limit:.3f} bits on {listed(titles)} ({figures})."
        losers = [name for name in smaller if name not in winners]
        for beside, others in ((" So is SpQR at {} bits.", also), (" But SpQR at {} bits is not.", losers)):
            text += beside.format(listed([f"{results.bits(name):.3f}" for name in others])) if others else ""
        return text + "\n"
    where = [crossing([(results.bits(name), results.perplexity(name, text)) for name in names], results.perplexity(rival, text))
             for text in texts]
    first = "**No**: "
    if smaller:
        name = smaller[-1]
        lost = [title for title, text in zip(titles, texts) if results.perplexity(name, text) >= results.perplexity(rival, text)]
        first += f"SpQR at {results.bits(name):.3f} bits is not better than GPTQ at {limit:.3f} bits on {listed(lost)}."
    else:
        first += f"no SpQR file of {limit:.3f} bits, GPTQ's size, or less was measured."
    if any(bits is None for bits in where):
        return first + f" No size of SpQR that was measured (up to {results.bits(names[-1]):.3f} bits) is better on all of them.\n"
    least = max(where)
    beside = ", which is less than GPTQ takes" if least <= limit else ""
    return first + (f" It becomes better on all of them at about {least:.2f} bits{beside} (on lines through the logarithms of SpQR's "
                    "perplexities).\n")


# ---- tables 3 and 4

def task_table(results):
    tasks = [task for task in plan.TASKS if any(name.endswith(f"/task/{task}") for name in results.all)]
    if not tasks:
        return ""
    rows = []
    for method in plan.METHODS:
        scores = [results.of(f"{method.name}/task/{task}") for task in tasks]
        if not any(scores):
            continue
        cells = [f"{100 * score['acc']:.2f} ± {100 * score['acc_stderr']:.2f}" if score else "" for score in scores]
        mean = f"{100 * statistics.mean(score['acc'] for score in scores):.2f}" if all(scores) else ""
        rows.append([*is_cells(results, method.name), *cells, mean])
    counts = {results.of(name)["items"] for name in results.all if "/task/" in name}
    items = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(min(counts))
    return ("## Table 3: zero-shot accuracy\n\nPercent, with standard errors; " + items + " items a task; `acc` of the LM Evaluation Harness.\n\n" +
            table(IS + [plan.TASKS[task][0] for task in tasks] + ["mean"], rows) + "\n")


def middle(values, form):
    """Median, least and largest."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def speed_table(results):
    rounds = [results.of(name) for name in sorted(results.all) if name.startswith("speed/")]
    if not rounds:
        return ""
    names = [method.name for method in plan.METHODS if all(method.name in each for each in rounds)]
    kinds = [kind for kind in ("scratch", "prefix") if all(kind in each[name] for each in rounds for name in names)]
    depth = rounds[0][names[0]]["n_depth"]
    titles = {"scratch": "from scratch", "prefix": f"after a prefix of {depth}"}
    head = IS + [f"{titles[kind]}{what}" for kind in kinds for what in (", tokens/s", ", to f16")]
    rows = []
    for name in names:
        cells = []
        for kind in kinds:
            cells.append(middle([each[name][kind] for each in rounds], ".1f"))
            cells.append(middle([each[name][kind] / each[plan.BASELINE][kind] for each in rounds], ".2f"))
        rows.append([*is_cells(results, name), *cells])
    machines = sorted({results.all[name]["machine"] for name in results.all if name.startswith("speed/")})
    return (f"## Table 4: speed\n\nBatch 1, {results.header['sample']['new_tokens']} new tokens, on {'; '.join(machines)}. The models took turns in "
            f"{len(rounds)} rounds; medians, with the least and the largest in brackets, ratios of one round.\n\n" + table(head, rows) + "\n")


# ---- figures

def figure_1(results, stem):
    if len(results.family("SpQR")) < 1 or not results.texts():
        return ""
    return (f"## Figure 1: perplexity against size\n\n![perplexity against model size in GiB, a curve for each method]({stem}-figure1.svg)\n\n"
            "Of the whole file: embedding and head are in 16 bits, as in the paper.\n\n")


def share(part):
    return f"{100 * part['share']:.1f} %"


def head_cell(found):
    if not found["heads"]:
        return ""
    largest = max(range(len(found["heads"])), key=found["heads"].__getitem__)
    return f"{100 * found['heads'][largest]:.1f} % in head {largest} of {len(found['heads'])}"


def figure_2(results, stem):
    found = results.of("sensitivity/map")
    if found is None:
        return ""
    rows = [[f"`{each['module']}`", f"{each['shape'][0]} x {each['shape'][1]}", share(each["densest_rows"]), share(each["densest_columns"]),
             head_cell(each)] for each in found["maps"]]
    kinds = {}
    for each in found["outliers"]:
        kinds.setdefault(each["module"].rsplit(".", 1)[1], []).append(each)
    spread = [[f"`{kind}`", f"{100 * sum(each['outliers'] for each in of) / sum(each['shape'][0] * each['shape'][1] for each in of):.3f} %",
               *(f"{100 * statistics.mean(each[axis]['share'] for each in of):.1f} %" for axis in ("densest_rows", "densest_columns"))]
              for kind, of in sorted(kinds.items())]
    return (f"## Figure 2: which weights are sensitive\n\n![sensitivity of matrices of the last block, dark where it is high]({stem}-figure2.svg)\n\n"
            "`(w - quant(w))^2 / (2 [H^-1]_jj)` of single weights, at 3 bits in groups of 16 x 16; input along the picture, output down. Of the "
            "sum over a matrix there lie in the densest\n\n" +
            table(["matrix", "outputs x inputs", "1 % of rows", "1 % of columns", "largest head"], rows) +
            "\nOutliers of the same file, means over all blocks:\n\n" +
            table(["matrices", "outliers", "in the densest 1 % of rows", "of columns"], spread) + "\n")


# ---- ablations

def ablation_table(results):
    names = [f"ablation/{method.name}" for method in plan.ABLATIONS]
    if not any(results.has(name) for name in names):
        return ""
    texts = [text for text in results.texts() if any(f"ablation/{m.name}/perplexity/{text}" in results.all for m in plan.ABLATIONS)]
    rows = [[method.family, number(results.bits(name), ".3f"),
             "" if results.value(f"{name}/quantize", "outlier_share") is None else f"{100 * results.value(f'{name}/quantize', 'outlier_share'):.3f} %",
             *(number(results.perplexity(name, text), ".3f") for text in texts)]
            for method, name in zip(plan.ABLATIONS, names) if results.has(name)]
    windows = ", ".join(f"{results.value(name, 'windows')} windows of {plan.TEXTS[text].title}" for text in texts
                        for name in [next(each for each in results.all if each.startswith("ablation/") and each.endswith(f"/perplexity/{text}"))])
    return (f"## Ablations\n\nEach changes one thing of the first row; {windows}. Bits differ, so read both columns.\n\n" +
            table(["what", "average bits", "outliers"] + [plan.TEXTS[text].title for text in texts], rows) + "\n")


# ---- how

def method_notes(results):
    header = results.header
    quick = ("**A quick look**: samples are small, and differences of a few percent mean nothing.\n\n" if header["quick"] else "")
    notes = [f"Calibrated on {header['sample']['calibration_samples']} windows of {header['sample']['calibration_length']} tokens."]
    for text in results.texts():
        found = results.of(f"{plan.BASELINE}/perplexity/{text}")
        if found:
            notes.append(f"{plan.TEXTS[text].title}: {found['windows']} windows of {found['context']} tokens.")
    if header["missing"]:
        notes.append(f"Not there to be measured: {', '.join(header['missing'])}.")
    return quick + " ".join(notes) + "\n\n"


def provenance(results):
    groups = {}
    for kept in results.all.values():
        group = groups.setdefault((kept["commit"], kept["machine"]), [0, 0.0])
        group[0] += 1
        group[1] += kept["seconds"]
    rows = [[f"`{commit}`", machine, str(count), f"{seconds / 60:.0f}"] for (commit, machine), (count, seconds) in sorted(groups.items())]
    text = ("## Where the numbers come from\n\n" + f"    {results.header['command']}\n\n"
            "`results.json` has the command, commit, machine and seconds of every number, and checksums of what went into it.\n\n" +
            table(["commit", "machine", "steps", "minutes"], rows))
    if results.failed:
        text += "\nNot measured, because it failed:\n\n" + "".join(f"- `{name}`: {why}\n" for name, why in sorted(results.failed.items()))
    return text


def render(results, stem):
    results = Results(results)
    return (f"# SpQR, GPTQ and round-to-nearest on {results.header['model']}\n\n" + method_notes(results) +
            "## Is SpQR near-lossless?\n\n" + near_lossless(results) + "\n## Is SpQR better at the same size?\n\n" + verdict(results) +
            "\n## Table 1: perplexity near-lossless and at about 4 bits\n\n" + perplexity_table(results, TABLE_1) +
            "\n## Table 2: perplexity at about 3.5 bits and less\n\n" + perplexity_table(results, TABLE_2) + "\n" +
            task_table(results) + speed_table(results) + figure_1(results, stem) + figure_2(results, stem) + ablation_table(results) +
            provenance(results))
