"""Writes tiny random encoders in stock transformers format, the same bytes every time. Loaded by path, not imported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    BertTokenizer,
    BlipTextConfig,
    BlipVisionConfig,
    BlipVisionModel,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)
from transformers.models.blip.modeling_blip_text import BlipTextModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.encoders.affine import Affine, write_head
from likeness.encoders.probe import AttributeProbe, ProbeConfig

ATTRIBUTES = {
    "species": ("cat", "dog", "teapot"),
    "color": ("red", "green", "blue"),
    "hat": ("none", "cap"),
    "hat_color": ("red", "green", "blue"),
}
ACTIONS = ("hug", "chase")
SCENES = ("beach", "forest")
SMALL: dict[str, Any] = {"intermediate_size": 32, "num_attention_heads": 2, "hidden_size": 16, "num_hidden_layers": 2}


def tiny_tokenizer() -> CLIPTokenizer:
    """One token per letter: 16 tokens are 14 letters with start and end."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[])


def tiny_clip(*, seed: int = 1, **both: Any) -> CLIPModel:
    """A random CLIP; `both` are settings of both towers."""
    size = len(tiny_tokenizer())
    text = {"vocab_size": size, "max_position_embeddings": 16, "bos_token_id": size - 2, "eos_token_id": size - 1}
    vision = {"image_size": 32, "patch_size": 8}
    torch.manual_seed(seed)
    config = CLIPConfig(text_config=SMALL | text | both, vision_config=SMALL | vision | both, projection_dim=12)
    return CLIPModel(config)


def write_clip(folder: Path, *, seed: int = 1, **both: Any) -> Path:
    tiny_clip(seed=seed, **both).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    size = {"shortest_edge": 32}
    CLIPImageProcessorPil(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def write_hps_v1(folder: Path) -> Path:
    return write_clip(folder, seed=5, hidden_act="quick_gelu")


def write_hps_v2(folder: Path) -> Path:
    return write_clip(folder, seed=6, hidden_act="gelu")


def write_hps_v21(folder: Path) -> Path:
    return write_clip(folder, seed=7, hidden_act="gelu")


def write_pickscore(folder: Path) -> Path:
    return write_clip(folder, seed=8, hidden_act="gelu")


def write_clip_bigg14(folder: Path) -> Path:
    return write_clip(folder, seed=9, hidden_act="gelu")


def write_relation_clip(folder: Path) -> Path:
    """A CLIP with a bias, by which cosines become log-odds."""
    model = tiny_clip(seed=12, hidden_act="quick_gelu")
    model.config.logit_bias = -3.5
    write_clip(folder)
    model.save_pretrained(folder)
    return folder


def tiny_head(width: int) -> Affine:
    return Affine(np.random.default_rng(width).normal(size=width), 5.0)


def write_aesthetic(folder: Path) -> Path:
    vision = tiny_clip(seed=10).vision_model.config
    vision.projection_dim = 12
    CLIPVisionModelWithProjection(vision).save_pretrained(folder)
    size = {"shortest_edge": 32}
    CLIPImageProcessorPil(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    write_head(tiny_head(12), folder=folder)
    return folder


def tiny_words() -> BertTokenizer:
    """One token per letter, with the special ones of bert-base-uncased."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    return BertTokenizer(vocab={token: index for index, token in enumerate(tokens)})


def tiny_blip() -> tuple[BlipVisionModel, BlipTextModel]:
    """Both parts of a random BLIP; its vision tower is wider than its text encoder."""
    torch.manual_seed(11)
    small: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2}
    eyes = BlipVisionConfig(
        hidden_size=24, intermediate_size=40, image_size=32, patch_size=8, layer_norm_eps=1e-6, **small
    )
    words = BlipTextConfig(
        vocab_size=len(tiny_words()),
        hidden_size=16,
        encoder_hidden_size=24,
        intermediate_size=32,
        max_position_embeddings=64,
        **small,
    )
    vision, text = BlipVisionModel(eyes), BlipTextModel(words, add_pooling_layer=False)
    for name, tensor in [*vision.named_parameters(), *text.named_parameters()]:
        torch.nn.init.normal_(tensor, std=0.3, mean=1.0 if "norm" in name.lower() and "weight" in name else 0.0)
    return vision.eval(), text.eval()


def write_image_reward(folder: Path) -> Path:
    vision, text = tiny_blip()
    vision.save_pretrained(folder / "vision")
    text.save_pretrained(folder / "text")
    tiny_words().save_pretrained(folder)
    size = {"shortest_edge": 32}
    CLIPImageProcessorPil(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    write_head(tiny_head(16), folder=folder)
    return folder


def _write_preprocessor(folder: Path, extra: str = "") -> Path:
    mean, std = "[0.485, 0.456, 0.406]", "[0.229, 0.224, 0.225]"
    (folder / "preprocessor_config.json").write_text(f'{{"image_mean": {mean}, "image_std": {std}{extra}}}')
    return folder


def write_vit(folder: Path) -> Path:
    torch.manual_seed(2)
    ViTModel(ViTConfig(**SMALL, image_size=28, patch_size=7), add_pooling_layer=False).save_pretrained(folder)
    return _write_preprocessor(folder)


def write_dinov2(folder: Path) -> Path:
    torch.manual_seed(3)
    small = {key: value for key, value in SMALL.items() if key != "intermediate_size"}
    Dinov2Model(Dinov2Config(**small, image_size=42, patch_size=14)).save_pretrained(folder)
    return _write_preprocessor(folder, ', "crop_size": {"height": 28, "width": 28}')


def probe_config() -> ProbeConfig:
    return ProbeConfig(
        attributes=ATTRIBUTES,
        actions=ACTIONS,
        scenes=SCENES,
        image_size=64,
        embedding_size=8,
        hidden_sizes=(8, 8, 16, 16),
        depths=(1, 1, 1, 1),
        neck_size=16,
        reader_sizes=(8, 8, 16, 16),
        min_peak=0.0,
    )


def write_probe(folder: Path) -> Path:
    torch.manual_seed(4)
    AttributeProbe(probe_config()).save_pretrained(folder)
    return folder


def _tiny_owl(folder: Path, model: Any, config: Any, preprocessor: str) -> Path:
    """The published layout: CLIP's tokenizer without a chat template, and a preprocessor config of its time."""
    tokenizer = tiny_tokenizer()
    size = len(tokenizer)
    text = {"vocab_size": size, "max_position_embeddings": 16, "bos_token_id": size - 2, "eos_token_id": size - 1}
    vision = {"image_size": 32, "patch_size": 8}
    torch.manual_seed(5)
    made = model(config(text_config=SMALL | text, vision_config=SMALL | vision, projection_dim=16))
    with torch.no_grad():  # so that scores are spread over (0, 1)
        made.class_head.logit_shift.weight *= 0.1
        made.class_head.logit_scale.weight *= 0.1
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(preprocessor)
    return folder


def write_owlvit(folder: Path) -> Path:
    """OWL-ViT with the early preprocessor config: sizes as plain numbers, "rescale" as a flag."""
    from transformers import OwlViTConfig, OwlViTForObjectDetection

    old = '{"size": [32, 32], "crop_size": 32, "do_center_crop": false, "resample": 3, "rescale": true}'
    return _tiny_owl(folder, OwlViTForObjectDetection, OwlViTConfig, old)


def write_owlv2(folder: Path) -> Path:
    from transformers import Owlv2Config, Owlv2ForObjectDetection

    new = '{"size": {"height": 32, "width": 32}, "do_pad": true, "resample": 2}'
    return _tiny_owl(folder, Owlv2ForObjectDetection, Owlv2Config, new)


def _word_tokenizer(words: str) -> Any:
    """BERT's tokenizer with one token for every letter and the given words."""
    from transformers import BertTokenizer

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *words.split()]
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens += [*letters, *(f"##{letter}" for letter in letters)]
    return BertTokenizer(vocab={token: index for index, token in enumerate(dict.fromkeys(tokens))})


def write_grounding_dino(folder: Path) -> Path:
    from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

    tokenizer = _word_tokenizer("cat dog")
    small: dict[str, Any] = {"depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1], "window_size": 2}
    stages: dict[str, Any] = {"out_features": ["stage2", "stage3", "stage4"]}
    swin = SwinConfig(image_size=32, embed_dim=8, patch_size=4, **small, **stages)
    bert = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                      intermediate_size=16, max_position_embeddings=64)  # fmt: skip
    torch.manual_seed(6)
    config = GroundingDinoConfig(
        backbone_config=swin, text_config=bert, d_model=64, encoder_layers=1, decoder_layers=2, num_queries=12,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        max_text_len=64, num_feature_levels=4,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": 100}
    GroundingDinoImageProcessorPil(size=size).save_pretrained(folder)
    return folder


def _byte_tokenizer(*special: str) -> Any:
    """One token per byte, and one for yes and no in two spellings each."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = dict.fromkeys(["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])
    merges: dict[tuple[str, str], None] = {}
    for word in ("Yes", "No", "yes", "no"):
        for end in range(2, len(word) + 1):
            merges[word[: end - 1], word[end - 1]] = None
            tokens[word[:end]] = None
    model = models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=list(merges))
    whole = Tokenizer(model)
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    names: dict[str, Any] = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    made = PreTrainedTokenizerFast(tokenizer_object=whole, **names)
    made.add_special_tokens({"additional_special_tokens": list(special)})
    return made


def _chat_template(picture: str) -> str:
    content = "{% if c['type'] == 'image' %}" + picture + "{% else %}{{ c['text'] }}{% endif %}"
    turn = "{{ m['role'] }}:{% for c in m['content'] %}" + content + "{% endfor %}\n"
    return "{% for m in messages %}" + turn + "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"


def write_smolvlm(folder: Path) -> Path:
    """The layout of SmolVLM-Instruct, an Idefics3: a processor_config.json with everything in it."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    cells = [f"<row_{row + 1}_col_{column + 1}>" for row in range(6) for column in range(6)]
    names = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>")
    tokenizer = _byte_tokenizer(*names, *cells)
    images = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor: Any = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=_chat_template("<image>"))
    text = {"model_type": "llama", "vocab_size": len(tokenizer), "num_key_value_heads": 2, "pad_token_id": 0}
    tokens: dict[str, Any] = {"image_token_id": processor.image_token_id, "pad_token_id": 0}
    vision = SMALL | {"image_size": 32, "patch_size": 8}
    text = SMALL | text | {"max_position_embeddings": 1024}
    torch.manual_seed(7)
    config = Idefics3Config(text_config=text, vision_config=vision, scale_factor=2, **tokens)
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_qwen_vl(folder: Path) -> Path:
    """The layout of Qwen2.5-VL: preprocessor_config.json and chat_template.json, no processor_config.json."""
    import json

    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    special = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = _byte_tokenizer(*special)
    start, end, image, video = (tokenizer.convert_tokens_to_ids(token) for token in special)
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    text: dict[str, Any] = SMALL | {"vocab_size": len(tokenizer), "num_key_value_heads": 2, "rope_parameters": rope}
    text |= {"bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 1024}
    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 16}
    vision |= {"patch_size": 4, "spatial_merge_size": 2, "window_size": 16, "fullatt_block_indexes": [1]}
    tokens: dict[str, Any] = {"image_token_id": image, "video_token_id": video, "bos_token_id": 1, "eos_token_id": 2}
    tokens |= {"vision_start_token_id": start, "vision_end_token_id": end}
    torch.manual_seed(8)
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    limits: dict[str, Any] = {"min_pixels": 64, "max_pixels": 4096}
    Qwen2VLImageProcessorPil(patch_size=4, temporal_patch_size=2, merge_size=2, **limits).save_pretrained(folder)
    template = {"chat_template": _chat_template("<|vision_start|><|image_pad|><|vision_end|>")}
    (folder / "chat_template.json").write_text(json.dumps(template))
    return folder


def write_relations(folder: Path) -> Path:
    write_owlv2(folder / "detector")
    write_smolvlm(folder / "vlm")
    return folder


def write_dreamsim(folder: Path) -> Path:
    """Three tiny networks for pictures of 32 px; 16 + 12 + 12 numbers."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(9)
    ViTModel(ViTConfig(**SMALL, image_size=32, patch_size=8), add_pooling_layer=False).save_pretrained(folder / "dino")
    for part, act in (("clip", "quick_gelu"), ("open_clip", "gelu")):
        config = CLIPVisionConfig(**SMALL, image_size=32, patch_size=8, projection_dim=12, hidden_act=act)
        CLIPVisionModelWithProjection(config).save_pretrained(folder / part)
    return folder


def write_vitpose(
    folder: Path, *, keypoints: tuple[str, ...] = ("Nose", "L_Eye", "R_Eye", "L_Ear", "R_Ear"), sure: float = 0.0
) -> Path:
    """Five keypoints, or others, of pictures of 32 x 48 px, each with a score that is higher by `sure`."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    small: dict[str, Any] = {key: value for key, value in SMALL.items() if key != "intermediate_size"}
    sides: dict[str, Any] = {"image_size": [48, 32], "patch_size": [8, 8], "out_features": ["stage2"]}
    names: dict[int, str] = dict(enumerate(keypoints))
    torch.manual_seed(10)
    backbone = VitPoseBackboneConfig(**small, **sides)
    config = VitPoseConfig(backbone_config=backbone, id2label=names, scale_factor=4, use_simple_decoder=True)
    model = VitPoseForPoseEstimation(config)
    with torch.no_grad():
        model.head.conv.bias.add_(sure)  # pyright: ignore[reportOptionalMemberAccess] it has one
    model.save_pretrained(folder)
    VitPoseImageProcessorPil(size={"height": 48, "width": 32}).save_pretrained(folder)
    return folder


def write_sam2(folder: Path) -> Path:
    """Pictures of 64 x 64 px, every stage one block wide; the model draws its own masks from box prompts."""
    from transformers import Sam2Config, Sam2Model
    from transformers.models.sam2.configuration_sam2 import (
        Sam2HieraDetConfig,
        Sam2MaskDecoderConfig,
        Sam2PromptEncoderConfig,
        Sam2VisionConfig,
    )

    backbone: dict[str, Any] = {
        "hidden_size": 8, "num_attention_heads": 1, "image_size": [64, 64], "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_positional_embedding_background_size": [2, 2], "window_size_per_stage": [8, 4, 8, 4],
        "global_attention_blocks": [3],
    }  # fmt: skip
    vision: dict[str, Any] = {
        "backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 32, "num_feature_levels": 3,
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    }  # fmt: skip
    prompts: dict[str, Any] = {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder: dict[str, Any] = {"mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(12)
    config = Sam2Config(
        vision_config=Sam2VisionConfig(backbone_config=Sam2HieraDetConfig(**backbone), **vision),
        prompt_encoder_config=Sam2PromptEncoderConfig(**prompts),
        mask_decoder_config=Sam2MaskDecoderConfig(hidden_size=32, iou_head_hidden_dim=32, **decoder),
    )
    Sam2Model(config).save_pretrained(folder)
    return folder


def _sentence_layout(folder: Path, steps: tuple[str, ...], *, width: int) -> Path:
    """modules.json and the steps after the transformer, whose files lie at `folder` itself, as published."""
    import json

    places = ("", *(f"{k}_{step}" for k, step in enumerate(steps[1:], start=1)))
    rows = [
        {"idx": k, "name": str(k), "path": place, "type": f"sentence_transformers.models.{step}"}
        for k, (step, place) in enumerate(zip(steps, places, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(rows))
    (folder / "1_Pooling").mkdir()
    modes = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": width, **modes}))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 48, "do_lower_case": false}')
    return folder


def write_sentence_t5(folder: Path) -> Path:
    """Sentence-T5: the encoder of a T5, the mean, a dense layer without bias, length 1."""
    import json

    from safetensors.torch import save_file
    from tokenizers.processors import TemplateProcessing
    from transformers import T5Config, T5EncoderModel

    tokenizer = _byte_tokenizer()
    end = ("</s>", tokenizer.eos_token_id or tokenizer.convert_tokens_to_ids("</s>"))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[end])
    torch.manual_seed(13)
    sizes: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    T5EncoderModel(T5Config(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _sentence_layout(folder, ("Transformer", "Pooling", "Dense", "Normalize"), width=16)
    (folder / "2_Dense").mkdir()
    facts = {"in_features": 16, "out_features": 12, "bias": False}
    activation = {"activation_function": "torch.nn.modules.linear.Identity"}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(facts | activation))
    save_file(
        {"linear.weight": torch.randn(12, 16)}, folder / "2_Dense" / "model.safetensors", metadata={"format": "pt"}
    )
    return folder


def write_sentence_bert(folder: Path) -> Path:
    """The layout of all-MiniLM-L6-v2: a BERT, the mean, length 1."""
    from transformers import BertConfig, BertModel

    tokenizer = _word_tokenizer("cat dog")
    torch.manual_seed(14)
    BertModel(BertConfig(vocab_size=len(tokenizer), **SMALL, max_position_embeddings=64)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return _sentence_layout(folder, ("Transformer", "Pooling", "Normalize"), width=16)


def _eager_probe(config: ProbeConfig) -> AttributeProbe:
    """The heads of an untrained probe all score about the same; its bias is raised so that they count as found."""
    torch.manual_seed(5)
    probe = AttributeProbe(config)
    torch.nn.init.constant_(probe.heatmap_head[-1].bias, 2.0)  # pyright: ignore[reportArgumentType] Conv2d
    return probe


def write_subjects(folder: Path) -> Path:
    _eager_probe(probe_config()).save_pretrained(folder / "probe")
    write_vit(folder / "dino")
    return folder


def write_joints(folder: Path) -> Path:
    from likeness.core.skeletons import AP10K

    write_subjects(folder / "subjects")
    write_vitpose(folder / "pose", keypoints=AP10K, sure=1.0)
    return folder


def write_photo_subjects(folder: Path) -> Path:
    write_owlv2(folder / "detector")
    write_vit(folder / "vit")
    return folder


def write_world_faces(folder: Path, *, species: tuple[str, ...] = ("person", "cat")) -> Path:
    """Heads of the first of the species; windows of 16 px, embeddings of 6 numbers."""
    from transformers import ViTForImageClassification

    probe = _eager_probe(probe_config().model_copy(update={"attributes": {"species": species}}))
    with torch.no_grad():
        probe.attribute_head[-1].bias[0] = 50.0  # pyright: ignore[reportIndexIssue] Linear
    probe.save_pretrained(folder / "probe")
    torch.manual_seed(11)
    answers: dict[str, Any] = {"num_labels": 10, "same_person": 0.75}
    config = ViTConfig(**SMALL, image_size=16, patch_size=8, **answers)
    ViTForImageClassification(config).save_pretrained(folder)
    return folder


FURTHER: dict[str, Callable[[Path], Path]] = {
    "dinov2": write_dinov2,
    "clip_bigg14": write_clip_bigg14,
    "relation_clip": write_relation_clip,
    "hps_v1": write_hps_v1,
    "hps_v2": write_hps_v2,
    "hps_v21": write_hps_v21,
    "pickscore": write_pickscore,
    "aesthetic": write_aesthetic,
    "image_reward": write_image_reward,
    "owl": write_owlv2,
    "vlm": write_smolvlm,
    "relations": write_relations,
    "dreamsim": write_dreamsim,
    "subjects": write_subjects,
    "joints": write_joints,
    "sentence": write_sentence_t5,
}
"""Small folders of encoders that no default evaluation uses and some metric needs."""
