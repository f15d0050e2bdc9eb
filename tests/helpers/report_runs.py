"""Hand-made run folders: small drawings, made-up scores whose means are visible here."""

from pathlib import Path

from metric_facts import metric_facts
from PIL import Image, ImageDraw

from likeness.core.files import write_json, write_jsonl

COLORS = ["#d9593d", "#3f7fbf", "#e0a63a", "#4d9a63", "#8a63b8", "#d983a8"]
SUMMARY_ROWS = [
    ("generated", "attribute_accuracy", 0.8125, 0.7611, 0.8587, "share"),
    ("floor", "attribute_accuracy", 0.2317, 0.2011, 0.2609, "share"),
    ("ceiling", "attribute_accuracy", 0.9761, 0.9623, 0.9878, "share"),
    ("generated", "leakage", 0.0432, 0.0221, 0.0689, "share"),
    ("generated", "dino", 0.6241, 0.5987, 0.6519, "cosine"),
    ("floor", "dino", 0.4127, 0.3871, 0.4388, "cosine"),
    ("ceiling", "dino", 0.8123, 0.7977, 0.8266, "cosine"),
]


def draw(path: Path, *, color: str, size: int = 96, backdrop: str = "#cfe6f5") -> None:
    """A round-headed figure, enough to see on a page which picture is which."""
    image = Image.new("RGB", (size, size), backdrop)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, size * 0.72, size, size), fill="#86b872")
    pen.ellipse((size * 0.36, size * 0.14, size * 0.64, size * 0.42), fill=color)
    pen.ellipse((size * 0.32, size * 0.38, size * 0.68, size * 0.86), fill=color)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def make_run(
    folder: Path, *, num_cases: int = 3, num_samples: int = 1, evaluated: bool = True, prompt: str = ""
) -> Path:
    """A run folder with the layout of `likeness generate`, scored as by `likeness evaluate` when `evaluated`."""
    cases, manifest, scores = [], [], []
    for index in range(num_cases):
        case_id, color = f"case-{index:05d}", COLORS[index % len(COLORS)]
        draw(folder / f"references/{index}.png", color=color, backdrop="#e8e8e8")
        draw(folder / f"truth/{case_id}.png", color=color)
        text = prompt or f"a cat and a dog hug each other in a snowy park, number {index}"
        subject = {"id": f"cat-{index}", "class_name": "cat", "reference_image": f"references/{index}.png"}
        cases.append({"id": case_id, "prompt": text, "seed": index, "action": "hug", "subjects": [subject]})
        for k in range(num_samples):
            draw(folder / f"images/{case_id}-{k}.png", color=COLORS[(index + k) % len(COLORS)])
            row = {
                "id": f"{case_id}-{k}",
                "case_id": case_id,
                "k": k,
                "image": f"images/{case_id}-{k}.png",
                "prompt": text,
            }
            model = {"id": "tiny-flux", "sha256": "ab" * 32}
            manifest.append({**row, "seed": index, "references": [], "model": model, "versions": {"likeness": "0.1.0"}})
            scores.append(
                {
                    "id": f"{case_id}-{k}",
                    "case_id": case_id,
                    "subjects": [f"cat-{index}"],
                    "group": f"cat-{index}",
                    "prompt": text,
                    "values": _values(index, num_cases),
                }
            )
    write_json(folder / "run.json", {"model": {"id": "tiny-flux"}, "settings": {"steps": 25, "cfg_scale": 2.5}})
    write_jsonl(folder / "cases.jsonl", cases)
    write_jsonl(folder / "manifest.jsonl", manifest)
    if evaluated:
        write_jsonl(folder / "evaluation" / "scores.jsonl", scores)
        write_json(folder / "evaluation" / "summary.json", _summary(num_cases * num_samples))
    return folder


def _values(index: int, num_cases: int) -> dict[str, dict[str, object]]:
    accuracy = 1.0 - index / num_cases
    return {
        "attribute_accuracy": {"value": accuracy, "note": ""},
        "leakage": {"value": 0.01 * index, "note": ""},
        "action_recognised": {"value": float(index % 2), "note": ""},
        "clip_t": {"value": None, "note": "prompt longer than 77 tokens"},
    }


def _summary(n: int) -> dict[str, object]:
    rows: list[dict[str, object]] = [
        {
            **{"row": kind, "metric": metric, "column": "all_photos" if metric == "dino" else ""},
            **{"mean": mean, "ci_low": low, "ci_high": high, "n": n, "n_subjects": 3, "missing": 0, "reason": ""},
            **{"unit": unit, "higher_is_better": metric != "leakage"},
        }
        for kind, metric, mean, low, high, unit in SUMMARY_ROWS
    ]
    unmeasured = {**rows[0], "metric": "clip_t", "mean": None, "ci_low": None, "ci_high": None, "n": 0, "missing": n}
    rows.append({**unmeasured, "reason": "prompt longer than 77 tokens", "unit": "cosine"})
    return {
        "benchmark": "world-multi",
        "inputs_sha256": "cd" * 32,
        "protocol": {"version": 1},
        "encoders": {"probe": "tiny-probe 12ab"},
        "attributes": {"body_color": {"share_right": 0.9375, "n": 16}, "pattern": {"share_right": 0.6875, "n": 16}},
        "rows": rows,
        "metrics": metric_facts(),
        "versions": {"likeness": "0.1.0"},
    }
