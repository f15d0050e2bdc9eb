"""Stable Diffusion XL with IP-Adapter-Plus: references reach a U-Net as image tokens of a second cross-attention."""
