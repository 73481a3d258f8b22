"""The creatures of ``examples/``: modelled as implicit solids, meshed once, moved by a small skeleton."""

from data_preparation_tools.creatures.creature import Creature, Model, sculpt
from data_preparation_tools.creatures.dino import DINO
from data_preparation_tools.creatures.jelly import JELLY
from data_preparation_tools.creatures.robot import ROBOT

CREATURES: dict[str, Creature] = {creature.name: creature for creature in (DINO, ROBOT, JELLY)}

__all__ = ["CREATURES", "Creature", "Model", "sculpt"]
