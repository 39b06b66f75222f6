"""xLSTM-large by `transformers`: a random configuration, its checkpoint and its logits."""

import torch
from transformers import xLSTMConfig, xLSTMForCausalLM
from transformers.utils import logging
from transformers.models.xlstm.modeling_xlstm import xLSTMPreTrainedModel

# The initialiser raises an error for fused weights; all weights are drawn below.
xLSTMPreTrainedModel._init_weights = lambda self, module: None
logging.disable_progress_bar()


def draw(rng):
    """A configuration, over everything that influences results; sizes that heads cannot share are not drawn."""
    heads = rng.choice([1, 2, 3, 4])
    width = heads * rng.choice([8, 16, 24, 40])
    return dict(
        vocab_size=rng.choice([17, 64, 101]),
        hidden_size=width,
        num_hidden_layers=rng.choice([1, 2, 3]),
        num_heads=heads,
        use_bias=rng.random() < 0.4,
        add_out_norm=rng.random() < 0.8,
        tie_word_embeddings=rng.random() < 0.3,
        norm_eps=rng.choice([1e-6, 1e-5, 1e-3]),
        eps=rng.choice([1e-6, 1e-4]),
        qk_dim_factor=rng.choice([0.25, 0.5, 1.0]),
        v_dim_factor=rng.choice([0.5, 1.0, 2.0]),
        ffn_proj_factor=rng.choice([1.5, 2.667, 2.6667]),
        ffn_round_up_to_multiple_of=rng.choice([1, 16, 64]),
        gate_soft_cap=rng.choice([5.0, 15.0]),
        output_logit_soft_cap=rng.choice([3.0, 30.0]),
        weight_mode=rng.choice(["single", "fused"]),
        dtype=rng.choice(["float32", "float32", "bfloat16", "float16"]),
    )


def make(settings, folder, rng):
    """Writes the checkpoint, in one file or in shards, and gives tokens and the logits that they should have."""
    settings = dict(settings)
    dtype = getattr(torch, settings.pop("dtype"))
    config = xLSTMConfig(**settings, chunkwise_kernel="chunkwise--native_autograd", mode="inference",
                         chunk_size=16, return_last_states=True, autocast_kernel_dtype="float32", use_cache=False)
    model = xLSTMForCausalLM(config).float().eval()
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                value = 1 + 0.1 * noise
            else:
                value = noise if tensor.dim() == 1 else noise / tensor.shape[-1] ** 0.5
            # What is computed with here are the numbers as they are stored.
            tensor.copy_(value.to(dtype))
        if settings["tie_word_embeddings"]:
            model.lm_head.weight.copy_(model.backbone.embeddings.weight)
    shards = rng.random() < 0.3
    model.to(dtype).save_pretrained(folder, max_shard_size="40KB" if shards else "5GB")
    model.float()
    tokens = [rng.randrange(settings["vocab_size"]) for _ in range(rng.choice([1, 15, 16, 33, 70]))]
    return tokens, logits_of(model, tokens), {"shards": shards}


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].float().numpy()


def logits(folder, tokens):
    """What `transformers` makes of a checkpoint."""
    settings = dict(chunkwise_kernel="chunkwise--native_autograd", mode="inference", chunk_size=16,
                    return_last_states=True, autocast_kernel_dtype="float32", use_cache=False)
    model = xLSTMForCausalLM.from_pretrained(folder, dtype=torch.float32, **settings).eval()
    return logits_of(model, tokens)
