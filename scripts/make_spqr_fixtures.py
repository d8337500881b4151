#!/usr/bin/env python3
"""Makes tests/fixtures/torch/reference-statistics*: what the reference implementation of SpQR saves where statistics stay unquantized.

    pip install torch numpy safetensors tqdm && scripts/make_spqr_fixtures.py SPQR [OUT]

SPQR is a checkout of github.com/Vahe1994/SpQR, whose engine quantizes random matrices of one block and fills the dictionaries that its
main.py saves. weights.safetensors has what they mean: all values widened to f32, outliers in place of the dense ones.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

from make_torch_fixtures import CONFIG, HIDDEN, MODULES, VOCAB


def quantized(engine, rows, inputs, saved, arguments):
    """The dictionary of a random matrix (rows, columns) that reads these inputs."""
    layer = torch.nn.Linear(inputs.shape[1], rows, bias=False, dtype=saved)
    solver = engine.SPQRUtil(layer)
    solver.add_batch(inputs)
    return solver.quantize(bits=arguments["wbits"], groupsize=arguments["groupsize"], percdamp=arguments["percdamp"],
                           outlier_relative_threshold=arguments["outlier_threshold"], permutation_order=arguments["permutation_order"],
                           qq_scale_bits=arguments["qq_scale_bits"], qq_zero_bits=arguments["qq_zero_bits"],
                           qq_groupsize=arguments["qq_groupsize"], verbose=False, save_quantization=True).save_quant_dict


def meaning(parts):
    codes = parts["quant_weights"].float()
    dense = torch.empty_like(codes)
    for group, (scale, zero) in enumerate(zip(parts["quant_layer_scale"], parts["quant_layer_zeros"])):
        columns = slice(group * parts["groupsize"], (group + 1) * parts["groupsize"])
        dense[:, columns] = scale.float() * (codes[:, columns] - zero.float())
    outliers = parts["outliers_matrix"].to_dense().float()
    return torch.where(outliers != 0, outliers, dense)[:, torch.argsort(parts["perm"].long())].contiguous()


def write(engine, folder, saved, groupsize):
    torch.manual_seed(1)
    (folder / "0").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": 1}, indent=2) + "\n")
    arguments = {"wbits": 3, "groupsize": groupsize, "percdamp": 1.0, "permutation_order": "act_order", "outlier_threshold": 0.2,
                 "qq_scale_bits": None, "qq_zero_bits": None, "qq_groupsize": 16, "round_zero": None}
    torch.save(arguments, folder / "args.pt")
    weights, inputs = {}, {}
    for meta, name, _, rows, columns in MODULES:
        reads = meta.split(".")[0] + str(meta[-2:] in ("wo", "w2"))  # q, k, v and gate, up share an input
        inputs.setdefault(reads, torch.randn(4 * columns, columns) * torch.rand(columns))
        parts = quantized(engine, rows, inputs[reads], saved, arguments)
        parts["sublayer_name"] = name
        torch.save(parts, folder / "0" / name)
        weights[f"model.layers.0.{name}.weight"] = meaning(parts)
    state = {table: torch.randn(VOCAB, HIDDEN).to(saved) for table in ("model.embed_tokens.weight", "lm_head.weight")}
    for norm in ("model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm", "model.norm"):
        state[norm + ".weight"] = torch.randn(HIDDEN).to(saved)
    torch.save(state, folder / "not_quantized_weights.pt")
    save_file(weights, folder / "weights.safetensors")


def main():
    sys.path.insert(0, sys.argv[1])
    import spqr_engine
    default = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "torch"
    out = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else default
    write(spqr_engine, out / "reference-statistics", torch.float16, 16)
    for name in ("qq_scale_bits", "qq_zero_bits"):  # options of which a .spqr file cannot have one alone
        arguments = torch.load(out / "reference-statistics" / "args.pt")
        torch.save({**arguments, name: 3}, out / "reference-statistics" / f"args-{name}.pt")
    write(spqr_engine, out / "reference-statistics-row", torch.float32, None)


if __name__ == "__main__":
    main()
