"""Writes tiny_models/: random models of few layers, each as a checkpoint folder or a GGUF file, with transformers' logits.

Usage: python make_tiny_models.py [FAMILY…]   (after make_tokenizers.py, whose tiny.tokenizer.json the models carry)

Needs torch, transformers 4.52.4, safetensors, gguf.
"""

import json
import math
import os
import shutil
import subprocess
import sys

import gguf
import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_torch_file
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

import golden

OUT = golden.HERE / "tiny_models"
TOKENIZER = golden.HERE / "tokenizers" / "tiny.tokenizer.json"
VOCABULARY = 400
PROMPT_LENGTHS = (1, 6, 33)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

COMMON = dict(
    vocab_size=VOCABULARY, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=394, eos_token_id=395,
)
GQA = dict(**COMMON, num_key_value_heads=2, head_dim=16, rope_theta=10000.0)
LLAMA3_SCALING = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)
# Sizes that no vector and no tile divides, a window shorter than the longest prompt, and transformers' own attention: the
# fused ones leave out soft caps.
ODD = dict(
    vocab_size=VOCABULARY, hidden_size=44, intermediate_size=52, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=394, eos_token_id=395,
    pad_token_id=None, attn_implementation="eager",
)
WIDER = ODD | dict(hidden_size=56)  # for families whose heads share the hidden size out
WINDOW = 5
MLA = dict(
    **COMMON, num_key_value_heads=4, kv_lora_rank=32, qk_rope_head_dim=8, qk_nope_head_dim=16, v_head_dim=12,
    first_k_dense_replace=2, rope_theta=10000.0, rope_interleave=True,
) | dict(rms_norm_eps=1e-6)  # transformers' latent norms use this constant and not the configuration's


def norm_offset(net):
    """What the network's norms add to their weights."""
    return 1 if net.config.model_type.startswith("gemma") else 0


def randomise(net, seed):
    """Weights large enough that attention is peaked and every part of the model moves the logits."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if "norm" in name:
            tensor.copy_(1 - norm_offset(net) + 0.2 * noise)
        elif name.endswith("correction_bias"):
            tensor.copy_(0.2 * noise.abs())  # transformers lets experts of no group win over negative scores
        elif name.endswith("bias"):
            tensor.copy_(0.5 * noise)
        elif "embed_tokens" in name:
            tensor.copy_(noise / getattr(net.model.embed_tokens, "embed_scale", 1))
        else:
            tensor.copy_(1.5 * noise / tensor.shape[-1] ** 0.5)
    return net.eval()


def write_reference(net, folder):
    """Logits of every position, for prompts of random ids."""
    rng = np.random.default_rng(7)
    prompts = [rng.integers(0, VOCABULARY, length).tolist() for length in PROMPT_LENGTHS]
    logits = {
        f"logits.{i}": net(torch.tensor([ids]), use_cache=False).logits[0].numpy() for i, ids in enumerate(prompts)
    }
    save_file(logits, folder / "reference.safetensors")
    (folder / "reference.safetensors").chmod(0o644)
    golden.write_json(folder / "reference.json", {"prompts": prompts})


def checkpoint(name, net, dtype, seed, **save):
    """A Hugging Face folder. The weights are rounded to `dtype` first; the reference is computed from those in float32."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    randomise(net, seed)
    for tensor in net.state_dict().values():  # not net.to(dtype), which would round the rotary frequencies too
        tensor.copy_(tensor.to(dtype))
    state = {key: tensor.to(dtype) for key, tensor in net.state_dict().items()}
    if getattr(net.config, "q_lora_rank", 1) is None:
        state = {key.replace("q_b_proj", "q_proj"): tensor for key, tensor in state.items()}
    net.save_pretrained(folder, state_dict=state, **save)
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text()) | {"torch_dtype": str(dtype).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copy(TOKENIZER, folder / "tokenizer.json")
    config = {
        "bos_token": "<|bos|>", "eos_token": "<|eos|>", "chat_template": CHAT_TEMPLATE,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    for file in folder.iterdir():
        file.chmod(0o644)
    write_reference(net, folder)


def permute(weight, heads):
    """llama.cpp's order of rotary rows: pairs side by side, where Hugging Face has them half a head apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def unpermute(weight, heads):
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


GGUF_PARTS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up",
    "block_sparse_moe.gate": "ffn_gate_inp", "mlp.gate": "ffn_gate_inp",
}
# Those of all experts of a layer are one tensor of three dimensions.
GGUF_EXPERT_PARTS = {
    "w1": "ffn_gate_exps", "w2": "ffn_down_exps", "w3": "ffn_up_exps",
    "gate_proj": "ffn_gate_exps", "down_proj": "ffn_down_exps", "up_proj": "ffn_up_exps",
}
GEMMA_PARTS = GGUF_PARTS | {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def gguf_names(net):
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    parts = GEMMA_PARTS if norm_offset(net) else GGUF_PARTS
    for layer in range(net.config.num_hidden_layers):
        for theirs, ours in parts.items():
            names[f"model.layers.{layer}.{theirs}.weight"] = f"blk.{layer}.{ours}.weight"
    return names


def longrope_scaling(config):
    scaling = getattr(config, "rope_scaling", None) or {}
    return scaling if scaling.get("type") == "longrope" else None


def write_gguf_metadata(writer, config):
    tokenizer = json.loads(TOKENIZER.read_text())
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    tokens = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    texts = [text for text, _ in tokens]
    texts += [added[i]["content"] for i in range(len(texts), VOCABULARY)]
    kinds = [1 if i not in added else 3 if added[i]["special"] else 4 for i in range(VOCABULARY)]
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(int(head_dim * getattr(config, "partial_rotary_factor", 1)))
    if longrope_scaling(config):
        trained = config.original_max_position_embeddings
        growth = config.max_position_embeddings / trained
        writer.add_rope_scaling_orig_ctx_len(trained)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(growth) / math.log(trained)))
    if config.model_type != "llama":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    if getattr(config, "attn_logit_softcapping", None):
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    if getattr(config, "final_logit_softcapping", None):
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if hasattr(config, "num_experts_per_tok"):
        writer.add_expert_count(getattr(config, "num_local_experts", None) or config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if hasattr(config, "moe_intermediate_size"):
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def write_tensor(writer, name, weight, kind):
    """Returns what a reader makes of it."""
    stored_as = gguf.GGMLQuantizationType.F32 if weight.ndim == 1 else kind
    stored = gguf.quants.quantize(np.ascontiguousarray(weight), stored_as)
    writer.add_tensor(name, stored, raw_dtype=stored_as)
    return gguf.quants.dequantize(stored, stored_as).reshape(weight.shape).astype(np.float32)


def write_experts(writer, net, kind):
    stacks = {}
    for theirs, tensor in net.state_dict().items():
        if ".experts." in theirs:
            _, _, layer, _, _, _, part, _ = theirs.split(".")
            stacks.setdefault(f"blk.{layer}.{GGUF_EXPERT_PARTS[part]}.weight", []).append(tensor)
    for name, tensors in stacks.items():
        read = write_tensor(writer, name, np.stack([tensor.numpy() for tensor in tensors]), kind)
        for tensor, matrix in zip(tensors, read, strict=True):
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(matrix)))


def gguf_file(name, net, kind, architecture="llama"):
    """`net` as a GGUF whose matrices are of `kind`; the reference uses the weights as stored."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = net.config
    heads = {}
    if architecture == "llama":
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    writer = gguf.GGUFWriter(folder / "model.gguf", architecture)
    write_gguf_metadata(writer, config)
    names = gguf_names(net)
    for theirs, tensor in net.state_dict().items():
        if (theirs == "lm_head.weight" and config.tie_word_embeddings) or ".experts." in theirs:
            continue
        weight = tensor.numpy()
        offset = norm_offset(net) if "norm" in theirs else 0
        turned = next((count for part, count in heads.items() if part in theirs), None)
        weight = permute(weight, turned) if turned else weight + np.float32(offset)
        read = write_tensor(writer, names[theirs], weight, kind)
        read = unpermute(read, turned) if turned else read - np.float32(offset)
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(read)))
    write_experts(writer, net, kind)
    if architecture == "llama" and getattr(config, "rope_scaling", None):
        plain = config.rope_theta ** (-np.arange(0, config.head_dim, 2) / config.head_dim)
        factors = (plain / net.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
        writer.add_tensor("rope_freqs.weight", factors)
    for kind in ("long", "short") if longrope_scaling(config) else ():
        factors = np.array(config.rope_scaling[f"{kind}_factor"], dtype=np.float32)
        writer.add_tensor(f"rope_factors_{kind}.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write_reference(net, folder)


def without_query_compression():
    """DeepSeek with q_lora_rank null. transformers 4.52.4 builds only the compressed form, so the two outer steps become
    identities and the inner one takes the hidden state; its weight is saved under the name that the layout gives it."""
    net = DeepseekV3ForCausalLM(DeepseekV3Config(**MLA, q_lora_rank=1, tie_word_embeddings=False))
    for layer in net.model.layers:
        attention = layer.self_attn
        attention.q_a_proj = attention.q_a_layernorm = torch.nn.Identity()
        attention.q_b_proj = torch.nn.Linear(MLA["hidden_size"], attention.q_b_proj.out_features, bias=False)
    net.config.q_lora_rank = None
    return net


def make_llama():
    llama = LlamaForCausalLM(LlamaConfig(**GQA, tie_word_embeddings=True))
    checkpoint("llama_tied", llama, torch.float32, 1)
    gguf_file("llama_tied_q8_0_gguf", llama, gguf.GGMLQuantizationType.Q8_0)

    scaled = LlamaForCausalLM(LlamaConfig(**GQA, tie_word_embeddings=False, rope_scaling=LLAMA3_SCALING))
    checkpoint("llama_untied_scaled_sharded", scaled, torch.bfloat16, 2, max_shard_size="100KB")
    gguf_file("llama_untied_scaled_f16_gguf", scaled, gguf.GGMLQuantizationType.F16)


def make_qwen2():
    qwen = Qwen2ForCausalLM(Qwen2Config(**GQA, tie_word_embeddings=True))
    checkpoint("qwen2", qwen, torch.float16, 3)


def make_mla():
    checkpoint("mla", without_query_compression(), torch.bfloat16, 4)
    mla_q = DeepseekV3ForCausalLM(DeepseekV3Config(**MLA, q_lora_rank=24, tie_word_embeddings=True))
    checkpoint("mla_q_lora", mla_q, torch.bfloat16, 5)


def make_converted():
    """What our converter writes in format deepseek-v3, as transformers reads it: biases, a constant element in both latents,
    frequencies as longrope's factors. Needs the built program: $TRANSMLA, or build/release/bin/transmla."""
    program = os.environ.get("TRANSMLA", golden.HERE.parents[1] / "build" / "release" / "bin" / "transmla")
    folder = OUT / "converted"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(
        [
            program, "convert", OUT / "qwen2", folder, "--format=deepseek-v3", "--recipe=best",
            "--qk-rope-head-dim=10", "--kv-lora-rank=25", "--nsamples=6", "--seqlen=33", "--eval-sequences=0", "--threads=1",
        ],
        check=True, stdout=subprocess.DEVNULL,
    )
    (folder / "transmla_report.json").unlink()
    write_reference(AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval(), folder)


class SoftmaxGate(DeepseekV3TopkRouter):
    """The choice of DeepSeek-V2, which transformers 4.52.4 does not have: groups by their greatest probability."""

    def forward(self, hidden_states):
        scores = (hidden_states.view(-1, self.config.hidden_size) @ self.weight.T).softmax(dim=-1)
        size = self.n_routed_experts // self.n_group
        groups = scores.view(-1, self.n_group, size).amax(dim=-1)
        kept = torch.zeros_like(groups).scatter(1, groups.topk(self.topk_group).indices, 1)
        weights, experts = (scores * kept.repeat_interleave(size, dim=1)).topk(self.top_k)
        return experts, weights * self.routed_scaling_factor


def make_deepseek():
    """Experts from layer 1 on, chosen by groups, and one feed-forward beside them."""
    sizes = MLA | dict(
        num_hidden_layers=3, first_k_dense_replace=1, n_routed_experts=12, num_experts_per_tok=3, n_group=4, topk_group=2,
        moe_intermediate_size=20, n_shared_experts=2, routed_scaling_factor=1.5, q_lora_rank=24, tie_word_embeddings=False,
    )
    # With these seeds the choices have margins, as mixtral's.
    checkpoint("deepseek_v3", DeepseekV3ForCausalLM(DeepseekV3Config(**sizes, norm_topk_prob=True)), torch.bfloat16, 190)
    net = DeepseekV3ForCausalLM(DeepseekV3Config(**sizes, norm_topk_prob=False))
    for layer in net.model.layers[1:]:
        layer.mlp.gate.__class__ = SoftmaxGate
        del layer.mlp.gate.e_score_correction_bias
    checkpoint("deepseek_v2", net, torch.bfloat16, 129)
    file = OUT / "deepseek_v2" / "config.json"
    config = json.loads(file.read_text())
    config |= {"architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2"}
    config |= {"scoring_func": "softmax", "topk_method": "group_limited_greedy"}
    file.write_text(json.dumps(config, indent=2) + "\n")


def make_mistral():
    config = MistralConfig(**ODD, head_dim=14, sliding_window=WINDOW, tie_word_embeddings=False)
    mistral = MistralForCausalLM(config)
    checkpoint("mistral", mistral, torch.bfloat16, 6)
    gguf_file("mistral_gguf", mistral, gguf.GGMLQuantizationType.F16)


def make_qwen3():
    qwen = Qwen3ForCausalLM(Qwen3Config(**ODD, head_dim=14, tie_word_embeddings=True))
    checkpoint("qwen3", qwen, torch.float16, 7)
    gguf_file("qwen3_gguf", qwen, gguf.GGMLQuantizationType.F16, "qwen3")
    # A bias of each projection of attention, that of the output too.
    biased = Qwen3ForCausalLM(Qwen3Config(**ODD, head_dim=14, attention_bias=True, tie_word_embeddings=True))
    checkpoint("qwen3_biased", biased, torch.float16, 15)


def make_mixtral():
    config = MixtralConfig(
        **GQA | dict(intermediate_size=32), num_local_experts=5, num_experts_per_tok=2, tie_word_embeddings=False
    )
    mixtral = MixtralForCausalLM(config)
    # With this seed the choice of experts has a margin: a cache of few bits does not turn it.
    checkpoint("mixtral", mixtral, torch.bfloat16, 77)
    gguf_file("mixtral_q8_0_gguf", mixtral, gguf.GGMLQuantizationType.Q8_0)


def make_qwen3_moe():
    """Layers without experts are listed, or all but every second; llama.cpp has them in every layer, normalised."""
    sizes = ODD | dict(head_dim=14, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=20)
    listed = Qwen3MoeConfig(**sizes, mlp_only_layers=[1], norm_topk_prob=True, tie_word_embeddings=True)
    checkpoint("qwen3_moe", Qwen3MoeForCausalLM(listed), torch.bfloat16, 14)
    stepped = Qwen3MoeConfig(**sizes, decoder_sparse_step=2, norm_topk_prob=False, tie_word_embeddings=False)
    checkpoint("qwen3_moe_stepped", Qwen3MoeForCausalLM(stepped), torch.float16, 15)
    everywhere = Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes, norm_topk_prob=True, tie_word_embeddings=True))
    randomise(everywhere, 16)
    gguf_file("qwen3_moe_gguf", everywhere, gguf.GGMLQuantizationType.F16, "qwen3moe")


def make_mimo():
    """transformers has no such class: qwen2 by another name, with a layer that nobody asks for."""
    checkpoint("mimo", Qwen2ForCausalLM(Qwen2Config(**WIDER, tie_word_embeddings=True)), torch.bfloat16, 8)
    folder = OUT / "mimo"
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["MiMoForCausalLM"], "model_type": "mimo", "num_nextn_predict_layers": 1}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    state = load_file(folder / "model.safetensors")
    state["model.mtp_layers.0.input_proj.weight"] = torch.ones(4, 8, dtype=torch.bfloat16)
    save_torch_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


def make_phi3():
    """RoPE over 10 of a head's 14 dimensions."""
    config = Phi3Config(**WIDER, partial_rotary_factor=0.75, sliding_window=WINDOW, tie_word_embeddings=False)
    checkpoint("phi3", Phi3ForCausalLM(config), torch.bfloat16, 9)
    whole = Phi3ForCausalLM(Phi3Config(**WIDER, sliding_window=WINDOW, tie_word_embeddings=False))
    randomise(whole, 12)
    gguf_file("phi3_gguf", whole, gguf.GGMLQuantizationType.F16, "phi3")


def make_phi3_longrope():
    """transformers chooses factors by the length of a prompt, we by that of the context: here always the long ones."""
    scaling = dict(
        type="longrope", short_factor=[1.0, 1.1, 1.2, 1.3, 1.5], long_factor=[1.5, 2.0, 3.0, 5.0, 9.0]
    )
    config = Phi3Config(
        **WIDER, partial_rotary_factor=0.75, sliding_window=None, tie_word_embeddings=False, rope_scaling=scaling,
        original_max_position_embeddings=64,
    )
    net = Phi3ForCausalLM(config)
    rotary = net.model.rotary_emb
    rotary.original_inv_freq = rotary.inv_freq * torch.tensor(scaling["short_factor"]) / torch.tensor(scaling["long_factor"])
    rotary.register_buffer("inv_freq", rotary.original_inv_freq, persistent=False)
    checkpoint("phi3_longrope", net, torch.bfloat16, 19)
    gguf_file("phi3_longrope_gguf", net, gguf.GGMLQuantizationType.F16, "phi3")


GEMMA = dict(head_dim=14, query_pre_attn_scalar=14, sliding_window=WINDOW)


def make_gemma2():
    config = Gemma2Config(**ODD, **GEMMA, attn_logit_softcapping=3.0, final_logit_softcapping=8.0)
    gemma = Gemma2ForCausalLM(config)
    checkpoint("gemma2", gemma, torch.bfloat16, 10)
    gguf_file("gemma2_gguf", gemma, gguf.GGMLQuantizationType.F16, "gemma2")


def make_gemma3():
    """Seven layers, so that the sixth sees all positions without anything saying so."""
    sizes = ODD | dict(num_hidden_layers=7, intermediate_size=36, num_attention_heads=2, num_key_value_heads=1)
    gemma = Gemma3ForCausalLM(Gemma3TextConfig(**sizes, **GEMMA, rope_theta=1000000.0))
    checkpoint("gemma3", gemma, torch.bfloat16, 11)
    gguf_file("gemma3_gguf", gemma, gguf.GGMLQuantizationType.F16, "gemma3")


def main():
    makers = {name.removeprefix("make_"): make for name, make in globals().items() if name.startswith("make_")}
    chosen = sys.argv[1:] or list(makers)
    if unknown := set(chosen) - set(makers):
        raise SystemExit(f"no family {', '.join(sorted(unknown))}; there are {', '.join(makers)}")
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    for name in chosen:
        makers[name]()


if __name__ == "__main__":
    main()
