"""Five architectures of `transformers` as recipes of imported modules, at sizes whose step takes about 0.1 s.

`python examples/torch_models/five_models.py` measures step time and bytes beside the modules themselves, in eager torch
and under `torch.compile`, all from the same weights in one run; it needs the extra `peers`, transformers and a compiler
of C++ for `torch.compile`. Options of `gradloom bench` go on, such as `--rounds 3` or `--json five.json`. A single
recipe is one of a command: `gradloom plan examples/torch_models/five_models.py:bert`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import gradloom as gl
from gradloom.tools.recipes import Ingredients

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROWS, LENGTH, VOCABULARY, CLASSES = 16, 128, 2000, 10
_TEXT = {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": VOCABULARY}


def _recipe(name: str, arguments: dict[str, Any], **config: Any) -> Ingredients:
    """A model of random weights that returns its loss, with AdamW."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    kind = getattr(transformers, name)
    torch.manual_seed(0)
    module = kind(kind.config_class(**config))
    model, loss_fn = gl.from_torch_loss(module, **arguments)
    batch = {key: value.numpy() for key, value in arguments.items() if isinstance(value, torch.Tensor)}
    return Ingredients(model, loss_fn, gl.optim.AdamW(1e-4), batch)


def _tokens() -> dict[str, Any]:
    import torch

    tokens = torch.randint(3, VOCABULARY, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    return {"input_ids": tokens, "labels": tokens}


def _images() -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (ROWS,), generator=generator)
    return {"pixel_values": torch.randn(ROWS, 3, 64, 64, generator=generator), "labels": labels}


def bert() -> Ingredients:
    """An encoder of texts, Devlin et al. 2018."""
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return _recipe("BertForMaskedLM", _tokens(), **_TEXT, **rates, intermediate_size=768)


def gpt2() -> Ingredients:
    """A decoder of texts, Radford et al. 2019."""
    sizes = {"n_embd": 192, "n_layer": 4, "n_head": 4, "n_positions": LENGTH, "vocab_size": VOCABULARY}
    rates = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return _recipe("GPT2LMHeadModel", {**_tokens(), "use_cache": False}, **sizes, **rates)


def llama() -> Ingredients:
    """A decoder with rotary positions and groups of heads, Touvron et al. 2023."""
    arguments = {**_tokens(), "use_cache": False}
    return _recipe("LlamaForCausalLM", arguments, **_TEXT, num_key_value_heads=2, intermediate_size=512)


def vit() -> Ingredients:
    """An encoder of images, Dosovitskiy et al. 2020."""
    sizes = {"image_size": 64, "patch_size": 8, "hidden_size": 192, "intermediate_size": 768}
    layers = {"num_hidden_layers": 4, "num_attention_heads": 4, "num_labels": CLASSES}
    return _recipe("ViTForImageClassification", _images(), **sizes, **layers)


def resnet() -> Ingredients:
    """A residual network, He et al. 2015."""
    sizes = {"embedding_size": 32, "hidden_sizes": [64, 128, 256, 256], "depths": [1, 1, 1, 1]}
    return _recipe("ResNetForImageClassification", _images(), **sizes, layer_type="basic", num_labels=CLASSES)


def main() -> int:
    """Measure all five, with the options of the command line."""
    from gradloom.tools.cli import main as command

    names = [f"{__file__}:{recipe.__name__}" for recipe in (bert, gpt2, llama, vit, resnet)]
    return command(["bench", *names, "--against", "torch,torch-compile", "--rounds", "1", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
