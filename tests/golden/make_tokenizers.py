"""Writes tokenizers/: strings and the ids that Hugging Face's tokenizers give them. README.md describes the files.

Usage: python make_tokenizers.py [--full-json FOLDER]   (FOLDER also gets both models' tokenizer.json, too big to commit)

Needs tokenizers, gguf and sentencepiece, and both models (scripts/fetch-models).
"""

import argparse
import io
import json
import pathlib
import random

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import golden
import texts

OUT = golden.HERE / "tokenizers"
SEED = 20240131


def model_rows(model):
    """Rows [text, ids as plain text, ids with control tokens or null where they are the same, round trip's text or null]."""
    tok = golden.tokenizer(model)
    specials = [added.content for added in tok.get_added_tokens_decoder().values()]
    rows = []
    for text in texts.strings(2100, SEED, specials):
        plain = golden.encode(model, text)
        control = golden.encode(model, text, parse_special=True)
        back = golden.decode(model, plain)
        rows.append([text, plain, None if control == plain else control, None if back == text else back])
    return rows


def broken_rows():
    rows = []
    for data in texts.broken_utf8(300, SEED):
        text = data.decode("utf-8", "replace")
        rows.append([data.hex(), text, *(golden.encode(model, text) for model in golden.MODELS.values())])
    return rows


def split_rows(pattern):
    """Rows [text, pieces] of a pattern whose matches and gaps are isolated, as in tokenizer.json's Split."""
    splitter = pre_tokenizers.Split(Regex(pattern), "isolated")
    return [
        [text, [piece for piece, _ in splitter.pre_tokenize_str(text)]]
        for text in texts.strings(700, SEED + 1, ["<|begin_of_text|>", "<|eot_id|>"])
    ]


def training_text():
    """Sentences for the tiny models; every letter and digit occurs."""
    rng = random.Random(SEED)
    words = [word for word in texts.WORDS if "\n" not in word and word.isprintable()]
    lines = [" ".join(rng.choice(words) for _ in range(rng.randint(4, 14))) for _ in range(3000)]
    return lines + [line for snippet in texts.SNIPPETS for line in snippet.splitlines() if line.strip() and line.isprintable()]


def tiny_byte_level():
    """A byte-level BPE of 400 entries, in Llama 3's pipeline, with special and plain added tokens."""
    tok = Tokenizer(models.BPE(ignore_merges=True))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(golden.LLAMA3_PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=394, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tok.train_from_iterator(training_text(), trainer)
    tok.add_special_tokens([
        AddedToken(text, normalized=False, special=True)
        for text in ("<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>")
    ])
    tok.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("</tool>", normalized=False)])
    assert tok.get_vocab_size() == 400
    return tok


def tiny_rows(tok):
    rows = []
    for text in texts.strings(320, SEED + 2, ["<|eos|>", "<|im_start|>", "<tool>"]):
        tok.encode_special_tokens = True
        plain = tok.encode(text, add_special_tokens=False).ids
        tok.encode_special_tokens = False
        control = tok.encode(text, add_special_tokens=False).ids
        back = tok.decode(plain, skip_special_tokens=False)
        rows.append([text, plain, None if control == plain else control, None if back == text else back])
    return rows


def sentencepiece_model(kind):
    """A tiny SentencePiece model with byte fallback, as Llama 2 (bpe) and T5-like models (unigram) have them."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_text()), model_writer=written, model_type=kind, vocab_size=640,
        character_coverage=0.98, byte_fallback=True, split_digits=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, add_dummy_prefix=True, allow_whitespace_only_pieces=True,
        user_defined_symbols=["<tool>"], control_symbols=["<|im_start|>"], num_threads=1, minloglevel=2,
    )
    path = OUT / f"tiny_{kind}.model"
    path.write_bytes(written.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    rows = []
    for text in texts.strings(320, SEED + 3, ["<s>", "<|im_start|>", "<tool>"]):
        if "\0" in text:
            continue  # the library's Python binding cuts strings there
        ids = processor.encode(text)
        rows.append([text, ids, processor.decode(ids)])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full-json", type=pathlib.Path)
    args = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    for model in golden.MODELS.values():
        golden.write_json_lines(OUT / f"{model.name}.jsonl", model_rows(model))
        if args.full_json:
            args.full_json.mkdir(parents=True, exist_ok=True)
            tok = golden.tokenizer(model)
            tok.encode_special_tokens = False
            tok.save(str(args.full_json / f"{model.name}.tokenizer.json"))
    golden.write_json_lines(OUT / "broken_utf8.jsonl", broken_rows())
    golden.write_json_lines(OUT / "split_gpt2.jsonl", split_rows(golden.GPT2_PATTERN))
    golden.write_json_lines(OUT / "split_llama3.jsonl", split_rows(golden.LLAMA3_PATTERN))
    tiny = tiny_byte_level()
    (OUT / "tiny.tokenizer.json").write_text(json.dumps(json.loads(tiny.to_str()), indent=1) + "\n")
    golden.write_json_lines(OUT / "tiny.jsonl", tiny_rows(tiny))
    for kind in ("bpe", "unigram"):
        golden.write_json_lines(OUT / f"tiny_{kind}.jsonl", sentencepiece_model(kind))


if __name__ == "__main__":
    main()
