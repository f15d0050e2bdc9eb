"""Preference pairs as a training task: encoded (cache.py, encode.py, patches.py), a step (step.py), maps (maps.py)."""
