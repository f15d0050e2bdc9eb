"""Stable Diffusion 1.5 with what reads its references."""
