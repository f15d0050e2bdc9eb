"""The places of the cartoon world: each paints a whole background, and sometimes a strip in front of the feet."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from likeness.world import scenery_fields, scenery_rooms, scenery_town, scenery_wilds
from likeness.world.pen import Pen


@dataclass(frozen=True)
class Scene:
    """A place: its phrase for captions, what lies behind the characters and what covers their feet.

    `standing_phrase`, where there is one, is used when the subjects only stand there.
    """

    phrase: str
    back: Callable[[Pen, random.Random], None]
    front: Callable[[Pen, random.Random], None] | None = None
    standing_phrase: str = ""


SCENES: dict[str, Scene] = {
    "park_bench": Scene("on a park bench", scenery_fields.park_bench),
    "grand_hall": Scene("in a grand hall", scenery_rooms.grand_hall),
    "restaurant": Scene("in a bustling restaurant", scenery_rooms.restaurant),
    "moonlight": Scene("in the moonlight", scenery_rooms.moonlight),
    "gym": Scene("in a modern gym", scenery_rooms.gym),
    "fireplace": Scene("by the fireplace", scenery_rooms.fireplace),
    "alps": Scene("down a steep slope in the Alps, with snowflakes falling gently", scenery_wilds.alps),
    "palm_tree": Scene("under the shade of a palm tree", scenery_wilds.palm_tree),
    "kitchen": Scene("in a kitchen", scenery_rooms.kitchen),
    "stage": Scene("on stage during a vibrant music festival", scenery_rooms.stage),
    "countryside": Scene("along the scenic countryside road", scenery_fields.countryside),
    "grassland": Scene("on the grassland", scenery_fields.grassland, scenery_fields.grassland_front),
    "street": Scene("on the street", scenery_town.street),
    "football": Scene("on football playground", scenery_fields.football),
    "tree": Scene("under a tree", scenery_fields.tree_shade),
    "ballroom": Scene("in a vintage ballroom", scenery_rooms.ballroom),
    "diving_room": Scene("on the diving room", scenery_rooms.diving_room),
    "arena": Scene("in an elegant arena", scenery_rooms.arena),
    "forest": Scene("in the forest", scenery_wilds.forest),
    "plain": Scene("", scenery_rooms.plain),
    "street_court": Scene("on a street court", scenery_town.street_court),
    "ring": Scene("in a championship ring", scenery_rooms.ring),
    "mountain": Scene(
        "in front of the mountain", scenery_wilds.mountain, standing_phrase="with a mountain in the background"
    ),
    "garden": Scene("in a garden", scenery_fields.garden),
    "hilltop": Scene("on a hilltop", scenery_fields.hilltop),
    "jungle": Scene("in the jungle", scenery_wilds.jungle),
    "snow": Scene("in the snow", scenery_wilds.snow),
    "beach": Scene("on the beach", scenery_wilds.beach),
    "cobblestone": Scene("on a cobblestone street", scenery_town.cobblestone),
    "pink_fabric": Scene("on top of pink fabric", scenery_rooms.pink_fabric),
    "wooden_floor": Scene("on top of a wooden floor", scenery_rooms.wooden_floor),
    "city": Scene("with a city in the background", scenery_town.city),
    "blue_house": Scene("with a blue house in the background", scenery_town.blue_house),
    "purple_rug": Scene("on top of a purple rug in a forest", scenery_wilds.purple_rug),
    "wheat_field": Scene("with a wheat field in the background", scenery_fields.wheat_field),
    "autumn": Scene("with a tree and autumn leaves in the background", scenery_fields.autumn),
    "eiffel": Scene("with the Eiffel Tower in the background", scenery_town.eiffel),
    "water": Scene("floating on top of water", scenery_wilds.water, scenery_wilds.water_front),
    "milk": Scene("floating in an ocean of milk", scenery_wilds.milk, scenery_wilds.milk_front),
    "sunflowers": Scene(
        "on top of green grass with sunflowers around it", scenery_fields.sunflowers, scenery_fields.sunflowers_front
    ),
    "mirror": Scene("on top of a mirror", scenery_rooms.mirror),
    "sidewalk": Scene("on top of the sidewalk in a crowded street", scenery_town.sidewalk),
    "dirt_road": Scene("on top of a dirt road", scenery_fields.dirt_road),
    "white_rug": Scene("on top of a white rug", scenery_rooms.white_rug),
}
