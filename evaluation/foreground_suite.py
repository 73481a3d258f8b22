"""The test clips of foreground segmentation.

Constants were chosen on the clips without ``held_out``. Clips of the last group show an object right in front of what
the photograph is a picture of (a cup, a motorcycle, a cat), where what stands out and what moves are not the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evaluation.foreground_clips import ForegroundClip as Clip

_WIDE, _TALL = (854, 480), (480, 640)
_LAUNCH_SITE, _FLAG, _MEADOW = (0.0, 0.0, 0.42, 1.0), (0.0, 0.0, 0.34, 0.62), (0.6, 0.2, 1.0, 1.0)  # photographs' parts


def _showcase(file: str) -> str:
    return f"characters/animated/quaternius_showcase/{file}.glb"


def _free(file: str) -> str:
    return f"characters/animated/quaternius_free2019/{file}.glb"


def _pet(file: str) -> str:
    return f"characters/animated/kenney_cube_pets/{file}.glb"


def _group(clips: Sequence[Clip], group: str) -> tuple[Clip, ...]:
    return tuple(replace(clip, group=group) for clip in clips)


TUNING = _group(
    [
        Clip("deer_grass", _showcase("animals__Deer"), "grass", moves="AnimalArmature|Gallop"),
        Clip("robot_rocket", "examples/waving_robot", "rocket", _LAUNCH_SITE, size=_TALL, shadow=True, quality=80),
        Clip("man_bricks", _free("Male_Casual"), "brick", None, "pan", _WIDE, 0.85, moves="HumanArmature|Man_Walk"),
        Clip("giraffe_grass", _pet("giraffe"), "grass", None, "jitter", _TALL, 0.7, moves="walk", quality=60),
        Clip("trex_noise", _showcase("dinosaurs__Trex"), "noise", travel=0.3, moves="Armature|TRex_Walk"),
        Clip("woman_flag", _free("Animated_Woman"), "astronaut", _FLAG, "zoom", _TALL, 0.6, moves="Armature|Running"),
        Clip(
            "koi_bricks",
            _showcase("cute_fish__Koi"),
            "brick",
            None,
            "pan",
            (640, 480),
            0.6,
            travel=0.4,
            yaw=70,
            moves="Fish_Armature|Swimming_Fast",
            quality=70,
        ),
        Clip(
            "skeleton_rocket",
            _free("Skeleton"),
            "rocket",
            _LAUNCH_SITE,
            camouflage=0.5,
            moves="SkeletonArmature|Skeleton_Running",
        ),
        Clip(
            "crab_camera",
            _showcase("platformer_game__Crab"),
            "camera",
            _MEADOW,
            height=0.7,
            shadow=True,
            moves="MonsterArmature|Dance",
        ),
        Clip("fox_grass", "animated/Fox.glb", "grass", None, "pan", yaw=60, shadow=True, camouflage=0.3, moves="Walk"),
        Clip("spiderman_noise", "videos/dancing_spiderman", "noise", None, "jitter", _WIDE, 0.95, quality=75),
        Clip("dragon_moon", _free("Dragon"), "moon", None, "zoom", _WIDE, moves="DragonArmature|Dragon_Flying"),
        Clip("cyborg_flag", _showcase("cyberpunk__Character"), "astronaut", _FLAG, moves="CharacterArmature|Wave"),
        Clip(
            "shark_hubble",
            _showcase("fish__Shark"),
            "hubble_deep_field",
            None,
            "zoom",
            _WIDE,
            yaw=75,
            moves="Armature|Swim",
        ),
    ],
    "tuning",
)

HELD_OUT = _group(
    [
        Clip("dino_camera", "examples/walking_dino", "camera", _MEADOW, shadow=True),
        Clip("jelly_gravel", "examples/bouncing_jelly", "gravel", None, "pan", quality=80),
        Clip(
            "knight_tissue",
            _showcase("single_knight__KnightCharacter"),
            "immunohistochemistry",
            None,
            "pan",
            size=_TALL,
            height=0.7,
            moves="HumanArmature|Walking",
        ),
        Clip("mech_retina", _showcase("mech__George"), "retina", moves="Dance", quality=70),
        Clip("lion_gravel", _pet("lion"), "gravel", None, "jitter", moves="walk", camouflage=0.4),
        Clip(
            "spider_camera",
            _showcase("easy_enemies__Spider"),
            "camera",
            _MEADOW,
            travel=0.3,
            height=0.7,
            quality=60,
            moves="SpiderArmature|Spider_Walk",
        ),
        Clip("expressive_moon", "animated/RobotExpressive.glb", "moon", shadow=True, size=_WIDE, moves="Wave"),
        Clip(
            "husky_gravel",
            _showcase("animals__Husky"),
            "gravel",
            None,
            "jitter",
            camouflage=0.5,
            yaw=60,
            moves="AnimalArmature|Walk",
        ),
        Clip(
            "astronaut_noise",
            _showcase("ultimate_space__Astronaut_FinnTheFrog"),
            "noise_two",
            None,
            "pan",
            moves="Wave",
        ),
        Clip("eagle_retina", _free("Eagle"), "retina", None, "zoom", moves="EagleArmature|Flying"),
        Clip(
            "zombie_tissue",
            _free("Zombie"),
            "immunohistochemistry",
            None,
            "pan",
            _WIDE,
            0.75,
            travel=0.2,
            quality=75,
            moves="Zombie|ZombieWalk",
        ),
        Clip(
            "banana_rocket",
            _free("Banana"),
            "rocket",
            _LAUNCH_SITE,
            height=0.7,
            shadow=True,
            quality=85,
            moves="Armature|Wave",
        ),
        Clip(
            "triceratops_moon",
            _showcase("dinosaurs__Triceratops"),
            "moon",
            None,
            "jitter",
            yaw=60,
            moves="Armature|Triceratops_Run",
        ),
        Clip(
            "dress_hubble",
            _free("Female_Dress"),
            "hubble_deep_field",
            size=_TALL,
            height=0.65,
            moves="HumanArmature|Female_Clapping",
        ),
    ],
    "held out",
)

TWO_OBJECTS = _group(
    [
        Clip(
            "cow_coffee",
            _showcase("animals__Cow"),
            "coffee",
            height=0.8,
            moves="AnimalArmature|Gallop",
        ),
        Clip(
            "suit_motorcycle",
            _free("Male_Suit"),
            "stereo_motorcycle",
            None,
            "pan",
            _WIDE,
            0.85,
            moves="HumanArmature|Man_Walk",
        ),
        Clip("rat_chelsea", _showcase("easy_enemies__Rat"), "chelsea", None, "jitter"),
        Clip("bat_rocket", _free("Bat"), "rocket", None, "zoom", _WIDE),
    ],
    "two objects",
)

CLIPS = TUNING + HELD_OUT + TWO_OBJECTS
