"""The language model of the package `xlstm`: a random configuration, its checkpoint and its logits."""

import dataclasses
import json
import typing

import torch
from safetensors.torch import load_file, save_file
from xlstm import (FeedForwardConfig, mLSTMBlockConfig, mLSTMLayerConfig, sLSTMBlockConfig, sLSTMLayerConfig,
                   xLSTMLMModel, xLSTMLMModelConfig)


def draw(rng):
    """A configuration; heads share the width, and the blocks of the q, k and v maps share the inner width."""
    heads = rng.choice([1, 2, 4])
    blocks = rng.choice([1, 2, 3, 4])
    kind = rng.choice(["mixed", "mixed", "mlstm", "slstm"])
    places = {"mlstm": [], "slstm": "all", "mixed": sorted(rng.sample(range(blocks), rng.randrange(blocks + 1)))}[kind]
    return dict(
        vocab_size=rng.choice([17, 64, 101]),
        embedding_dim=heads * rng.choice([8, 16, 20]),
        num_blocks=blocks,
        heads=heads,
        slstm_at=places,
        bias=rng.random() < 0.4,
        tie_weights=rng.random() < 0.3,
        add_post_blocks_norm=rng.random() < 0.8,
        mlstm_conv=rng.choice([2, 4, 5]),
        qkv_proj_blocksize=rng.choice([4, 8]),
        mlstm_proj_factor=rng.choice([1.5, 2.0]),
        slstm_conv=rng.choice([0, 3, 4]),
        feedforward=rng.random() < 0.8,
        ffn_bias=rng.random() < 0.4,
        group_norm_weight=rng.random() < 0.8,
        act_fn=rng.choice(["gelu", "relu", "relu^2", "sigmoid", "swish", "selu"]),
        ffn_proj_factor=rng.choice([1.3, 2.0]),
        round_to=rng.choice([8, 64]),
    )


def config_of(settings):
    """The configuration of the package."""
    s = settings
    with_mlstm, with_slstm = s["slstm_at"] != "all", bool(s["slstm_at"])
    # The package takes the length of the context for the size of a mask, nothing else.
    context = 96
    mlstm = mLSTMBlockConfig(mlstm=mLSTMLayerConfig(
        conv1d_kernel_size=s["mlstm_conv"], qkv_proj_blocksize=s["qkv_proj_blocksize"], num_heads=s["heads"],
        proj_factor=s["mlstm_proj_factor"], round_proj_up_to_multiple_of=s["round_to"] * s["heads"]))
    feedforward = FeedForwardConfig(act_fn=s["act_fn"], proj_factor=s["ffn_proj_factor"], bias=s["ffn_bias"],
                                    round_proj_up_to_multiple_of=s["round_to"])
    slstm = sLSTMBlockConfig(
        slstm=sLSTMLayerConfig(backend="vanilla", num_heads=s["heads"], conv1d_kernel_size=s["slstm_conv"],
                               group_norm_weight=s["group_norm_weight"]),
        feedforward=feedforward if s["feedforward"] else None)
    return xLSTMLMModelConfig(
        mlstm_block=mlstm if with_mlstm else None, slstm_block=slstm if with_slstm else None, context_length=context,
        num_blocks=s["num_blocks"], embedding_dim=s["embedding_dim"], bias=s["bias"], slstm_at=s["slstm_at"],
        add_post_blocks_norm=s["add_post_blocks_norm"], vocab_size=s["vocab_size"], tie_weights=s["tie_weights"])


def make(settings, folder, rng):
    """Writes the checkpoint and gives tokens and the logits that they should have."""
    config = config_of(settings)
    model = xLSTMLMModel(config).double().eval()
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            small = "norm" in name or "_recurrent_kernel_" in name
            scale = 0.1 if small else 1.0 if tensor.dim() == 1 else tensor.shape[-1] ** -0.5
            tensor.copy_((noise * scale).float())
    folder.mkdir(parents=True)
    state = {name: tensor.float().contiguous() for name, tensor in model.state_dict().items()}
    if settings["tie_weights"]:
        # Tied weights are one tensor, which a safetensors file does not hold twice.
        del state["lm_head.weight"]
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=1, default=str) + "\n")
    tokens = [rng.randrange(settings["vocab_size"]) for _ in range(rng.choice([1, 15, 16, 33, 70]))]
    return tokens, logits_of(model, tokens), {}


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens]))[0].float().numpy()


def from_json(kind, data):
    """A dataclass, with those inside it, from what `dataclasses.asdict` made of it."""
    types = typing.get_type_hints(kind)

    def value(field):
        inner = [t for t in (types[field.name], *typing.get_args(types[field.name])) if dataclasses.is_dataclass(t)]
        found = data[field.name]
        return from_json(inner[0], found) if inner and isinstance(found, dict) else found

    known = [field for field in dataclasses.fields(kind) if field.init and field.name in data]
    return kind(**{field.name: value(field) for field in known})


def logits(folder, tokens):
    """What the package makes of a checkpoint."""
    model = xLSTMLMModel(from_json(xLSTMLMModelConfig, json.loads((folder / "config.json").read_text())))
    state = load_file(folder / "model.safetensors")
    if model.config.tie_weights:
        state.setdefault("lm_head.weight", state["token_embedding.weight"])
    model.load_state_dict(state)
    return logits_of(model.double().eval(), tokens)
