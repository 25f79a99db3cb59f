#!/usr/bin/env python3
"""Writes a folder of safetensors with the dimensions of a 35B-A3B model and random weights: to measure speed, not to talk to.

usage: make_speed_folder.py OUT --format fp8|affine4 [--layers N] [--vocab N]

fp8 is Hugging Face's layout: E4M3 with a bf16 scale for each 128 x 128 weights, one tensor for each expert's matrix;
embeddings, output, routers and what is small in bf16. affine4 is MLX's: 4 bits in groups of 64, experts stacked, routers
8 bits. Needs numpy.
"""
import argparse
import json
import pathlib
import struct

import numpy as np

HIDDEN, HEADS, KV_HEADS, D_HEAD = 2048, 16, 2, 256
KEY_HEADS, VALUE_HEADS, D_LINEAR = 16, 32, 128
EXPERTS, TOP_K, FF = 256, 8, 512
KEYS, VALUES = KEY_HEADS * D_LINEAR, VALUE_HEADS * D_LINEAR
RNG = np.random.default_rng(1)


def bf16(values):
    return (np.ascontiguousarray(values, dtype="<f4").view("<u4") >> 16).astype("<u2").tobytes()


class Folder:
    """Tensors by name, each with a function that writes its bytes."""

    def __init__(self, is_mlx):
        self.is_mlx, self.prefix = is_mlx, "language_model." if is_mlx else ""
        self.tensors = []
        pool = RNG.integers(0, 256, 1 << 26, dtype=np.uint8)
        if not is_mlx:
            pool[(pool & 0x7F) == 0x7F] = 0  # not a number
        self.pool = pool.tobytes()

    def add(self, name, dtype, shape, write):
        self.tensors.append((self.prefix + name, dtype, shape, write))

    def values(self, name, shape, values):
        data = bf16(values)
        self.add(name, "BF16", shape, lambda file: file.write(data))

    def random(self, n_bytes):
        def write(file):
            start, left = int(RNG.integers(0, len(self.pool))), n_bytes
            while left:
                part = self.pool[start : start + left]
                file.write(part)
                left -= len(part)
                start = 0

        return write

    def floats(self, name, shape):
        values = RNG.standard_normal(1 << 16) / np.sqrt(shape[-1])
        data, n = bf16(values), int(np.prod(shape))
        self.add(name, "BF16", shape, lambda file: [file.write(data[: 2 * min(n - i, 1 << 16)]) for i in range(0, n, 1 << 16)])

    def matrix(self, name, shape, bits=4):
        """Quantised; `name` without .weight."""
        n, cols = int(np.prod(shape)), shape[-1]
        if not self.is_mlx:
            self.add(name + ".weight", "F8_E4M3", shape, self.random(n))
            self.values(name + ".weight_scale_inv", [-(-d // 128) for d in shape], np.full(-(-shape[0] // 128) * -(-cols // 128), 1 / (120 * np.sqrt(cols))))
            return
        step = 3.5 / (2**bits * np.sqrt(cols))
        scales = shape[:-1] + [cols // 64]
        self.add(name + ".weight", "U32", shape[:-1] + [cols * bits // 32], self.random(n * bits // 8))
        self.values(name + ".scales", scales, np.full(n // 64, step))
        self.values(name + ".biases", scales, np.full(n // 64, -step * (2**bits - 1) / 2))

    def small(self, name, shape):
        """What MLX keeps in 8 bits and FP8 as it is."""
        if self.is_mlx:
            self.matrix(name, shape, 8)
        else:
            self.floats(name + ".weight", shape)

    def norm(self, name, n, zero_centred=True):
        self.values(name, [n], np.full(n, 1.0 if self.is_mlx or not zero_centred else 0.0))

    def write(self, path):
        header, at = {}, 0
        for name, dtype, shape, _ in self.tensors:
            n_bytes = int(np.prod(shape)) * {"BF16": 2, "U32": 4, "F8_E4M3": 1}[dtype]
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n_bytes]}
            at += n_bytes
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb", buffering=1 << 24) as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for *_, write in self.tensors:
                write(file)


def add_layer(folder, layer, is_full):
    p = f"model.layers.{layer}."
    folder.norm(p + "input_layernorm.weight", HIDDEN)
    folder.norm(p + "post_attention_layernorm.weight", HIDDEN)
    if is_full:
        folder.matrix(p + "self_attn.q_proj", [2 * HEADS * D_HEAD, HIDDEN])
        folder.matrix(p + "self_attn.k_proj", [KV_HEADS * D_HEAD, HIDDEN])
        folder.matrix(p + "self_attn.v_proj", [KV_HEADS * D_HEAD, HIDDEN])
        folder.matrix(p + "self_attn.o_proj", [HIDDEN, HEADS * D_HEAD])
        folder.norm(p + "self_attn.q_norm.weight", D_HEAD)
        folder.norm(p + "self_attn.k_norm.weight", D_HEAD)
    else:
        channels = 2 * KEYS + VALUES
        folder.matrix(p + "linear_attn.in_proj_qkv", [channels, HIDDEN])
        folder.matrix(p + "linear_attn.in_proj_z", [VALUES, HIDDEN])
        folder.small(p + "linear_attn.in_proj_a", [VALUE_HEADS, HIDDEN])
        folder.small(p + "linear_attn.in_proj_b", [VALUE_HEADS, HIDDEN])
        folder.matrix(p + "linear_attn.out_proj", [HIDDEN, VALUES])
        folder.floats(p + "linear_attn.conv1d.weight", [channels, 4, 1] if folder.is_mlx else [channels, 1, 4])
        folder.norm(p + "linear_attn.norm.weight", D_LINEAR, zero_centred=False)
        folder.values(p + "linear_attn.A_log", [VALUE_HEADS], RNG.uniform(-4, 2.7, VALUE_HEADS))
        folder.values(p + "linear_attn.dt_bias", [VALUE_HEADS], np.ones(VALUE_HEADS))
    folder.small(p + "mlp.gate", [EXPERTS, HIDDEN])
    folder.small(p + "mlp.shared_expert_gate", [1, HIDDEN])
    shapes = {"gate_proj": [FF, HIDDEN], "up_proj": [FF, HIDDEN], "down_proj": [HIDDEN, FF]}
    for name, shape in shapes.items():
        folder.matrix(p + f"mlp.shared_expert.{name}", shape)
        if folder.is_mlx:
            folder.matrix(p + f"mlp.switch_mlp.{name}", [EXPERTS] + shape)
    for expert in range(0 if folder.is_mlx else EXPERTS):
        for name, shape in shapes.items():
            folder.matrix(p + f"mlp.experts.{expert}.{name}", shape)


def config(folder, layers, vocab):
    kinds = ["full_attention" if i % 4 == 3 else "linear_attention" for i in range(layers)]
    text = {
        "model_type": "qwen3_5_moe_text", "hidden_size": HIDDEN, "num_hidden_layers": layers, "vocab_size": vocab,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": D_HEAD, "layer_types": kinds,
        "linear_conv_kernel_dim": 4, "linear_num_key_heads": KEY_HEADS, "linear_num_value_heads": VALUE_HEADS,
        "linear_key_head_dim": D_LINEAR, "linear_value_head_dim": D_LINEAR, "num_experts": EXPERTS,
        "num_experts_per_tok": TOP_K, "moe_intermediate_size": FF, "shared_expert_intermediate_size": FF,
        "partial_rotary_factor": 0.25, "rms_norm_eps": 1e-6, "max_position_embeddings": 262144, "hidden_act": "silu",
        "rope_parameters": {"rope_theta": 1e7, "rope_type": "default", "partial_rotary_factor": 0.25},
        "tie_word_embeddings": False,
    }
    if not folder.is_mlx:
        return text | {"quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                                               "weight_block_size": [128, 128]}}
    settings = {"group_size": 64, "bits": 4, "mode": "affine"}
    for name, *_ in folder.tensors:
        stem = name.removesuffix(".weight")
        if stem.endswith(("mlp.gate", "shared_expert_gate", "in_proj_a", "in_proj_b")):
            settings[stem] = {"group_size": 64, "bits": 8}
    return {"model_type": "qwen3_5_moe", "text_config": text, "tie_word_embeddings": False, "quantization": settings}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--format", choices=["fp8", "affine4"], required=True)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocab", type=int, default=65536)
    options = parser.parse_args()
    folder = Folder(options.format == "affine4")
    for name in ("model.embed_tokens", "lm_head"):
        (folder.matrix if folder.is_mlx else lambda n, s: folder.floats(n + ".weight", s))(name, [options.vocab, HIDDEN])
    folder.norm("model.norm.weight", HIDDEN)
    for layer in range(options.layers):
        add_layer(folder, layer, layer % 4 == 3)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "config.json").write_text(json.dumps(config(folder, options.layers, options.vocab)))
    folder.write(options.out / "model.safetensors")


if __name__ == "__main__":
    main()
