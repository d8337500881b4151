#!/usr/bin/env python3
"""Writes tests/fixtures/tokenizers/{pretokenizers,normalizers,synthetic,tiktoken}.json: what Hugging Face's tokenizers does.

    pip install tokenizers && scripts/make_tokenizer_fixtures.py

pretokenizers.json: words that each pre-tokenizer cuts texts into.  normalizers.json: what each normalizer makes of texts.
synthetic.json: small vocabularies with the pipelines of LLaMA 2, LLaMA 3, Qwen2 and Mistral-Nemo, trained on a few
sentences, as tokenizer.json objects, and the ids of texts: special tokens recognised or not, added or not.
tiktoken.json: ids by the tiktoken library (pip install tiktoken).
"""
import json
import pathlib
import random
import unicodedata

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"

GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BYTES = dict(GPT2, use_regex=False)
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
          r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


PRE_TOKENIZERS = {
    "gpt-2": GPT2,
    "gpt-2 with a space": dict(GPT2, add_prefix_space=True),
    "bytes": BYTES,
    "smollm": sequence({"type": "Digits", "individual_digits": True}, GPT2),
    "llama-bpe": sequence(split({"Regex": LLAMA3}), BYTES),
    "qwen2": sequence(split({"Regex": QWEN2}), BYTES),
    "tekken": sequence(split({"Regex": TEKKEN}), BYTES),
    "falcon": sequence({"type": "Punctuation", "behavior": "Contiguous"}, GPT2,
                       {"type": "Digits", "individual_digits": False}, split({"Regex": "[0-9][0-9][0-9]"})),
    "deepseek-coder": sequence(*(split({"Regex": pattern}) for pattern in
                                 (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+")),
                               {"type": "Digits", "individual_digits": True}, BYTES),
    "punctuation": {"type": "Punctuation", "behavior": "Isolated"},
    "digits": {"type": "Digits", "individual_digits": False},
    "whitespace": {"type": "Whitespace"},
    "whitespace split": {"type": "WhitespaceSplit"},
    "metaspace always": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
    "metaspace first": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False},
    "metaspace never": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": True},
    **{f"split {behavior}{' inverted' if invert else ''}": split({"String": "ll"}, behavior, invert)
       for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
       for invert in (False, True)},
    "split at spaces": split({"Regex": r"\s"}, "MergedWithNext"),
    "split between spaces": split({"Regex": r"[^\s]+"}, "Isolated"),
    "split by a dot": split({"String": "."}, "Contiguous"),
}

NORMALIZERS = {
    "nfc": {"type": "NFC"},
    "nfd": {"type": "NFD"},
    "nfkc": {"type": "NFKC"},
    "nfkd": {"type": "NFKD"},
    "llama": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
}

TEXTS = [
    "", " ", "  ", "   a", "Hello, world!", " Hello  world ", "I'm you're HE'S we'Ve 'D 'll THEY'LL \u2019s",
    "1 12 123 1234 12345 3.14159 1,000,000", "x=1;\n\n\n  y =\t2\r\n\r\n", "tail   ", "tail \n", "\n \n", "\t\t\n ",
    "call the llama: hello all, llllll", "...dots.. and -- dashes __init__ $5 <b> `code` ~ ^",
    "Gr\u00fc\u00dfe aus K\u00f6ln, \u00c5ngstr\u00f6m, e\u0301\u0301 a\u0323\u0302 \ufb01ne \u2460 \u00bd \u2167",
    "\u043d\u0435\u0449\u043e \u043d\u0430 \u0411\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438",
    "\u6211\u60f3\u5728apple\u5de5\u4f5c1314151\u5929\uff5e", "\ud55c\uae00 \u1112\u1161\u11ab \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\u0645\u0631\u062d\u0628\u0627 \u0661\u0662\u0663 \u0938\u094d\u0924\u0947 \u0967\u0968", "\U0001f680 \U0001f636\u200d\U0001f32b\ufe0f \u2705\u2705",
    "a\u00a0b\u2003c\u3000d\u180ee\u200bf\u0085g\u2028h", "\u2581already\u2581there \u2581", "\x00\x01\x7f", "\u212b\u2126\uac01\u0344",
    "camelCaseHTTPServer snake_case SCREAMING", "https://example.com/path?q=1#x", "\u0130stanbul \u0131 \u017f 'S '\u017f",
    "<s>Hi</s> there", "<|im_start|>user\nHi<|im_end|>\n", "a <tool_call> b<tool_call>c", "x<mask>  y", "<|eot_id|><|eot_id|>",
]


def random_texts():
    """Code points of all planes, but for those that newer versions of Unicode assign: tables differ there."""
    rng = random.Random(4)
    old = unicodedata.ucd_3_2_0  # what it has, all versions have
    texts = []
    for _ in range(12):
        text = ""
        while len(text) < 40:
            c = chr(rng.choice([rng.randrange(0x80), rng.randrange(0x800), rng.randrange(0x3000), rng.randrange(0x10000),
                                rng.randrange(0x110000), 0x20, 0x0A]))
            if 0xD800 <= ord(c) <= 0xDFFF or (old.category(c) == "Cn" and not 0x40000 <= ord(c) < 0xE0000):
                continue
            text += c
        texts.append(text)
    return texts


def from_description(kind, module, description):
    shell = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
             "pre_tokenizer": None, "post_processor": None, "decoder": None,
             "model": {"type": "BPE", "vocab": {}, "merges": []}, kind: description}
    return getattr(Tokenizer.from_str(json.dumps(shell)), kind)


def write(name, value):
    path = ROOT / "tokenizers" / name
    path.write_text(json.dumps(value, ensure_ascii=True, indent=0) + "\n")
    print(path, path.stat().st_size)


def train(pre, normalizer, decoder, specials, plain_added, post, byte_fallback=False, ignore_merges=False):
    lines = [json.loads(line)["text"] for line in (ROOT / "calibration" / "c4_sample.jsonl").read_text().splitlines()][:6]
    tokenizer = Tokenizer(models.BPE(byte_fallback=byte_fallback, fuse_unk=byte_fallback,
                                     unk_token="<unk>" if byte_fallback else None, ignore_merges=ignore_merges))
    if pre is not None:
        tokenizer.pre_tokenizer = from_description("pre_tokenizer", pre_tokenizers, pre)
    if normalizer is not None:
        tokenizer.normalizer = from_description("normalizer", normalizers, normalizer)
    if byte_fallback:
        initial = []
        first = ["<unk>"] + specials + [f"<0x{b:02X}>" for b in range(256)]
    else:
        initial, first = pre_tokenizers.ByteLevel.alphabet(), []
    trainer = trainers.BpeTrainer(vocab_size=len(first) + 500, initial_alphabet=initial, special_tokens=first,
                                  show_progress=False, max_token_length=12)
    tokenizer.train_from_iterator(lines, trainer)
    description = json.loads(tokenizer.to_str())
    if byte_fallback:  # bytes are pieces of the vocabulary, not tokens to look for in text
        description["added_tokens"] = [t for t in description["added_tokens"] if not t["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(description))
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens(specials)
    tokenizer.add_tokens(plain_added)
    if post:
        tokenizer.post_processor = post(tokenizer)
    return tokenizer


def template(name):
    return lambda t: processors.TemplateProcessing(single=f"{name} $A", special_tokens=[(name, t.token_to_id(name))])


def synthetic():
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
    llama_decoder = lambda: decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                               decoders.Strip(" ", 1, 0)])
    mask = AddedToken("<mask>", lstrip=True, rstrip=True, single_word=False, special=False, normalized=False)
    word = AddedToken("hello", single_word=True, special=False, normalized=True)
    return {
        "llama2 legacy": train(None, NORMALIZERS["llama"], llama_decoder(), ["<s>", "</s>"], [], template("<s>"),
                               byte_fallback=True),
        "llama2": train(metaspace, None, llama_decoder(), ["<s>", "</s>"], [mask], template("<s>"), byte_fallback=True),
        "llama3": train(PRE_TOKENIZERS["llama-bpe"], None, decoders.ByteLevel(),
                        ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], [],
                        lambda t: processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                                       template("<|begin_of_text|>")(t)]), ignore_merges=True),
        "qwen2": train(PRE_TOKENIZERS["qwen2"], NORMALIZERS["nfc"], decoders.ByteLevel(),
                       ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
                       [AddedToken("<tool_call>", special=False, normalized=False), mask, word],
                       lambda t: processors.ByteLevel(trim_offsets=False)),
        "nemo": train(PRE_TOKENIZERS["tekken"], None, decoders.ByteLevel(), ["<s>", "</s>"], [], template("<s>"),
                      ignore_merges=True),
    }


def cases(tokenizer, texts):
    out = []
    for text in texts:
        case = {"text": text}
        tokenizer.encode_special_tokens = True
        case["plain"] = tokenizer.encode(text, add_special_tokens=False).ids
        case["decoded"] = tokenizer.decode(case["plain"], skip_special_tokens=True)
        tokenizer.encode_special_tokens = False
        case["parsed"] = tokenizer.encode(text, add_special_tokens=True).ids
        out.append(case)
    return out


def tiktoken_cases(texts):
    """What tiktoken makes of texts with SmolLM2's tokens as ranks and LLaMA 3's pattern; bytes that it lacks follow."""
    import tiktoken
    model = json.loads((ROOT / "tokenizers" / "smollm2" / "tokenizer.json").read_text())
    added = {token["content"] for token in model["added_tokens"]}
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    alphabet = {**{chr(b): b for b in plain}, **{chr(256 + i): b for i, b in enumerate(others)}}
    tokens = [bytes(alphabet[c] for c in token) for token, _ in sorted(model["model"]["vocab"].items(), key=lambda entry: entry[1])
              if token not in added]
    tokens += [bytes([b]) for b in range(256) if bytes([b]) not in set(tokens)]
    encoding = tiktoken.Encoding("llama-3", pat_str=LLAMA3, mergeable_ranks={t: i for i, t in enumerate(tokens)}, special_tokens={})
    return [{"text": t, "ids": encoding.encode_ordinary(t)} for t in texts]


def main():
    texts = TEXTS + random_texts()
    write("pretokenizers.json", [
        {"name": name, "description": d,
         "cases": [{"text": t, "words": [w for w, _ in from_description("pre_tokenizer", pre_tokenizers, d).pre_tokenize_str(t)]}
                   for t in texts]} for name, d in PRE_TOKENIZERS.items()])
    write("normalizers.json", [
        {"name": name, "description": d,
         "cases": [{"text": t, "normalized": from_description("normalizer", normalizers, d).normalize_str(t)} for t in texts]}
        for name, d in NORMALIZERS.items()])
    write("tiktoken.json", tiktoken_cases(texts))
    write("synthetic.json", [{"name": name, "tokenizer": json.loads(t.to_str()), "cases": cases(t, texts)}
                             for name, t in synthetic().items()])


if __name__ == "__main__":
    main()
