"""Recipes that make training data, and the file formats it travels in.

`dip` makes preference pairs on the drawn world: `world_pairs` draws them, `disruption` says what the rejected picture
changes, `paste` keeps the rest byte for byte, `judges` and `gate` decide which pairs are kept, `questions` is what the
judges are asked. `photos` makes them of photographs: `photo_masks` finds the subjects, `disruptor` changes them.
`staged` makes them by diffusion models, a detector and a vision-language model, in stages that can be stopped. A recipe
hands on what it kept and what it rejected, with the reason. `relations` makes another kind of set, for the relation
task. A new source of pictures is one file and one line below; the table names functions as "module:function" so that
reading it imports nothing heavy.
"""

RECIPES: dict[str, str] = {
    "world": "likeness.data.pairs.dip:make_pairs",
    "photos": "likeness.data.pairs.photos:make_photo_pairs",
    "models": "likeness.data.staged.model_pairs:make_model_pairs",
}
"""The DIP recipe by where its pictures come from, as `likeness data dip --source` names it."""
