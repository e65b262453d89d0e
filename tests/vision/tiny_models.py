"""Tiny random vision models, saved as folders in the hub's layout: every line of the real backend runs on them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertTokenizerFast,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessorPil,
    PreTrainedTokenizerFast,
    Sam2Config,
    Sam2Model,
    SamConfig,
    SamImageProcessorPil,
    SamModel,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from miniature.tokenizer import write_tokenizer

WORDS = ["tree", "house", "boat", "cloud", "car", "sun", "ball", "flower", "hot", "dog"]
# BERT's own ids of the tokens that part the phrases of a prompt: Grounding DINO's code holds these numbers.
BERT_IDS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**TEXT, "image_size": 32, "patch_size": 8}


def build_tiny_vision(folder: Path) -> dict[str, str]:
    """Write a folder for each kind of model; returns their paths by name.

    detector (Grounding DINO), mm_detector, owlv2, segmenter (SAM), sam2, clip, siglip, clipseg.
    """
    torch.manual_seed(0)
    makers = {
        "detector": lambda f: _grounding_dino(f, GroundingDinoForObjectDetection, GroundingDinoConfig),
        "segmenter": _sam,
        "clip": lambda f: _clip(f, CLIPModel, CLIPConfig),
        "clipseg": lambda f: _clip(f, CLIPSegForImageSegmentation, CLIPSegConfig),
        "mm_detector": lambda f: _grounding_dino(f, MMGroundingDinoForObjectDetection, MMGroundingDinoConfig),
        "owlv2": _owlv2,
        "sam2": _sam2,
        "siglip": _siglip,
    }
    for name, make in makers.items():
        make(folder / name)
    return {name: str(folder / name) for name in makers}


def bert_tokenizer() -> BertTokenizerFast:
    """WordPiece over ``WORDS`` and single letters; the special tokens have BERT's ids."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    others = iter([*WORDS, *letters, *(f"##{c}" for c in letters), *(f"[unused{i}]" for i in range(2000))])
    by_id = {i: word for word, i in BERT_IDS.items()}
    vocabulary = [by_id[i] if i in by_id else next(others) for i in range(1030)]
    return BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)})


def _grounding_dino(folder: Path, model_class: type, config_class: type) -> None:
    folder.mkdir(parents=True)
    tokenizer = bert_tokenizer()
    tokenizer.save_pretrained(folder)
    config = config_class(
        backbone_config={
            "model_type": "swin",
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
            "window_size": 4,
            "image_size": 128,
            "out_features": ["stage2", "stage3", "stage4"],
        },
        text_config={
            "model_type": "bert",
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
        },
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=12,
    )
    model_class(config).save_pretrained(folder)
    GroundingDinoImageProcessorPil(size={"shortest_edge": 128, "longest_edge": 192}).save_pretrained(folder)


def _owlv2(folder: Path) -> None:
    text = {**TEXT, **_clip_text(folder), "max_position_embeddings": 16}
    vision = {**VISION, "image_size": 48}
    Owlv2ForObjectDetection(Owlv2Config(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(
        folder
    )
    Owlv2ImageProcessorPil(size={"height": 48, "width": 48}).save_pretrained(folder)


def _sam(folder: Path) -> None:
    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
        "output_channels": 16,
        "mlp_dim": 16,
        "window_size": 4,
        "global_attn_indexes": [0],
        "num_pos_feats": 8,
    }
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 16,
        "mlp_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 8,
    }
    _with_sure_scores(
        SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder))
    ).save_pretrained(folder)
    SamImageProcessorPil(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}, mask_size={"longest_edge": 32}
    ).save_pretrained(folder)


def _sam2(folder: Path) -> None:
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [64, 64],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 4, 4, 2],
        "window_positional_embedding_background_size": [4, 4],
        "global_attention_blocks": [3],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    }
    prompt = {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 8,
    }
    _with_sure_scores(
        Sam2Model(Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder))
    ).save_pretrained(folder)


def _with_sure_scores(model: torch.nn.Module) -> torch.nn.Module:
    """Scores of masks about 0.7 and 0.8, so that none is dropped for a random score just below zero."""
    with torch.no_grad():
        model.mask_decoder.iou_prediction_head.proj_out.bias.fill_(0.8)
    return model


def _clip_text(folder: Path) -> dict[str, int]:
    """Write the scene world's CLIP tokenizer; returns what a text config has to know of it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_tokenizer(folder)
    tokenizer.save_pretrained(folder)
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _clip(folder: Path, model_class: type, config_class: type) -> None:
    text = {**TEXT, **_clip_text(folder), "max_position_embeddings": 77}
    extra = {
        "extract_layers": [0, 1],
        "reduce_dim": 8,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 16,
    }
    given = extra if config_class is CLIPSegConfig else {}
    config = config_class(text_config=text, vision_config=VISION, projection_dim=16, **given)
    model_class(config).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)


def _siglip(folder: Path) -> None:
    pieces = ["</s>", "<unk>", "a", "photo", "of", "picture", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 0)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="</s>", eos_token="</s>", model_max_length=64
    ).save_pretrained(folder)
    text = {**TEXT, "vocab_size": len(pieces), "max_position_embeddings": 64, "projection_size": 16}
    text |= {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
    SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
