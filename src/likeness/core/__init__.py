"""Nouns and plumbing shared by every room: records, pictures, hashes, seeds, files, run folders, intervals, weights.

This room holds no model and imports no heavy library at import time. Its modules are imported by name
(`from likeness.core.records import Case`); there is nothing to look up here.
"""
