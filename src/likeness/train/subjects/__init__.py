"""Baselines that learn a subject from a few photos of it: textual inversion, DreamBooth, Custom Diffusion."""
