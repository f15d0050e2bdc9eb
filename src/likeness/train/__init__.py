"""Tuning, `likeness train`: a config in, a run folder with an adapter out.

run.py (the run folder, resume, saving), loop.py (steps and their numbers), config.py (the TOML file), draws.py (which
rows, noise and times a step sees), guard.py (stops a diverging run), state.py, schedule.py. What a step computes is a
family's own: pairs/ holds the preference objectives.
"""
