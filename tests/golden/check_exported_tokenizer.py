"""Checks that transformers' AutoTokenizer reads the tokenizer of a converted model's folder as the fixtures say.

Usage: python check_exported_tokenizer.py MODEL FOLDER   (MODEL: smollm2 or qwen; FOLDER: written by transmla convert)

Needs transformers and no torch. Exits with 1 if an id, a text or the chat template differs.
"""

import argparse
import json

import golden
from transformers import AutoTokenizer


def differences(tok, rows):
    """Texts whose ids, as plain text or with control tokens, or whose round trip differ."""
    backend = tok.backend_tokenizer
    for text, plain, control, back in rows:
        backend.encode_special_tokens = True  # tok.encode sets it back
        if backend.encode(text, add_special_tokens=False).ids != plain:
            yield "plain", text
        if tok.encode(text, add_special_tokens=False) != (plain if control is None else control):
            yield "control", text
        if tok.decode(plain, clean_up_tokenization_spaces=False) != (text if back is None else back):
            yield "decode", text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=golden.MODELS)
    parser.add_argument("folder")
    args = parser.parse_args()
    tok = AutoTokenizer.from_pretrained(args.folder)
    with open(golden.HERE / "tokenizers" / f"{args.model}.jsonl", encoding="ascii") as file:
        rows = [json.loads(line) for line in file]
    found = list(differences(tok, rows))
    for kind, text in found[:20]:
        print(f"{kind}: {text!r}")
    source = golden.gguf_metadata(golden.MODELS[args.model])
    same_template = tok.chat_template == source["tokenizer.chat_template"]
    adds_bos = tok.encode("a") != tok.encode("a", add_special_tokens=False)
    same_bos = adds_bos == bool(source["tokenizer.ggml.add_bos_token"])
    print(f"{type(tok).__name__}: {len(rows)} strings, {len(found)} differences, chat template "
          f"{'same' if same_template else 'differs'}, beginning-of-text token {'same' if same_bos else 'differs'}")
    raise SystemExit(0 if rows and not found and same_template and same_bos else 1)


if __name__ == "__main__":
    main()
