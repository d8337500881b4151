"""What is measured: methods, samples, and the steps that measure them, in the order in which they are taken."""
import dataclasses
import pathlib

# Folders that commands name, so that results.json says what was run wherever it was run.
MODEL, DATA, OUT, TOKENIZER = "{model}", "{data}", "{out}", "{tokenizer}"


def real(text, folders):
    """`text` with paths where it names folders; `folders` has a path for each name."""
    for placeholder, path in folders.items():
        text = text.replace(placeholder, str(path))
    return text


@dataclasses.dataclass(frozen=True)
class Method:
    name: str
    family: str  # what a curve of figure 1 joins, and the tables' second column
    options: tuple
    calibrated: bool = True


SPQR = ("--scheme", "spqr", "--scale-bits", "3", "--zero-bits", "3", "--permutation", "act_order", "--damp", "1.0")


def spqr(bits, beta1, beta2, *more):
    return SPQR + ("--bits", str(bits), "--beta1", str(beta1), "--beta2", str(beta2)) + more


# Sizes of the paper's tables: near-lossless, about 4 bits, about 3.5 bits.
METHODS = (
    Method("f16", "f16", ("--scheme", "f16"), calibrated=False),
    Method("spqr-4.6", "SpQR", spqr(4, 16, 16, "--outlier-threshold", "0.2")),
    Method("rtn-4", "RTN", ("--scheme", "rtn", "--bits", "4"), calibrated=False),
    Method("gptq-4", "GPTQ", ("--scheme", "gptq", "--bits", "4", "--damp", "0.01")),
    Method("spqr-3.9", "SpQR", spqr(3, 8, 64, "--target-bits", "3.94")),
    Method("rtn-3", "RTN", ("--scheme", "rtn", "--bits", "3"), calibrated=False),
    Method("gptq-3", "GPTQ", ("--scheme", "gptq", "--bits", "3", "--damp", "0.01")),
    Method("spqr-3.5", "SpQR", spqr(3, 16, 64, "--target-bits", "3.47")),
)
BASELINE, RIVAL = "f16", "gptq-4"

FULL_SPQR = spqr(3, 16, 16, "--outlier-threshold", "0.2")


def without(options, name):
    at = options.index(name)
    return options[:at] + options[at + 2:]


def changed(name, value):
    return without(FULL_SPQR, name) + (name, value)


def statistics(bits):
    return without(changed("--scale-bits", bits), "--zero-bits") + ("--zero-bits", bits)


ABLATIONS = (
    Method("full", "as it is: 3 bits, 16 x 16, statistics of 3 bits, threshold 0.2", FULL_SPQR),
    Method("no-outliers", "no outliers", changed("--outlier-threshold", "inf")),
    Method("simplified", "simplified outliers (no leave-one-out search)", FULL_SPQR + ("--simplified-outliers",)),
    Method("group-8", "groups of 8", changed("--beta1", "8")),
    Method("group-32", "groups of 32", changed("--beta1", "32")),
    Method("group-64", "groups of 64", changed("--beta1", "64")),
    Method("group-128", "groups of 128", changed("--beta1", "128")),
    Method("statistics-2", "statistics of 2 bits", statistics("2")),
    Method("statistics-4", "statistics of 4 bits", statistics("4")),
    Method("statistics-16", "statistics of 16 bits", without(statistics("16"), "--beta2")),
    Method("round-zero", "rounded zero points", FULL_SPQR + ("--round-zero",)),
    Method("identity", "columns in their own order", changed("--permutation", "identity")),
)


@dataclasses.dataclass(frozen=True)
class TextSet:
    title: str
    file: str
    options: tuple


TEXTS = {
    "wikitext2": TextSet("WikiText2", "wikitext2/wiki.test.raw", ("--dataset", "wikitext2")),
    "c4": TextSet("C4", "c4/c4_en_train_first1000.jsonl", ("--dataset", "c4-new", "--documents", "501-1000")),
    "ptb": TextSet("PTB", "ptb/ptb.valid.txt", ("--dataset", "ptb")),
}
CALIBRATION_TEXT, CALIBRATION_DOCUMENTS = "c4/c4_en_train_first1000.jsonl", "1-500"
# Title, and tokens an item takes, about.
TASKS = {"winogrande": ("WinoGrande", 55), "piqa": ("PiQA", 75), "hellaswag": ("HellaSwag", 170),
         "arc_easy": ("ARC-easy", 60), "arc_challenge": ("ARC-challenge", 70)}


@dataclasses.dataclass(frozen=True)
class Sample:
    windows: dict           # of each text; 0: all
    ablation_windows: dict
    items: int              # of each task; 0: all
    calibration_samples: int
    calibration_length: int
    rounds: int             # of speed
    new_tokens: int = 100
    prefix: int = 1024


FULL = Sample({"wikitext2": 0, "c4": 64, "ptb": 0}, {"wikitext2": 16, "c4": 8, "ptb": 8}, 1000, 32, 2048, 5)
QUICK = Sample({"wikitext2": 4, "c4": 2, "ptb": 2}, {"wikitext2": 2, "c4": 1, "ptb": 1}, 30, 8, 1024, 2)


@dataclasses.dataclass
class Step:
    name: str
    kind: str                 # quantize, perplexity, task, speed, sensitivity
    says: str                 # for people
    commands: list            # of (program, arguments); each prints a JSON value
    inputs: list = dataclasses.field(default_factory=list)  # files and folders that decide the result
    models: list = dataclasses.field(default_factory=list)  # names of .spqr files that it reads
    makes: str = ""           # name of the one that it writes
    prompt_tokens: int = 0    # what it costs
    new_tokens: int = 0
    calibration_tokens: int = 0
    solves: int = 0           # of all weights


@dataclasses.dataclass(frozen=True)
class Common:
    """Options of all steps."""
    threads: tuple = ()
    tokenizer: bool = False  # another one than the model's


def model_file(name):
    return f"{OUT}/models/{name.replace('/', '-')}.spqr"


def quantize_step(method, sample, common, prefix="", extra=(), tensors=False):
    name = prefix + method.name
    out = model_file(name)
    arguments = [MODEL, out, *method.options, *extra, "--json", "--quiet", *common.threads]
    inputs = [MODEL]
    if common.tokenizer:
        arguments += ["--tokenizer", TOKENIZER]
        inputs.append(TOKENIZER)
    if method.calibrated:
        arguments += ["--calibration", f"{DATA}/{CALIBRATION_TEXT}", "--documents", CALIBRATION_DOCUMENTS,
                      "--calibration-samples", str(sample.calibration_samples),
                      "--calibration-length", str(sample.calibration_length)]
        inputs.append(f"{DATA}/{CALIBRATION_TEXT}")
    inspect = [out, "--json"] + (["--tensors"] if tensors else [])
    solves = 0 if method.name == BASELINE else 6 if "--target-bits" in method.options else 1
    return Step(f"{name}/quantize", "quantize", f"quantize {name}", [("spqr-quantize", arguments), ("spqr-inspect", inspect)],
                inputs, makes=name,
                calibration_tokens=sample.calibration_samples * sample.calibration_length if method.calibrated else 0,
                solves=solves)


def perplexity_step(name, text, windows, common, tokens):
    of = TEXTS[text]
    file = f"{DATA}/{of.file}"
    arguments = ["-m", model_file(name), *of.options, "-f", file, "--json", *common.threads]
    arguments += ["--windows", str(windows)] if windows else []
    return Step(f"{name}/perplexity/{text}", "perplexity", f"perplexity of {name} on {of.title}",
                [("spqr-perplexity", arguments)], [file], [name], prompt_tokens=tokens)


def task_folder(task):
    return f"tasks/{'arc' if task.startswith('arc_') else task}"


def task_step(name, task, items, common):
    arguments = ["-m", model_file(name), "--tasks", task, "--data", f"{DATA}/tasks", "--json", *common.threads]
    arguments += ["--limit", str(items)] if items else []
    title, tokens = TASKS[task]
    return Step(f"{name}/task/{task}", "task", f"{title} with {name}", [("spqr-eval", arguments)],
                [f"{DATA}/{task_folder(task)}"], [name],
                prompt_tokens=(items or 2000) * tokens)


def speed_step(index, names, sample, context, common):
    """One round: every model once, and the order turns from round to round."""
    depth = max(0, min(sample.prefix, context - sample.new_tokens))
    depths = f"0,{depth}" if depth else "0"
    order = names if index % 2 == 0 else names[::-1]
    commands = [("spqr-bench", ["-m", model_file(name), "--no-mmap", "-p", "0", "-n", str(sample.new_tokens), "-d", depths,
                                "-r", "1", "-o", "json", *common.threads]) for name in order]
    return Step(f"speed/{index + 1}", "speed", f"speed, round {index + 1}", commands, [], list(order),
                prompt_tokens=depth * len(names), new_tokens=3 * sample.new_tokens * len(names))


def pictured(modules):
    """Matrices of the last block that figure 2 shows: queries, behind the heads, out of the MLP."""
    found = []
    for kinds in (("self_attn.q_proj", "self_attention.q_proj"), ("self_attn.o_proj", "self_attention.dense"),
                  ("down_proj", "dense_4h_to_h")):
        of_kind = [name for name in modules if name.endswith(kinds)]
        found += of_kind[-1:]
    return found


def by_block(modules):
    """In the order of blocks, which names as text are not."""
    def numbers(name):
        return [int(part) if part.isdigit() else -1 for part in name.split(".")], name
    return sorted(modules, key=numbers)


def sensitivity_steps(modules, sample, common):
    method = Method("sensitivity", "SpQR", FULL_SPQR)
    quantize = quantize_step(method, sample, common, extra=("--keep-sensitivity",))
    file = model_file("sensitivity")
    commands = [("spqr-inspect", [file, "--sensitivity", name, "--json"]) for name in pictured(by_block(modules))]
    commands.append(("spqr-inspect", [file, "--outliers", "--json"]))
    return [quantize, Step("sensitivity/map", "sensitivity", "sensitivity and outliers", commands, [], ["sensitivity"])]


def window_tokens(data, text, windows, context):
    file = pathlib.Path(data) / TEXTS[text].file
    all_tokens = int(file.stat().st_size / 4.2)
    return min(windows * context, all_tokens) if windows else all_tokens


def texts_in(data):
    return [text for text, of in TEXTS.items() if (data / of.file).exists()]


def tasks_in(data):
    return [task for task in TASKS if (data / task_folder(task)).exists()]


def steps(facts, data, sample, ablations, common):
    """All but the one that makes the f16 model, of which `facts` are. What there is no data for is left out."""
    context = min(2048, facts["context"])
    texts, tasks = texts_in(data), tasks_in(data)
    compared = [method for method in METHODS if method.name == BASELINE or method.family == "SpQR"]

    def perplexities(name, windows):
        return [perplexity_step(name, text, windows[text], common, window_tokens(data, text, windows[text], context)) for text in texts]

    def of_method(method):
        made = [] if method.name == BASELINE else [quantize_step(method, sample, common)]
        return made + perplexities(method.name, sample.windows) + [task_step(method.name, task, sample.items, common) for task in tasks]

    # A method is finished before the next is begun, and what speed compares comes first: an interrupted run leaves whole rows, whose
    # models need not be made again. Another kind of processor would make other ones, but for RTN's, which come last.
    planned = [step for method in compared for step in of_method(method)]
    names = [method.name for method in compared]
    planned += [speed_step(i, names, sample, facts["context"], common) for i in range(sample.rounds)]
    planned += sensitivity_steps(facts["modules"], sample, common)
    others = sorted((method for method in METHODS if method not in compared), key=lambda method: not method.calibrated)
    planned += [step for method in others for step in of_method(method)]
    for method in ABLATIONS if ablations else ():
        planned.append(quantize_step(method, sample, common, prefix="ablation/"))
        planned += perplexities(f"ablation/{method.name}", sample.ablation_windows)
    return planned


def missing(data):
    """Sentences about data that is not there."""
    texts, tasks = texts_in(data), tasks_in(data)
    return ([of.title for text, of in TEXTS.items() if text not in texts] +
            [title for task, (title, _) in TASKS.items() if task not in tasks])
