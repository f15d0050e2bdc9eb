"""The relation task: a LoRA learns what two subjects do, from a few examples with their subjects alone and together."""
