"""Preference pairs made: dip.py the recipe, world_pairs.py the drawn pairs, disruption.py what is broken in a loser."""
