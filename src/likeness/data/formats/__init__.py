"""Pair sets in other formats: layouts.py other projects' folders and lists, parquet.py, webdataset.py.

The tables name functions as "module:function", so that reading them imports nothing heavy. A new layout or format is
one function and one line here.
"""

__all__ = ["EXPORTS", "LAYOUTS", "OWN_FORMATS", "RUN_EXPORTS"]

LAYOUTS: dict[str, str] = {
    "kohya": "likeness.data.formats.folders:kohya",
    "simpletuner": "likeness.data.formats.folders:simpletuner",
    "pickapic": "likeness.data.formats.tables:pickapic",
    "patchdpo": "likeness.data.formats.folders:patchdpo",
    "uno": "likeness.data.formats.folders:uno",
    "subjects200k": "likeness.data.formats.tables:subjects200k",
    "dreambench-plus": "likeness.data.formats.folders:dreambench_plus",
    "geneval": "likeness.data.formats.folders:geneval",
    "stellar": "likeness.data.formats.folders:stellar",
}
"""Readers of other projects' pair sets and results."""

OWN_FORMATS: dict[str, str] = {
    "parquet": "likeness.data.formats.parquet:import_parquet",
    "webdataset": "likeness.data.formats.webdataset:import_webdataset",
}
"""Formats that hold a pair set as it was, with nothing to fill in."""

EXPORTS: dict[str, str] = {
    "parquet": "likeness.data.formats.parquet:export_parquet",
    "webdataset": "likeness.data.formats.webdataset:export_webdataset",
}
"""Writers of those formats."""

RUN_EXPORTS: dict[str, str] = {"stellar": "likeness.data.formats.stellar_run:export_run"}
"""Writers of a run's pictures in other projects' layouts of results."""
