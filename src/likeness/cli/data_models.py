"""`likeness data dip --source models`: pairs by models in stages, what became of every record, and what comes next."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from likeness.cli.answer import answer, counted, told_left_out
from likeness.cli.data_photos import end, lint_facts, lint_text, next_commands, train_commands
from likeness.core.errors import ConfigError
from likeness.data import RECIPES

if TYPE_CHECKING:
    from likeness.core.jobs import Engine


def model_pairs(
    recipe: Path | None,
    *,
    out: Path,
    model: str | None,
    limit: int | None,
    workers: int,
    engine: Engine | None,
    device: str,
    dry: bool,
    retry_failed: bool,
    as_json: bool,
) -> None:
    """The pairs of a recipe, or what they would take. Raises: ConfigError without a recipe."""
    from likeness.cli.progress import progress_bars
    from likeness.data.staged.recipe import read_recipe
    from likeness.generate.pair_costs import dry_run
    from likeness.generate.pair_models import recipe_models

    if recipe is None:
        raise ConfigError("--source models: expected --recipe FILE, got none; see configs/pairs_flux_fill.toml.")
    read = read_recipe(recipe, model=model)
    if dry:
        plan = dry_run(read, out=out, limit=limit, workers=workers)
        return answer({"out": out, "source": "models", **plan.facts()}, text=plan.text(), as_json=as_json)
    painter, inpainter = recipe_models(read, device=device)
    how: dict[str, Any] = {"workers": workers, "engine": engine, "device": device, "limit": limit}
    with progress_bars() as bar:
        made = resolve_name(RECIPES["models"])(
            read, out=out, painter=painter, inpainter=inpainter, retry_failed=retry_failed, progress=bar, **how
        )
    _tell(made, as_json=as_json)


def _tell(made: Any, *, as_json: bool) -> None:
    out = made.folder
    facts = {
        "out": out,
        "source": "models",
        "num_pairs": made.num_pairs,
        "num_records": made.num_records,
        "num_rejected": made.num_rejected,
        "num_failed": made.num_failed,
        "refused_for": made.reasons,
        "lint": lint_facts(made.lint),
        "train": train_commands(out),
    }
    kept = f"{counted(made.num_pairs, 'pair')} in {out}, of {counted(made.num_records, 'record')}: "
    kept += f"{made.num_rejected} rejected, {made.num_failed} failed"
    kept += ", which --retry-failed tries again" if made.num_failed else ""
    told = told_left_out(made.ended, where=out / "rejected.jsonl")
    look = f"Look at {out / 'contact_sheet.png'}"
    answer(facts, text=f"{told}{kept}. {look}\n{lint_text(made.lint)}\n{next_commands(out)}", as_json=as_json)
    end(made.lint)
