"""Figures 1 and 2 of a results.json, as PNG and SVG. Needs matplotlib."""
import base64

from reproduction import page, plan

MARKS = {"SpQR": "o-", "GPTQ": "s-", "RTN": "^-"}


def save(figure, path):
    figure.savefig(f"{path}.png", dpi=150)
    figure.savefig(f"{path}.svg", metadata={"Date": None})


def plain_axes(axis, ticker):
    """Numbers as they are, and few of them."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    wide = high > 20 * low
    axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 3) if wide else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7)))
    axis.yaxis.set_minor_locator(ticker.NullLocator())
    axis.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.xaxis.set_major_locator(ticker.MaxNLocator(4))


def figure_1(pyplot, ticker, results, path):
    texts = results.texts()
    figure, axes = pyplot.subplots(1, len(texts), figsize=(4.2 * len(texts), 3.6), squeeze=False, constrained_layout=True)
    for axis, text in zip(axes[0], texts):
        for family, mark in MARKS.items():
            points = [(results.gib(name), results.perplexity(name, text)) for name in results.family(family) if results.perplexity(name, text)]
            if points:
                axis.plot(*zip(*points), mark, label=family)
        whole = results.perplexity(plan.BASELINE, text)
        if whole:
            axis.axhline(whole, color="gray", linestyle=":", label=f"f16, {results.gib(plan.BASELINE):.2f} GiB")
        plain_axes(axis, ticker)
        axis.set_title(plan.TEXTS[text].title)
        axis.set_xlabel("model size, GiB")
    axes[0][0].set_ylabel("perplexity")
    axes[0][0].legend()
    save(figure, path)
    pyplot.close(figure)


def cells(found):
    """Powers of ten, row by row."""
    rows, columns = found["cells"]
    step = (found["high"] - found["low"]) / 255
    shades = base64.b64decode(found["log10_shades"])
    return [[found["low"] + step * shade for shade in shades[row * columns:(row + 1) * columns]] for row in range(rows)]


def figure_2(pyplot, results, path):
    maps = results.of("sensitivity/map")["maps"]
    figure, axes = pyplot.subplots(1, len(maps), figsize=(4.6 * len(maps), 4.6), squeeze=False, constrained_layout=True)
    for axis, found in zip(axes[0], maps):
        m, n = found["shape"]
        picture = axis.imshow(cells(found), cmap="Blues", vmin=-2, vmax=2, extent=(0, n, m, 0), aspect="auto", interpolation="nearest")
        axis.set_title(found["module"], fontsize=8)
        axis.set_xlabel("input")
        # Where heads begin: rows of queries, keys and values, columns of what follows the heads.
        size = (m if found["heads_along"] == "rows" else n) / len(found["heads"]) if found["heads"] else 0
        heads = range(0, len(found["heads"]), max(1, len(found["heads"]) // 8))
        ticks = [round(size * head) for head in heads]
        if ticks and found["heads_along"] == "rows":
            axis.set_yticks(ticks, [f"head {head}" for head in heads], fontsize=6)
        elif ticks:
            axis.set_xticks(ticks, [str(head) for head in heads], fontsize=6)
            axis.set_xlabel("input, by head")
    axes[0][0].set_ylabel("output")
    figure.colorbar(picture, ax=axes[0].tolist(), label="log10 of sensitivity, mean = 0", shrink=0.8)
    save(figure, path)
    pyplot.close(figure)


def draw(results, stem):
    """Beside the page: `stem`-figure1.png and .svg, and likewise figure2. Raises ImportError without matplotlib."""
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "spqr"  # the same file every time
    from matplotlib import pyplot, ticker
    results = page.Results(results)
    if results.family("SpQR") and results.texts():
        figure_1(pyplot, ticker, results, f"{stem}-figure1")
    if results.of("sensitivity/map") and results.of("sensitivity/map")["maps"]:
        figure_2(pyplot, results, f"{stem}-figure2")
