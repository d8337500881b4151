#!/usr/bin/env python3
"""Makes tests/fixtures/gguf: small random models as GGUF files, each beside the Hugging Face directory it stands for.

    pip install numpy gguf safetensors && scripts/make_gguf_fixtures.py [OUT]

Tensors are quantized and dequantized by gguf-py, and q and k rows permuted as its converter does, so that a reader can be
checked against somebody else's arithmetic. Types that gguf-py only dequantizes are random blocks. The same bytes every time.
"""
import json
import pathlib
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

HIDDEN, FFN, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 32, 32, 2, 1, 16, 24
TOKENS = ["<unk>", "<s>", "</s>", "é", "▁"] + [f"t{i}" for i in range(VOCAB - 5)]


def to_interleaved(w, heads):
    """The converter's order of q and k rows in the llama architecture."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def tensors(rng, biases, head_norms, separate_head):
    """GGUF name -> (Hugging Face's name, values in Hugging Face's order)."""
    def make(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    layer = "model.layers.0."
    yield "token_embd.weight", "model.embed_tokens.weight", make(VOCAB, HIDDEN)
    for name, module, rows in (("attn_q", "self_attn.q_proj", HEADS * HEAD_DIM), ("attn_k", "self_attn.k_proj", KV_HEADS * HEAD_DIM),
                               ("attn_v", "self_attn.v_proj", KV_HEADS * HEAD_DIM)):
        yield f"blk.0.{name}.weight", f"{layer}{module}.weight", make(rows, HIDDEN)
        if biases:
            yield f"blk.0.{name}.bias", f"{layer}{module}.bias", make(rows)
    if head_norms:
        yield "blk.0.attn_q_norm.weight", f"{layer}self_attn.q_norm.weight", make(HEAD_DIM)
        yield "blk.0.attn_k_norm.weight", f"{layer}self_attn.k_norm.weight", make(HEAD_DIM)
    yield "blk.0.attn_output.weight", f"{layer}self_attn.o_proj.weight", make(HIDDEN, HEADS * HEAD_DIM)
    yield "blk.0.ffn_gate.weight", f"{layer}mlp.gate_proj.weight", make(FFN, HIDDEN)
    yield "blk.0.ffn_up.weight", f"{layer}mlp.up_proj.weight", make(FFN, HIDDEN)
    yield "blk.0.ffn_down.weight", f"{layer}mlp.down_proj.weight", make(HIDDEN, FFN)
    yield "blk.0.attn_norm.weight", f"{layer}input_layernorm.weight", make(HIDDEN)
    yield "blk.0.ffn_norm.weight", f"{layer}post_attention_layernorm.weight", make(HIDDEN)
    yield "output_norm.weight", "model.norm.weight", make(HIDDEN)
    if separate_head:
        yield "output.weight", "lm_head.weight", make(VOCAB, HIDDEN)


def llama3_factors(theta, factor, low, high, original):
    """rope_freqs.weight as the converter computes it."""
    factors = []
    for frequency in 1.0 / (theta ** (np.arange(0, HEAD_DIM, 2, dtype=np.float32) / HEAD_DIM)):
        wavelength = 2 * np.pi / frequency
        if wavelength < original / high:
            factors.append(1)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, dtype=np.float32)


def add_tokenizer(writer):
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([-float(i) / 4 for i in range(VOCAB)])
    writer.add_token_types([2, 3, 3] + [1] * (VOCAB - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_chat_template("{{ messages }}")


def finish(writer, out, name, config, expected):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    directory = out / name
    directory.mkdir(exist_ok=True)
    save_file(expected, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write(out, arch, types, default_type, alignment, seed, **shape):
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(out / f"{arch}.gguf", arch)
    if alignment:
        writer.add_custom_alignment(alignment)
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    add_tokenizer(writer)
    config = {"architectures": [{"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}[arch] + "ForCausalLM"], "model_type": arch,
              "hidden_act": "silu", "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": 1,
              "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "vocab_size": VOCAB,
              "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "bos_token_id": 1, "eos_token_id": 2,
              "tie_word_embeddings": not shape["separate_head"]}
    expected = {}
    for name, hf_name, values in tensors(rng, **shape):
        kind = types.get(name, Type.F32 if values.ndim == 1 else default_type)
        stored = quantize(to_interleaved(values, HEADS if "attn_q." in name else KV_HEADS)
                          if arch == "llama" and ("attn_q." in name or "attn_k." in name) else values, kind)
        writer.add_tensor(name, stored, raw_dtype=kind)
        # Quantization works row by row, so that the rows of the original order get the same values.
        expected[hf_name] = dequantize(quantize(values, kind), kind).astype(np.float16 if kind == Type.F16 else np.float32)
    if arch == "llama":
        scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
        config["rope_scaling"] = {"rope_type": "llama3", **scaling}
        writer.add_tensor("rope_freqs.weight", llama3_factors(500000.0, 8.0, 1.0, 4.0, 8192))
    finish(writer, out, arch, config, expected)


def heads_by_kind(w, heads, kv_heads):
    """The converter's order of query_key_value: all queries, all keys, all values."""
    group = heads // kv_heads + 2
    rows = w.reshape(kv_heads, group, w.shape[0] // (kv_heads * group), *w.shape[1:])
    parts = [rows[:, :-2], rows[:, -2:-1], rows[:, -1:]]
    return np.concatenate([part.reshape(-1, *w.shape[1:]) for part in parts])


def write_falcon(out, name, heads, kv_heads, two_norms, separate_head, seed):
    """Matrices in Q8_0. Names and metadata as the converter has them; it writes no RoPE."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(out / f"{name}.gguf", "falcon")
    writer.add_context_length(2048)
    writer.add_tensor_data_layout("jploski")
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(4 * HIDDEN)
    writer.add_block_count(1)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_eps(1e-5)
    add_tokenizer(writer)
    layer = "transformer.h.0."
    norms = {"attn_norm": "ln_mlp", "attn_norm_2": "ln_attn"} if two_norms else {"attn_norm": "input_layernorm"}
    names = {"token_embd": ("transformer.word_embeddings", (VOCAB, HIDDEN)),
             "blk.0.attn_qkv": (layer + "self_attention.query_key_value", ((heads + 2 * kv_heads) * HIDDEN // heads, HIDDEN)),
             "blk.0.attn_output": (layer + "self_attention.dense", (HIDDEN, HIDDEN)),
             "blk.0.ffn_up": (layer + "mlp.dense_h_to_4h", (4 * HIDDEN, HIDDEN)),
             "blk.0.ffn_down": (layer + "mlp.dense_4h_to_h", (HIDDEN, 4 * HIDDEN)),
             "output_norm": ("transformer.ln_f", (HIDDEN,)),
             **{f"blk.0.{ours}": (layer + theirs, (HIDDEN,)) for ours, theirs in norms.items()}}
    if separate_head:
        names["output"] = ("lm_head", (VOCAB, HIDDEN))
    expected = {}
    for ours, (theirs, shape) in names.items():
        for part in ("weight", "bias") if len(shape) == 1 else ("weight",):
            values = rng.standard_normal(shape).astype(np.float32)
            kind = Type.Q8_0 if values.ndim == 2 else Type.F32
            stored = heads_by_kind(values, heads, kv_heads) if "qkv" in ours else values
            writer.add_tensor(f"{ours}.{part}", quantize(stored, kind), raw_dtype=kind)
            expected[f"{theirs}.{part}"] = dequantize(quantize(values, kind), kind).astype(np.float32)
    config = {"architectures": ["FalconForCausalLM"], "model_type": "falcon", "hidden_size": HIDDEN, "num_hidden_layers": 1,
              "num_attention_heads": heads, "num_kv_heads": kv_heads, "multi_query": True,
              "new_decoder_architecture": kv_heads > 1, "num_ln_in_parallel_attn": len(norms), "parallel_attn": True, "bias": False,
              "alibi": False, "vocab_size": VOCAB, "layer_norm_epsilon": 1e-5, "bos_token_id": 1, "eos_token_id": 2,
              "tie_word_embeddings": not separate_head}
    finish(writer, out, name, config, expected)


# Type -> where the f16 numbers of a block lie.
BLOCKS = {Type.Q5_0: (0,), Type.Q5_1: (0, 2), Type.Q2_K: (80, 82), Type.Q3_K: (108,), Type.Q4_K: (0, 2), Type.Q5_K: (0, 2),
          Type.Q6_K: (208,)}


def write_blocks(path, rng, count=3):
    """Blocks of random bytes under a type's name, and what they stand for under its name and .values."""
    expected = {}
    for kind, halves in BLOCKS.items():
        _, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
        for at in halves:
            blocks[:, at:at + 2] = rng.standard_normal(count).astype(np.float16)[:, None].view(np.uint8)
        expected[kind.name] = blocks
        expected[f"{kind.name}.values"] = dequantize(blocks.reshape(1, -1), kind).reshape(-1)
    save_file(expected, path)


def main():
    default = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "gguf"
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    out.mkdir(parents=True, exist_ok=True)
    write(out, "llama", {"token_embd.weight": Type.Q8_0, "output.weight": Type.F16, "blk.0.attn_q.weight": Type.Q4_0,
                         "blk.0.attn_k.weight": Type.Q4_1, "blk.0.attn_v.weight": Type.BF16, "blk.0.attn_output.weight": Type.Q8_0,
                         "blk.0.ffn_gate.weight": Type.Q4_0, "blk.0.ffn_up.weight": Type.Q4_1}, Type.F32, None, 1,
          biases=False, head_norms=False, separate_head=True)
    write(out, "qwen2", {}, Type.F16, 64, 2, biases=True, head_norms=False, separate_head=False)
    write(out, "qwen3", {}, Type.F16, None, 3, biases=False, head_norms=True, separate_head=False)
    write_falcon(out, "falcon-7b", heads=2, kv_heads=1, two_norms=False, separate_head=False, seed=4)
    write_falcon(out, "falcon-40b", heads=4, kv_heads=2, two_norms=True, separate_head=True, seed=5)
    write_falcon(out, "falcon2-11b", heads=4, kv_heads=2, two_norms=False, separate_head=True, seed=6)
    write_blocks(out / "blocks.safetensors", np.random.default_rng(4))


if __name__ == "__main__":
    main()
