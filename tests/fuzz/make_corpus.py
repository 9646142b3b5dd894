"""Writes the starting corpora of the fuzz targets: small valid files that reach every kind of field, and chat templates.

Run: python3 make_corpus.py. Reproducible; needs nothing but Python.
"""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent / "corpus"


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, payload):
    return text(key) + struct.pack("<I", kind) + payload


def gguf(entries, tensors, version=3, alignment=32, data=0):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries)
    for name, dims, kind, offset in tensors:
        out += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        out += struct.pack("<IQ", kind, offset)
    return out + bytes(-len(out) % alignment) + bytes(data)


def strings(values):
    return struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values))


def llama(prefix="llama", extra=()):
    ints = {"block_count": 1, "embedding_length": 8, "feed_forward_length": 16, "attention.head_count": 2,
            "attention.head_count_kv": 1, "context_length": 64}
    entries = [entry("general.architecture", 8, text(prefix))]
    entries += [entry(f"{prefix}.{key}", 4, struct.pack("<I", value)) for key, value in ints.items()]
    entries += [entry("tokenizer.ggml.tokens", 9, strings(["a", "b", "c", "</s>"])),
                entry("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 3))]
    return entries + list(extra)


def make_gguf(folder):
    tensors = [("token_embd.weight", (8, 4), 0, 0), ("output_norm.weight", (8,), 0, 128)]
    files = {"llama": gguf(llama(), tensors, data=160), "version2": gguf(llama(), tensors, version=2, data=160)}
    kinds = [(0, "<B"), (1, "<b"), (2, "<H"), (3, "<h"), (4, "<I"), (5, "<i"), (6, "<f"), (7, "<B"), (10, "<Q"),
             (11, "<q"), (12, "<d")]
    scalars = [entry(f"k{kind}", kind, struct.pack(form, 1)) for kind, form in kinds]
    arrays = [entry(f"a{kind}", 9, struct.pack("<IQ", kind, 2) + struct.pack(form, 1) * 2) for kind, form in kinds]
    nested = entry("n", 9, struct.pack("<IQIQ", 9, 1, 8, 1) + text("x"))
    files["types"] = gguf(scalars + arrays + [nested, entry("s", 8, text("x"))], [])
    rope = [entry("qwen2.rope.freq_base", 6, struct.pack("<f", 1e6)),
            entry("qwen2.rope.scaling.type", 8, text("yarn")),
            entry("qwen2.rope.scaling.factor", 6, struct.pack("<f", 4)),
            entry("general.alignment", 4, struct.pack("<I", 64))]
    files["qwen2"] = gguf(llama("qwen2", rope), [("blk.0.attn_q.weight", (256, 2), 12, 0)], alignment=64, data=288)
    latent = [entry(f"deepseek2.{key}", 4, struct.pack("<I", value)) for key, value in
              {"attention.kv_lora_rank": 4, "attention.key_length": 6, "rope.dimension_count": 2}.items()]
    files["deepseek2"] = gguf(llama("deepseek2", latent), tensors, data=160)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def make_safetensors(folder):
    header = {"__metadata__": {"format": "pt"},
              "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
              "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
              "c": {"dtype": "F16", "shape": [], "data_offsets": [32, 34]},
              "d": {"dtype": "I8", "shape": [0], "data_offsets": [34, 34]}}
    data = json.dumps(header).encode()
    padded = data + b" " * (-len(data) % 8)  # so that the data is aligned, as the reader demands
    (folder / "file").write_bytes(struct.pack("<Q", len(padded)) + padded + bytes(34))
    (folder / "header").write_bytes(bytes([34]) + data)  # the form of the target's FileAround
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 4, "hidden_size": 8,
              "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
              "head_dim": 4, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
              "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                               "original_max_position_embeddings": 32},
              "tie_word_embeddings": True, "eos_token_id": [2, 3], "bos_token_id": 0, "temperature": 0.6, "top_k": 20}
    (folder / "config").write_text(json.dumps(config))
    latent = dict(config, architectures=["TransMlaForCausalLM"], kv_lora_rank=4, q_lora_rank=None, qk_nope_head_dim=4,
                  qk_rope_head_dim=2, v_head_dim=4, qk_latent_layernorm=False, attention_scale=0.5)
    (folder / "latent_config").write_text(json.dumps(latent))
    index = {"metadata": {"total_size": 34}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "index").write_text(json.dumps(index))


def make_chat_template(folder):
    golden = HERE.parents[1] / "golden" / "chat_templates"
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    for path in sorted(golden.glob("*.jinja")):
        (folder / path.stem).write_bytes(path.read_bytes() + b"\0" + json.dumps(tools).encode())
    for line in (golden / "snippets.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "output" in row:
            (folder / f"snippet_{row['name']}").write_text(row["source"])


for name, make in (("gguf", make_gguf), ("safetensors", make_safetensors), ("chat_template", make_chat_template)):
    (HERE / name).mkdir(parents=True, exist_ok=True)
    make(HERE / name)
