"""The paper's own perplexities (arXiv 2306.03078, tables 1 and 2), shown beside ours for the models they belong to."""

# model_type, hidden_size, num_hidden_layers, vocab_size, max_position_embeddings: title, and rows of
# method, bits, WikiText2, C4, PTB.
KNOWN = {
    ("llama", 4096, 32, 32000, 2048): ("LLaMA-7B", [
        ("f16", 16, 5.68, 7.08, 8.80), ("SpQR", 4.63, 5.73, 7.13, 8.88), ("RTN", 4, 6.43, 7.93, 10.30),
        ("GPTQ", 4, 6.13, 7.43, 9.27), ("SpQR", 3.94, 5.87, 7.28, 9.07)]),
    ("llama", 5120, 40, 32000, 2048): ("LLaMA-13B", [
        ("f16", 16, 5.09, 6.61, 8.07), ("SpQR", 4.63, 5.13, 6.64, 8.13), ("RTN", 4, 5.55, 6.98, 8.65),
        ("GPTQ", 4, 5.40, 6.84, 8.44), ("SpQR", 3.96, 5.22, 6.72, 8.22)]),
    ("llama", 6656, 60, 32000, 2048): ("LLaMA-30B", [
        ("f16", 16, 4.10, 5.98, 7.30), ("SpQR", 4.69, 4.14, 6.01, 7.33), ("RTN", 4, 4.57, 6.34, 7.75),
        ("GPTQ", 4, 4.48, 6.20, 7.54), ("SpQR", 3.89, 4.25, 6.08, 7.38)]),
    ("llama", 8192, 80, 32000, 2048): ("LLaMA-65B", [
        ("f16", 16, 3.53, 5.62, 6.91), ("SpQR", 4.71, 3.57, 5.64, 6.93), ("RTN", 4, 3.87, 5.85, 7.17),
        ("GPTQ", 4, 3.83, 5.80, 7.07), ("SpQR", 3.90, 3.68, 5.70, 6.99)]),
    ("falcon", 4544, 32, 65024, 2048): ("Falcon-7B", [
        ("f16", 16, 6.59, 9.50, 9.90), ("SpQR", 4.44, 6.64, 9.58, 9.97), ("RTN", 4, 8.73, 12.56, 13.76),
        ("GPTQ", 4, 6.91, 9.93, 10.33), ("SpQR", 3.92, 6.74, 9.70, None)]),
    ("falcon", 8192, 60, 65024, 2048): ("Falcon-40B", [
        ("f16", 16, 5.23, 7.76, 7.83), ("SpQR", 4.46, 5.26, 7.79, 7.86), ("RTN", 4, 6.52, 9.76, 10.63),
        ("GPTQ", 4, 5.36, 7.95, 8.01), ("SpQR", 3.90, 5.29, 7.85, 7.91)]),
}
COLUMNS = {"wikitext2": 2, "c4": 3, "ptb": 4}


def rows(config, texts):
    """Rows of a table: model, bits, method, and the columns of `texts`. None for models that the paper has not."""
    fields = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings")
    found = KNOWN.get(tuple((config or {}).get(field) for field in fields))
    if found is None:
        return None
    title, known = found
    return [[title, f"{row[1]:.2f}", row[0], *("" if row[COLUMNS[text]] is None else f"{row[COLUMNS[text]]:.2f}" for text in texts)]
            for row in known]
