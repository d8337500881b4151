#!/usr/bin/env python3
"""Makes tests/fixtures/torch: a small random model as PyTorch files of every kind, beside the same as safetensors.

    pip install torch numpy safetensors && scripts/make_torch_fixtures.py [OUT]

llama/ is the Hugging Face directory that the others stand for: zip/, legacy/ and sharded/ (pytorch_model.bin), meta/ (Meta's
own directory, in two shards, q and k rows in Meta's order). types.pt and types-legacy.pt hold tensors of every kind and
types.safetensors their values; deflated.pt is types.pt with compressed entries. reference/ and reference-round-zero/ are laid out
as the reference implementation of SpQR saves a model.
"""
import collections
import json
import pathlib
import sys
import zipfile

import numpy as np
import torch
from safetensors.torch import save_file

HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, VOCAB, SHARDS = 32, 48, 2, 4, 2, 24, 2
HEAD_DIM = HIDDEN // HEADS
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
          "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
          "num_key_value_heads": KV_HEADS, "vocab_size": VOCAB, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
          "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}
MODULES = (("attention.wq", "self_attn.q_proj", 0, HIDDEN, HIDDEN), ("attention.wk", "self_attn.k_proj", 0, KV_HEADS * HEAD_DIM, HIDDEN),
           ("attention.wv", "self_attn.v_proj", 0, KV_HEADS * HEAD_DIM, HIDDEN), ("attention.wo", "self_attn.o_proj", 1, HIDDEN, HIDDEN),
           ("feed_forward.w1", "mlp.gate_proj", 0, FFN, HIDDEN), ("feed_forward.w2", "mlp.down_proj", 1, HIDDEN, FFN),
           ("feed_forward.w3", "mlp.up_proj", 0, FFN, HIDDEN))
NORMS = (("attention_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm"))


def interleaved(w, heads):
    """Rows of q and k in Meta's order: the halves of each head taken in turn."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, w.shape[1]).transpose(1, 2).reshape(w.shape).contiguous()


def tensors(rng):
    """(Meta's name, Hugging Face's, the dimension that Meta splits, values) of the whole model."""
    def make(*shape):
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32)).to(torch.float16)

    yield "tok_embeddings", "model.embed_tokens", 1, make(VOCAB, HIDDEN)
    for layer in range(LAYERS):
        for meta, ours, split, rows, columns in MODULES:
            yield f"layers.{layer}.{meta}", f"model.layers.{layer}.{ours}", split, make(rows, columns)
        for meta, ours in NORMS:
            yield f"layers.{layer}.{meta}", f"model.layers.{layer}.{ours}", None, make(HIDDEN)
    yield "norm", "model.norm", None, make(HIDDEN)
    yield "output", "lm_head", 0, make(VOCAB, HIDDEN)


def directory(out, name):
    (out / name).mkdir(parents=True, exist_ok=True)
    return out / name


def write_hugging_face(out, model):
    config = json.dumps(CONFIG, indent=2) + "\n"
    for name in ("llama", "zip", "legacy", "sharded"):
        (directory(out, name) / "config.json").write_text(config)
    save_file(model, out / "llama" / "model.safetensors", metadata={"format": "pt"})
    # As model.state_dict() gives it: ordered, with versions of modules, in one of them parameters.
    state = collections.OrderedDict(model)
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(HEAD_DIM // 2, dtype=torch.float64)
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    torch.save(state, out / "zip" / "pytorch_model.bin")
    state["model.norm.weight"] = torch.nn.Parameter(state["model.norm.weight"])
    torch.save(state, out / "legacy" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    names = sorted(model)
    shards = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for shard, members in shards.items():
        torch.save({name: model[name] for name in members}, out / "sharded" / shard)
    index = {"metadata": {}, "weight_map": {name: shard for shard, members in shards.items() for name in members}}
    (out / "sharded" / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")


def write_meta(out, all_tensors):
    meta = directory(out, "meta")
    (meta / "params.json").write_text(json.dumps({"dim": HIDDEN, "multiple_of": 16, "n_heads": HEADS, "n_kv_heads": KV_HEADS,
                                                  "n_layers": LAYERS, "norm_eps": 1e-5, "vocab_size": -1}))
    for shard in range(SHARDS):
        state = {"rope.freqs": torch.ones(HEAD_DIM // 2)}
        for name, _, split, values in all_tensors:
            if name.endswith("wq") or name.endswith("wk"):
                values = interleaved(values, HEADS if name.endswith("wq") else KV_HEADS)
            state[name + ".weight"] = values if split is None else values.chunk(SHARDS, split)[shard].clone()
        torch.save(state, meta / f"consolidated.{shard:02d}.pth")


def write_types(out, rng):
    base = torch.from_numpy(rng.standard_normal((4, 6)).astype(np.float32))
    kept = {"f32": base, "f16": base.half(), "bf16": base.bfloat16(), "f64": base.double(),
            "i64": torch.arange(-3, 4), "i32": torch.arange(-3, 4, dtype=torch.int32), "i16": torch.arange(-3, 4, dtype=torch.int16),
            "i8": torch.arange(-3, 4, dtype=torch.int8), "u8": torch.arange(250, 256, dtype=torch.uint8),
            "bool": torch.tensor([True, False]), "transposed": base.t(), "slice": base[1:3, 2:5], "row": base[2],
            "steps": base[:, ::2], "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3),
            "parameter": torch.nn.Parameter(base.half())}
    save_file({name: value.detach().clone().contiguous() for name, value in kept.items()}, out / "types.safetensors")
    sparse = torch.zeros(4, 6)
    sparse[1, 2], sparse[3, 0] = 1.5, -2
    odd = {"tuple": (1, -2.5, "é", None, True, [2 ** 40, 300]), "size": base.size(), "dtype": torch.float16, "sparse": sparse.to_sparse()}
    torch.save({**kept, **odd}, out / "types.pt")
    torch.save({**kept, **odd}, out / "types-legacy.pt", _use_new_zipfile_serialization=False)
    for protocol in (3, 4, 5):
        torch.save({**kept, **odd}, out / f"types-legacy-{protocol}.pt", _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    with zipfile.ZipFile(out / "types.pt") as source, \
            zipfile.ZipFile(out / "deflated.pt", "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry), zipfile.ZIP_DEFLATED)


def write_reference(out, name, rng, saved, whole_zeros):
    """A directory as the reference quantizer writes it, of random codes; weights.safetensors has what they mean."""
    folder = directory(out, name)
    (folder / "0").mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": 1}, indent=2) + "\n")
    zero_bits = 3
    torch.save({"wbits": 3, "groupsize": 16, "qq_groupsize": 16, "qq_scale_bits": 3, "qq_zero_bits": zero_bits, "round_zero": whole_zeros or None},
               folder / "args.pt")
    meaning, state = {}, {}
    orders = {}

    def make(*shape):
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    for meta, ours, _, rows, columns in MODULES:
        groups, tiles = columns // 16, rows // 16
        reads = meta.split(".")[0] + str(meta[-2:] in ("wo", "w2"))  # q, k, v and gate, up share an input
        perm = orders.setdefault(reads, torch.from_numpy(rng.permutation(columns).astype(np.int32)))

        def codes(*shape):
            return torch.from_numpy(rng.integers(0, 8, shape).astype(np.int8))

        def statistics():
            return [make(tiles, 1).abs().to(saved) for _ in range(groups)]

        weights = codes(rows, columns)
        scale, zero = [codes(tiles, 16) for _ in range(groups)], [codes(tiles, 16) for _ in range(groups)]
        ss, sz, zs, zz = statistics(), statistics(), statistics(), statistics()
        dense = torch.empty(rows, columns)
        for g in range(groups):
            s = (ss[g].float() * (scale[g].float() - sz[g].float())).reshape(rows, 1)
            z = (zero[g].float() if whole_zeros else zs[g].float() * (zero[g].float() - zz[g].float())).reshape(rows, 1)
            dense[:, 16 * g:16 * (g + 1)] = s * (weights[:, 16 * g:16 * (g + 1)].float() - z)
        outliers = torch.where(torch.from_numpy(rng.random((rows, columns)) < 0.02), make(rows, columns), 0.0).to(saved)
        torch.save({"quant_weights": weights, "quant_layer_scale": scale,
                    "quant_layer_zeros": [z.to(saved).reshape(rows, 1) for z in zero] if whole_zeros else zero,
                    "quant_layer_scale_qq_scale": ss, "quant_layer_scale_qq_zero": sz,
                    "quant_layer_zero_qq_scale": [] if whole_zeros else zs, "quant_layer_zero_qq_zero": [] if whole_zeros else zz,
                    "save_float_dtype": saved, "outliers_matrix": outliers.to_sparse(), "perm": perm, "keep_last_columns": 0,
                    "blocksize": 128, "weight_shape": weights.shape, "groupsize": 16, "sublayer_name": ours}, folder / "0" / ours)
        replaced = torch.where(outliers != 0, outliers.float(), dense)
        meaning[f"model.layers.0.{ours}.weight"] = replaced[:, torch.argsort(perm.long())].contiguous()
    state["model.embed_tokens.weight"], state["lm_head.weight"] = make(VOCAB, HIDDEN).to(saved), make(VOCAB, HIDDEN).to(saved)
    for norm in ("model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm", "model.norm"):
        state[norm + ".weight"] = make(HIDDEN).to(saved)
    torch.save(state, folder / "not_quantized_weights.pt")
    save_file(meaning, folder / "weights.safetensors")


def main():
    default = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "torch"
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    all_tensors = list(tensors(rng))
    write_hugging_face(out, {name + ".weight": values for _, name, _, values in all_tensors})
    write_meta(out, all_tensors)
    write_types(out, rng)
    write_reference(out, "reference", rng, torch.float16, whole_zeros=False)
    write_reference(out, "reference-round-zero", rng, torch.float32, whole_zeros=True)


if __name__ == "__main__":
    main()
