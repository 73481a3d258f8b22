"""The base colour of glTF materials, of those too that have it elsewhere than in pbrMetallicRoughness.

Sources: Khronos, glTF 2.0 specification, section 3.9; KHR_materials_pbrSpecularGlossiness; KHR_texture_transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from v2m4.io._gltf_document import Document

SPECULAR_GLOSSINESS = "KHR_materials_pbrSpecularGlossiness"
BLACK = 0.01  # linear; a base colour factor below is black, and what an emissive material shows is its emission
REPEAT = 10497
WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class BaseColor:
    """What colours a surface.

    Attributes:
        factor: linear RGB.
        texture: index of the texture, None for the factor alone.
        channels: numbers of the texture coordinates to look for, the first present is taken.
        transform: of KHR_texture_transform.
        wrap: glTF's wrap modes for u and v.
    """

    factor: tuple[float, ...] = WHITE
    texture: int | None = None
    channels: tuple[int, ...] = (0,)
    transform: dict[str, Any] | None = None
    wrap: tuple[int, int] = (REPEAT, REPEAT)


def add_base_colors(json: dict[str, Any]) -> None:
    """Give specular-glossiness materials without a metallic-roughness base colour theirs, beside the extension.

    Viewers that know the extension show it as before; most know it no longer, and then show the base colour.
    """
    for material in json.get("materials") or []:
        specular = (material.get("extensions") or {}).get(SPECULAR_GLOSSINESS)
        if specular is None:
            continue
        base = material.get("pbrMetallicRoughness") or {}
        if "baseColorTexture" in base or ("baseColorFactor" in base and "diffuseTexture" not in specular):
            continue
        added: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0 - specular.get("glossinessFactor", 1.0)}
        if "diffuseTexture" in specular:
            added["baseColorTexture"] = specular["diffuseTexture"]
        if "diffuseFactor" in specular:
            added["baseColorFactor"] = specular["diffuseFactor"]
        material["pbrMetallicRoughness"] = base | added


def base_color(document: Document, material: dict[str, Any]) -> BaseColor:
    """The base colour of a material; the emission of one that is black otherwise."""
    base = material.get("pbrMetallicRoughness") or {}
    factor = tuple(float(value) for value in base.get("baseColorFactor", (*WHITE, 1.0))[:3])
    reference = base.get("baseColorTexture")
    emission = tuple(float(value) for value in material.get("emissiveFactor", (0.0, 0.0, 0.0)))
    if max(factor) < BLACK <= max(emission):
        strength = (material.get("extensions") or {}).get("KHR_materials_emissive_strength", {})
        factor = tuple(min(value * strength.get("emissiveStrength", 1.0), 1.0) for value in emission)
        reference = material.get("emissiveTexture")
    if reference is None:
        return BaseColor(factor)
    transform = (reference.get("extensions") or {}).get("KHR_texture_transform", {})
    channel = reference.get("texCoord", 0)
    texture = document.items("textures")[reference["index"]]
    sampler = document.items("samplers")[texture["sampler"]] if "sampler" in texture else {}
    wrap = (sampler.get("wrapS", REPEAT), sampler.get("wrapT", REPEAT))
    return BaseColor(factor, reference["index"], (transform.get("texCoord", channel), channel, 0), transform, wrap)


def picture_sources(texture: dict[str, Any]) -> list[int]:
    """The images of a texture that may be read, the preferred one first; those of KTX2 and DDS are left out."""
    extensions = texture.get("extensions") or {}
    sources = [extensions.get(name, {}).get("source") for name in ("EXT_texture_webp", "EXT_texture_avif")]
    return [source for source in (*sources, texture.get("source")) if source is not None]
