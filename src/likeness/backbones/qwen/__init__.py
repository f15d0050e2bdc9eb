"""Qwen-Image-Edit: references that both the text encoder and the network see."""
