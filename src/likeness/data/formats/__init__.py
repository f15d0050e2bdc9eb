"""Pair sets in other formats: layouts.py other projects' and one's own, parquet.py, webdataset.py.

The tables name functions as "module:function", so that reading them imports nothing heavy. A new layout or format is
one function and one line here.
"""

__all__ = ["EXPORTS", "LAYOUTS", "LIST_EXPORTS", "OWN_FORMATS", "RUN_EXPORTS"]

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
    "flow-factory": "likeness.data.formats.pair_lists:flow_factory",
    "longcat": "likeness.data.formats.pair_lists:longcat",
    "own": "likeness.data.formats.own_folder:own_folder",
}
"""Readers of other projects' pair sets and results, and of one's own folder."""

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

LIST_EXPORTS: dict[str, str] = {
    "flow-factory": "likeness.data.formats.pair_lists:export_flow_factory",
    "longcat": "likeness.data.formats.pair_lists:export_longcat",
}
"""Writers of other projects' lists of pairs, with copies of the pictures beside them."""

RUN_EXPORTS: dict[str, str] = {"stellar": "likeness.data.formats.stellar_run:export_run"}
"""Writers of a run's pictures in other projects' layouts of results."""
