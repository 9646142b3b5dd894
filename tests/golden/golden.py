"""What the scripts of this folder share: the source models, their tokenizers, and how fixtures are written.

The tokenizers are built from the GGUF's own metadata, but not through transformers' GGUF importer: that gives SmolLM2 a
pre-tokeniser without digit splitting and a beginning-of-text token that the model does not have, and leaves out all but
three of Qwen's added tokens. Here the pipeline is the one of the models' own tokenizer.json:

  SmolLM2   no normaliser; Digits(individual) then ByteLevel with GPT-2's pattern; BPE without an unknown token
            (so a byte that has no token, of which this vocabulary has 21, is dropped)
  Qwen2     NFC; Split by Qwen2's pattern, then ByteLevel without a pattern; BPE

Tokens of GGUF type CONTROL (3) become special added tokens, USER_DEFINED (4) plain added tokens; neither adds a
beginning-of-text token.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

HERE = pathlib.Path(__file__).resolve().parent

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2_PATTERN = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")

GGUF_CONTROL = 3
GGUF_USER_DEFINED = 4


@dataclasses.dataclass(frozen=True)
class SourceModel:
    name: str
    file: str

    @property
    def folder(self):
        default = pathlib.Path.home() / ".cache" / "transmla" / "models"
        return pathlib.Path(os.environ.get("TRANSMLA_MODELS", default))

    @property
    def path(self):
        path = self.folder / self.file
        if not path.is_file():
            raise SystemExit(f"{path} is missing: run scripts/fetch-models {self.name}")
        return path


SMOLLM2 = SourceModel("smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
QWEN = SourceModel("qwen", "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf")
MODELS = {model.name: model for model in (SMOLLM2, QWEN)}


@functools.cache
def gguf_metadata(model):
    """The GGUF's key/value pairs, as Python values."""
    import gguf

    reader = gguf.GGUFReader(model.path)
    return {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}


@functools.cache
def tokenizer(model):
    """The model's tokenizer as a `tokenizers.Tokenizer`."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    meta = gguf_metadata(model)
    tokens = meta["tokenizer.ggml.tokens"]
    types = meta["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
    result = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    kind = meta["tokenizer.ggml.pre"]
    if kind == "smollm":
        result.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ])
    elif kind == "qwen2":
        result.normalizer = normalizers.NFC()
        result.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
    else:
        raise SystemExit(f"{model.path}: no pipeline is written for tokenizer.ggml.pre = {kind!r}")
    result.decoder = decoders.ByteLevel()
    for wanted, special in ((GGUF_CONTROL, True), (GGUF_USER_DEFINED, False)):
        added = [
            AddedToken(token, normalized=False, special=special)
            for token, kind in zip(tokens, types, strict=True)
            if kind == wanted
        ]
        (result.add_special_tokens if special else result.add_tokens)(added)
    assert result.get_vocab_size() == len(tokens), "an added token is missing from the vocabulary"
    return result


def encode(model, text, *, parse_special=False):
    """Token ids of `text`; control tokens written in it are plain text unless `parse_special`."""
    tok = tokenizer(model)
    tok.encode_special_tokens = not parse_special
    return tok.encode(text, add_special_tokens=False).ids


def decode(model, ids):
    return tokenizer(model).decode(ids, skip_special_tokens=False)


def load_model(model):
    """The dequantised float32 model from transformers, in evaluation mode."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(
        str(model.path.parent), gguf_file=model.path.name, torch_dtype=torch.float32, attn_implementation="sdpa"
    )
    return loaded.eval()


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def write_json_lines(path, rows):
    """One compact JSON value a line, ASCII only, so that no editor or checkout can change a byte of a string."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="ascii", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n")
    print(f"{path}: {len(rows)} lines, {path.stat().st_size} bytes")


def write_json(path, value):
    """One object a file, one line a top-level entry, ASCII only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [
        json.dumps(key) + ":" + json.dumps(entry, ensure_ascii=True, separators=(",", ":"))
        for key, entry in value.items()
    ]
    path.write_text("{\n" + ",\n".join(entries) + "\n}\n", encoding="ascii")
    print(f"{path}: {path.stat().st_size} bytes")
