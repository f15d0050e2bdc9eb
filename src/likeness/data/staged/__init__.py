"""Pairs made by models in stages (`likeness data dip --source models`): each stage turns a record into a record.

`stage.py` is the contract of a stage, `ledger.py` what has been done, `run.py` does what is missing. The stages:
`generate`, `locate`, `caption`, `inpaint`, `judge`, `gate`. `recipe.py` reads the TOML that names their models,
`records.py` says what is asked of each record, `model_pairs.py` is the whole.
"""
