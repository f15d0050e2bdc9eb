"""Image generators behind one contract: latents and prompts go in, velocities (or noise) and pictures come out.

`base.Backbone` is the contract; `open.open_backbone` opens a folder as the backbone that the table names for it. A new
backbone is one new file (or folder) and one line in the table, which names objects as "module:name": reading it imports
neither torch nor diffusers.
"""

from typing import NamedTuple


class BackboneEntry(NamedTuple):
    """A kind of backbone: `pipeline` is what `_class_name` in model_index.json says of a folder of that kind.

    Where several kinds have one pipeline, `holds` is the subfolder by which a folder of this one is told from the rest.
    `load` is the class, whose `load` opens a folder, and `options` the model of what may be asked of one picture.
    `reads_layout`: as in its facts. `finds_boxes`: the class finds boxes for phrases, by `attended_layout`.
    """

    load: str
    pipeline: str
    options: str
    summary: str
    holds: str = ""
    reads_layout: bool = False
    finds_boxes: bool = False


BACKBONES: dict[str, BackboneEntry] = {
    "flux_uno": BackboneEntry(
        load="likeness.backbones.flux.uno:FluxUno",
        pipeline="FluxPipeline",
        options="likeness.backbones.flux.options:FluxOptions",
        summary="FLUX.1 with UNO's reference images as further tokens",
    ),
    "flux2_klein": BackboneEntry(
        load="likeness.backbones.flux2.klein:Flux2Klein",
        pipeline="Flux2KleinPipeline",
        options="likeness.backbones.flux2.options:KleinOptions",
        summary="FLUX.2 klein, base or step-distilled, which takes references natively",
    ),
    "qwen_image_edit": BackboneEntry(
        load="likeness.backbones.qwen.edit:QwenImageEdit",
        pipeline="QwenImageEditPlusPipeline",
        options="likeness.backbones.qwen.folder:QwenOptions",
        summary="Qwen-Image-Edit (2509, 2511), whose text encoder looks at the references, too",
    ),
    "sdxl_ip_adapter": BackboneEntry(
        load="likeness.backbones.sdxl.ip_adapter:SdxlIpAdapter",
        pipeline="StableDiffusionXLPipeline",
        options="likeness.backbones.sdxl.options:SdxlOptions",
        summary="Stable Diffusion XL with IP-Adapter-Plus, which turns references into image tokens",
        holds="ip_adapter",
    ),
    "sdxl_ms_diffusion": BackboneEntry(
        load="likeness.backbones.sdxl.ms_diffusion:SdxlMsDiffusion",
        pipeline="StableDiffusionXLPipeline",
        options="likeness.backbones.sdxl.options:MsOptions",
        summary="Stable Diffusion XL with MS-Diffusion, which reads each reference inside its box",
        holds="ms_adapter",
        reads_layout=True,
        finds_boxes=True,
    ),
    "sd15_ssr_encoder": BackboneEntry(
        load="likeness.backbones.sd15.ssr_encoder:Sd15SsrEncoder",
        pipeline="StableDiffusionPipeline",
        options="likeness.backbones.sd15.options:SsrOptions",
        summary="Stable Diffusion 1.5 with SSR-Encoder, which takes of each reference what a phrase names",
        holds="ssr_encoder",
        reads_layout=True,
    ),
}
