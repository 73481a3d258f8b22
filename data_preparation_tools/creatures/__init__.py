"""The creatures of ``examples/``: implicit solids, meshed once, animated by a small skeleton or a warp."""

from data_preparation_tools.creatures.creature import Creature, SculptedCreature, sculpt
from data_preparation_tools.creatures.dino import DINO
from data_preparation_tools.creatures.jelly import JELLY
from data_preparation_tools.creatures.robot import ROBOT

CREATURES: dict[str, Creature] = {creature.name: creature for creature in (DINO, ROBOT, JELLY)}

__all__ = ["CREATURES", "Creature", "SculptedCreature", "sculpt"]
