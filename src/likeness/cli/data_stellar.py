"""`likeness data stellar-prompts`, `stellar-images`, `prompt-report`, `prompt-form`, `prompt-check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likeness.cli.answer import Json, answer, counted, told_left_out

if TYPE_CHECKING:
    from likeness.encoders.sentence import SentenceEncoder

PROMPTS_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness data stellar-prompts --out prompts\n\n"
    "likeness data stellar-prompts --reference stellar_h.json --validation-each 2 --out prompts\n\n"
    "Interrupted? Finished sentence features are kept; run the same command again."
)
IMAGES_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness data stellar-images CelebAMask-HQ --prompts prompts --out stellar\n\n"
    "likeness data stellar-images CelebAMask-HQ --faces buffalo_l --people 40 --out small"
)
REPORT_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness data prompt-report stellar_h.json prompts captions.txt --out prompts.html\n\n"
    "likeness data prompt-report prompts --vocabulary objects.txt --words-only --out prompts.html"
)
FORM_EXAMPLES = "[bold]Examples[/]\n\nlikeness data prompt-form --out task.html"
CHECK_EXAMPLES = "[bold]Examples[/]\n\nlikeness data prompt-check answers.csv --out stellar_h.json"

Encoder = Annotated[
    str, typer.Option(help="Sentences: all-minilm-l6-v2 (extra `prompts`), a hub id (Sentence-T5 has one) or a folder.")
]
Device = Annotated[str, typer.Option(help="Of the encoder: auto, cpu, cuda or mps.")]
Seed = Annotated[int, typer.Option(min=0, help="Equal seeds give an equal result.")]


def register(app: typer.Typer) -> None:
    """`likeness data` knows the commands of this file."""
    app.command("stellar-prompts", epilog=PROMPTS_EXAMPLES)(stellar_prompts)
    app.command("stellar-images", epilog=IMAGES_EXAMPLES)(stellar_images)
    app.command("prompt-report", epilog=REPORT_EXAMPLES)(prompt_report)
    app.command("prompt-form", epilog=FORM_EXAMPLES)(prompt_form)
    app.command("prompt-check", epilog=CHECK_EXAMPLES)(prompt_check)


def _sentences(spec: str, device: str) -> SentenceEncoder:
    from likeness.cli.progress import quiet_libraries
    from likeness.core.devices import pick_device
    from likeness.encoders.sentence import SentenceEncoder

    quiet_libraries()
    return SentenceEncoder.load(spec, device=pick_device(device))


def stellar_prompts(
    out: Annotated[Path, typer.Option(help="Folder for stellar_t.json, objects.txt, prompts.jsonl and summary.json.")],
    reference: Annotated[
        Path | None, typer.Option(help="Prompts that candidates are compared with (default: 100 of our own).")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Prompts to sample for the test split.")] = 10_000,
    candidates: Annotated[int, typer.Option(min=1, help="Prompts to begin with.")] = 177_000,
    people: Annotated[int, typer.Option(min=1, help="People of a split.")] = 200,
    each: Annotated[int, typer.Option(min=1, help="Prompts of a person of the test split.")] = 50,
    validation_each: Annotated[
        int, typer.Option(min=0, help="Prompts of a person of the validation split; the published set has 2.")
    ] = 0,
    encoder: Encoder = "all-minilm-l6-v2",
    device: Device = "cpu",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Prompts of Stellar's form with their objects and relations, filtered, sampled and handed to people."""
    from likeness.cli.progress import progress_bars
    from likeness.data.prompts.embedded import user_sentences
    from likeness.data.prompts.make import make_prompts

    reader = _sentences(encoder, device)
    numbers: dict[str, Any] = {"num_candidates": candidates, "num_prompts": n, "people": people, "each": each}
    with progress_bars() as bar:
        made = make_prompts(
            out,
            encoder=reader,
            store=user_sentences(),
            reference=reference,
            **numbers,
            validation_each=validation_each,
            seed=seed,
            progress=bar("reading sentences"),
        )
    counts = made.counts
    text = f"{counts['sampled']} of {counts['candidates']} prompts for {counts['people']} people in {out}"
    answer({"out": out, **made.summary}, text=text, as_json=as_json)


def stellar_images(
    folder: Annotated[Path, typer.Argument(metavar="CELEBA", help="Folder of CelebAMask-HQ.")],
    out: Annotated[Path, typer.Option(help="New folder for people in Stellar's layout.")],
    prompts: Annotated[Path | None, typer.Option(help="Folder with stellar_t.json, perhaps stellar_h.json.")] = None,
    people: Annotated[int, typer.Option(min=4, help="People of each split.")] = 200,
    faces: Annotated[
        str, typer.Option(help="Face encoder: dlib (extra `offline`), a pack by name or a folder.")
    ] = "dlib",
    min_area: Annotated[float, typer.Option(min=0, max=1, help="Least share of the picture for the face.")] = 0.2,
    min_score: Annotated[float, typer.Option(help="Least score of the face, on the detector's own scale.")] = 0.99,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """People of CelebAMask-HQ chosen by Stellar's rules, copied with masks, attributes and prompts."""
    from likeness.cli.progress import progress_bars, quiet_libraries
    from likeness.data.portraits.copied import copy_portraits
    from likeness.encoders.faces import FaceEncoder

    quiet_libraries()
    encoder = FaceEncoder.load(faces)
    limits: dict[str, Any] = {"least_area": min_area, "least_score": min_score}
    with progress_bars() as bar:
        made = copy_portraits(
            folder,
            out,
            faces=encoder,
            people=people,
            prompts=prompts,
            **limits,
            seed=seed,
            progress=bar("looking for faces"),
        )
    refused = [row.model_dump() for split in made.selections.values() for row in split.refused]
    told = told_left_out(refused, where=out / "refused.jsonl")
    number = sum(len(split.people) for split in made.selections.values())
    answer({"out": out, **made.summary, "left_out": refused}, text=f"{told}{number} people in {out}", as_json=as_json)


def prompt_report(
    sets: Annotated[
        list[Path],
        typer.Argument(
            metavar="SET...", help="Files or folders of prompts; the first is what others are compared with."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The page to write; its numbers go to PAGE.json.")],
    vocabulary: Annotated[
        list[Path] | None, typer.Option(help="Text file of names, one a line, to measure coverage of; may be repeated.")
    ] = None,
    words_only: Annotated[
        bool, typer.Option("--words-only", help="Without the sentence space: no mixture, map and neighbours.")
    ] = False,
    encoder: Encoder = "all-minilm-l6-v2",
    device: Device = "cpu",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """A page that describes sets of prompts: words, coverage, density, a map, nearest neighbours."""
    from likeness.cli.progress import progress_bars
    from likeness.core.files import numbered_lines, read_text, write_json
    from likeness.data.prompts.describe import Space, describe
    from likeness.data.prompts.embedded import user_sentences
    from likeness.data.prompts.files import read_prompts
    from likeness.data.prompts.tagger import spacy_tagger
    from likeness.report.prompts_page import build_prompts_page

    read = [read_prompts(path) for path in sets]
    known = {path.stem: [line.strip() for _, line in numbered_lines(read_text(path))] for path in vocabulary or []}
    place = None if words_only else Space(_sentences(encoder, device), user_sentences())
    with progress_bars() as bar:
        facts = describe(
            read, tagger=spacy_tagger(), space=place, vocabularies=known, seed=seed, progress=bar("tagging")
        )
    numbers = out.with_suffix(".json")
    write_json(numbers, facts)
    build_prompts_page(facts, out=out)
    answer({"page": out, "numbers": numbers, **facts}, text=f"{out}", as_json=as_json)


def prompt_form(
    out: Annotated[Path, typer.Option(help="The page to write: one file, to be shown by a study's platform.")],
    as_json: Json = False,
) -> None:
    """A page on which people write prompts about a photo, with the rules; it sends nothing anywhere."""
    from likeness.data.formats.stellar_files import SLOT
    from likeness.data.prompts.collected import FIELDS, MOST_CHARACTERS, NUM_PROMPTS, RULES
    from likeness.report.prompt_form import FormRules, build_prompt_form

    build_prompt_form(FormRules(RULES, FIELDS, NUM_PROMPTS, SLOT, MOST_CHARACTERS), out=out)
    answer({"page": out, "fields": list(FIELDS)}, text=f"{out}", as_json=as_json)


def prompt_check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What came back: CSV with a header, or JSONL.")],
    out: Annotated[Path | None, typer.Option(help="File for the usable prompts by photo, as stellar_h.json.")] = None,
    as_json: Json = False,
) -> None:
    """What people wrote, checked against the rules; each fault is one line."""
    from likeness.core.files import write_json
    from likeness.data.prompts.collected import read_collected

    found = read_collected(file)
    if out is not None:
        write_json(out, {photo: {"prompts": list(texts)} for photo, texts in found.by_photo.items()})
    left_out = [row.model_dump() for row in found.left_out]
    facts = {"out": out, "num_prompts": found.num_prompts, "num_photos": len(found.by_photo)}
    facts |= {"num_workers": found.num_workers, "left_out": left_out}
    lines = "".join(f"{row['reason']}\n" for row in left_out)
    kept = f"{counted(found.num_prompts, 'usable prompt')} for {counted(len(found.by_photo), 'photo')}"
    answer(facts, text=f"{lines}{kept}, {counted(len(left_out), 'fault')}.", as_json=as_json)
