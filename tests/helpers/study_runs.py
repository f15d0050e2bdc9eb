"""Small runs of one benchmark for studies, and raters who answer over HTTP."""

import re
from pathlib import Path
from typing import Any  # rows of JSON; a test client or one of the network

from PIL import Image, ImageDraw

from likeness.core.files import write_json, write_jsonl

CLASSES = ("cat", "dog", "robot", "teapot")
ACTIONS = ("hug", "jump", "read", "sleep")
SHADES = ("#d9593d", "#3f7fbf", "#e0a63a", "#4d9a63")


def draw(path: Path, *, shape: int, shade: str, size: int = 64) -> None:
    """A figure of some shape and colour."""
    image = Image.new("RGB", (size, size), "#dfe9f2")
    pen = ImageDraw.Draw(image)
    box = (size * 0.2, size * 0.2, size * 0.8, size * 0.8)
    (pen.ellipse, pen.rectangle, pen.pieslice, pen.chord)[shape % 4](
        box, *([20, 300] if shape % 4 > 1 else []), fill=shade
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def study_runs(folder: Path, *, names: tuple[str, ...], num_cases: int = 12, prompt: str = "") -> dict[str, Path]:
    """A run for each name; run r is scored 1 - r / 10, and its pictures have a colour of its own."""
    runs = {name: folder / name for name in names}
    for rank, run in enumerate(runs.values()):
        rows: list[dict[str, Any]] = []
        cases: list[dict[str, Any]] = []
        for index in range(num_cases):
            case, kind = f"case-{index:05d}", index % 4
            text = prompt or f"a {CLASSES[kind]} that likes to {ACTIONS[kind]}, number {index}"
            draw(run / f"references/{index}.png", shape=kind, shade=SHADES[kind])
            draw(run / f"truth/{case}.png", shape=kind, shade=SHADES[kind])
            draw(run / f"images/{case}-0.png", shape=kind, shade=f"#{40 + 50 * rank:02x}{10 * index % 256:02x}80")
            subject = {"id": f"s{index}", "class_name": CLASSES[kind], "reference_image": f"references/{index}.png"}
            cases.append({"id": case, "prompt": text, "action": ACTIONS[kind], "subjects": [subject]})
            rows.append({"id": f"{case}-0", "case_id": case, "k": 0, "image": f"images/{case}-0.png"})
        write_jsonl(run / "cases.jsonl", cases)
        write_jsonl(run / "manifest.jsonl", rows)
        values = {"good": {"value": 1 - rank / 10}, "distance": {"value": rank / 10}, "constant": {"value": 0.5}}
        write_jsonl(run / "evaluation/scores.jsonl", [{"id": row["id"], "values": values} for row in rows])
        facts = {name: {"higher_is_better": name != "distance"} for name in values}
        write_json(run / "evaluation/summary.json", {"metrics": facts})
    return runs


def hidden(page: str, name: str = "token") -> str:
    """The value of a hidden field of a page."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, page
    return found[1]


def shown_pictures(page: str) -> list[str]:
    """Names of the pictures to choose from, in their order on the page."""
    return re.findall(r'src="/pictures/([^"]+)" alt="picture', page)


def questions_of(page: str) -> list[str]:
    """Names of the questions of a page."""
    return list(dict.fromkeys(re.findall(r'type="radio" name="([^"]+)"', page)))


def begin(client: Any, link: str) -> Any:
    """Says yes on the consent page; the first item."""
    page = client.get(link)
    return client.post(link, data={"token": hidden(page.text)}, follow_redirects=True)


def answer_all(client: Any, page: Any, choose: Any) -> Any:
    """Answers item after item by `choose(page text, question)` until the page of thanks."""
    while 'data-item="' in page.text:
        text = page.text
        answers = {question: choose(text, question) for question in questions_of(text)}
        form = {"token": hidden(text), "item": hidden(text, "item"), **answers}
        page = client.post("/task", data=form, follow_redirects=True)
    return page
