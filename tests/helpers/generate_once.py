"""Run by the kill test in a process of its own: python generate_once.py CASES.jsonl MODEL OUT WORKERS."""

import sys
from pathlib import Path

if __name__ == "__main__":
    from likeness.core.records import read_cases
    from likeness.generate.run import generate_run

    cases, model, out, workers = sys.argv[1:]
    generate_run(
        read_cases(Path(cases)).cases,
        out=out,
        model=model,
        num_images=3,
        workers=int(workers),
        device="cpu",
        dtype="float32",
        maker="fake_maker:load_slow",
    )
