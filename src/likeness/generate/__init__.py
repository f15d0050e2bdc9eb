"""Cases in, pictures out: resumable generation runs.

`run.generate_run` is the verb; `makers` says what can make pictures, `samples` what is to be made, `references` copies
the inputs into the run folder, `workers` makes the pictures. A run folder holds run.json, cases.jsonl, references/,
images/, manifest.jsonl and, if any input was left out, rejected.jsonl.
"""
