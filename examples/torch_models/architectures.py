"""Small configurations of architectures of `transformers`, by the name of the model's class, with a batch for each."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
VOCABULARY = 61
ROWS, LENGTH = 2, 16


def _sizes(**more: Any) -> dict[str, Any]:
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
    return {**sizes, **more}


_TOKENS = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_TEXT = _sizes(**_TOKENS)
_GROUPED = {**_TEXT, "num_key_value_heads": 2}
_GPT2 = {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 32, **_TOKENS}
_SEQ2SEQ = {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "d_model": 32,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    **_TOKENS,
}
_IMAGE = _sizes(image_size=64, patch_size=16)
_STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 24]}

CAUSAL: dict[str, dict[str, Any]] = {
    "GPT2LMHeadModel": _GPT2,
    "GPTNeoForCausalLM": {
        "num_layers": 2,
        "hidden_size": 32,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 32,
        **_TOKENS,
    },
    "GPTJForCausalLM": {**_GPT2, "rotary_dim": 8},
    "GPTNeoXForCausalLM": _TEXT,
    "LlamaForCausalLM": _GROUPED,
    "MistralForCausalLM": _GROUPED,
    "Qwen2ForCausalLM": _GROUPED,
    "Qwen3ForCausalLM": {**_GROUPED, "head_dim": 8},
    "GemmaForCausalLM": {**_GROUPED, "head_dim": 8},
    "Gemma2ForCausalLM": {**_GROUPED, "head_dim": 8},
    "PhiForCausalLM": _TEXT,
    "FalconForCausalLM": {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, **_TOKENS},
    "BloomForCausalLM": {"n_layer": 2, "hidden_size": 32, "n_head": 4, **_TOKENS},
    "OPTForCausalLM": {
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "ffn_dim": 48,
        "max_position_embeddings": 32,
        "word_embed_proj_dim": 32,
        **_TOKENS,
    },
    "MixtralForCausalLM": {**_GROUPED, "num_local_experts": 3, "experts_implementation": "batched_mm"},
    "MambaForCausalLM": {"num_hidden_layers": 2, "hidden_size": 32, "state_size": 4, **_TOKENS},
    "OlmoForCausalLM": _TEXT,
    "StableLmForCausalLM": {**_TEXT, "num_key_value_heads": 4},
    "Starcoder2ForCausalLM": _GROUPED,
}
MASKED: dict[str, dict[str, Any]] = {
    "BertForMaskedLM": _TEXT,
    "DistilBertForMaskedLM": {"n_layers": 2, "dim": 32, "n_heads": 4, "hidden_dim": 48, **_TOKENS},
    "AlbertForMaskedLM": {**_TEXT, "embedding_size": 16},
    "ElectraForMaskedLM": {**_TEXT, "embedding_size": 16},
    "DebertaV2ForMaskedLM": {
        **_TEXT,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "max_position_embeddings": 32,
    },
    "MPNetForMaskedLM": _TEXT,
    "ModernBertForMaskedLM": {**_TEXT, "cls_token_id": 1, "sep_token_id": 2},
    "XLNetLMHeadModel": {"n_layer": 2, "d_model": 32, "n_head": 4, "d_inner": 48, **_TOKENS},
}
CLASSIFIED: dict[str, dict[str, Any]] = {"RobertaForSequenceClassification": {**_TEXT, "pad_token_id": 1}}
TRANSLATED: dict[str, dict[str, Any]] = {
    "T5ForConditionalGeneration": {
        "num_layers": 2,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_heads": 4,
        "decoder_start_token_id": 0,
        **_TOKENS,
    },
    "BartForConditionalGeneration": {**_SEQ2SEQ, "max_position_embeddings": 32, "decoder_start_token_id": 2},
    "MarianMTModel": {**_SEQ2SEQ, "max_position_embeddings": 32, "decoder_start_token_id": 0},
}
IMAGES: dict[str, dict[str, Any]] = {
    "ViTForImageClassification": _IMAGE,
    "DeiTForImageClassification": _IMAGE,
    "BeitForImageClassification": _IMAGE,
    "SwinForImageClassification": {
        "image_size": 64,
        "patch_size": 4,
        "embed_dim": 16,
        "depths": [1, 1],
        "num_heads": [2, 4],
        "window_size": 4,
    },
    "ConvNextForImageClassification": _STAGES,
    "ResNetForImageClassification": {**_STAGES, "embedding_size": 8},
    "RegNetForImageClassification": {**_STAGES, "embedding_size": 8, "groups_width": 8},
    "MobileNetV1ForImageClassification": {},
    "MobileNetV2ForImageClassification": {},
    "EfficientNetForImageClassification": {
        "image_size": 64,
        "width_coefficient": 0.5,
        "depth_coefficient": 0.5,
        "hidden_dim": 640,
    },
    "PoolFormerForImageClassification": _STAGES,
    "SegformerForImageClassification": {
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 16, 24, 32],
        "num_attention_heads": [1, 2, 2, 4],
    },
    "Dinov2ForImageClassification": {
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "image_size": 64,
        "patch_size": 16,
    },
    "CvtForImageClassification": {"embed_dim": [8, 16, 24], "num_heads": [1, 2, 3], "depth": [1, 2, 3]},
}
SOUNDS: dict[str, dict[str, Any]] = {
    "Wav2Vec2ForSequenceClassification": _sizes(
        vocab_size=VOCABULARY,
        conv_dim=[16, 16],
        conv_stride=[5, 2],
        conv_kernel=[10, 3],
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4,
        apply_spec_augment=False,
    ),
    "WhisperForConditionalGeneration": {
        **_SEQ2SEQ,
        "num_mel_bins": 8,
        "max_source_positions": 50,
        "max_target_positions": 32,
        "decoder_start_token_id": 2,
    },
    "ASTForAudioClassification": _sizes(num_mel_bins=32, max_length=64, patch_size=8),
}
ALL = {**CAUSAL, **MASKED, **CLASSIFIED, **TRANSLATED, **IMAGES, **SOUNDS}


def _without_draws(config: Any) -> None:
    """Set all rates of dropout of a configuration to 0."""
    for name, value in list(vars(config).items()):
        if ("drop" in name or name == "layerdrop") and isinstance(value, (float, int)) and not isinstance(value, bool):
            setattr(config, name, type(value)(0))
        elif "drop" in name and isinstance(value, (list, tuple)):
            setattr(config, name, [0.0] * len(value))


def built(name: str, seed: int = 0, draws: bool = False, **more: Any) -> Any:
    """A model of random weights, in float32; without `draws` no rate of dropout is above 0."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    kind = getattr(transformers, name)
    config = kind.config_class(**{**ALL[name], **more})
    if not draws:
        _without_draws(config)
    torch.manual_seed(seed)
    return kind(config)


def batch_of(name: str, seed: int = 0, rows: int = ROWS, length: int = LENGTH) -> dict[str, Any]:
    """Keyword arguments of a call that returns a loss."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, VOCABULARY - 1, (rows, length), generator=generator)
    classes = torch.randint(0, 2, (rows,), generator=generator)
    if name in IMAGES:
        return {"pixel_values": torch.randn(rows, 3, 64, 64, generator=generator), "labels": classes}
    if name == "Wav2Vec2ForSequenceClassification":
        return {"input_values": torch.randn(rows, 800, generator=generator), "labels": classes}
    if name == "ASTForAudioClassification":
        return {"input_values": torch.randn(rows, 64, 32, generator=generator), "labels": classes}
    if name == "WhisperForConditionalGeneration":
        sounds = torch.randn(rows, 8, 100, generator=generator)
        return {"input_features": sounds, "labels": tokens, "use_cache": False}
    if name in CLASSIFIED:
        return {"input_ids": tokens, "labels": classes}
    if name in MASKED:
        return {"input_ids": tokens, "labels": tokens}
    return {"input_ids": tokens, "labels": tokens, "use_cache": False}
