"""StellarNet: mappers that make words of a person's picture, and a LoRA, learnt from portraits with masks."""
