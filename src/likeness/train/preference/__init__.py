"""Preference tuning, `likeness train`: SFT, DPO, PatchDPO and FocusDPO on one set of pairs, by one loop.

config.py (the TOML file), cache.py (pairs encoded once), draws.py (which pairs, noise and times a step sees), step.py
(one pair of passes and its loss), loop.py (the run folder, resume, saving), guard.py (stops a diverging run), maps.py
(what the report draws), run.py (all of it). `tune` in run.py is what the command line calls.
"""
