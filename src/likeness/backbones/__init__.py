"""Image generators behind one contract: latents and prompts go in, velocities (or noise) and pictures come out.

`base.Backbone` is the contract, one file per model implements it. A new backbone is one file and one line below.
The table names classes as "module:class" so that reading it imports neither torch nor diffusers.
"""

BACKBONES: dict[str, str] = {
    "flux_uno": "likeness.backbones.flux.uno:FluxUno",
}
