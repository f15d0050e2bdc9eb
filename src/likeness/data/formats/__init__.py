"""Pair sets in other formats: layouts.py other projects' folders and lists, parquet.py, webdataset.py."""
