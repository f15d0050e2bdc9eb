"""Examples of relations, made from several sources: references, target, masks, boxes, keypoints, predicate.

`records` is the set's row and `read` its reader, `making` what all sources share. `world` draws examples, `photos`
reads one's own pictures, `models` has a generator make them, `published` reads DreamRelation's folders; `look` finds
subjects in pictures. `order` and `keypoints` decide whose joints are whose and which count, `lint` checks a set, `grid`
says which latent cell holds a joint, and `layout` proposes boxes for an action.
"""

SOURCES: dict[str, str] = {
    "world": "likeness.data.relations.world:make_world_relations",
    "models": "likeness.data.relations.models:make_model_relations",
    "photos": "likeness.data.relations.photos:make_photo_relations",
    "published": "likeness.data.relations.published:read_published",
}
"""By where the pictures come from, as `likeness data relations --source` names it."""

__all__ = ["SOURCES"]
