"""One small rendered world of things on a plain; tasks are made from it, each by a module of its own.

A scene says what is there (`Scene`, `Thing`, `Camera`, `Light`), `draw_scene` draws one from a seed and a
number, `render` shows it to sensors (photograph, depth, normals, edges, thermal, events, lidar, instances,
labels), and `RELATIONS` is what words can say of it.
"""

from fuseloom.data.scenes.draw import SPLITS, Look, draw_look, draw_scene, generator_of, is_held_out, scene_of
from fuseloom.data.scenes.kinds import FAMILIES, KINDS, family_of
from fuseloom.data.scenes.render import LABELS, Rendering, render
from fuseloom.data.scenes.words import RELATIONS, holds, name_of, relations_of, sentence_of
from fuseloom.data.scenes.world import COLOURS, MATERIALS, PATTERNS, SIZES, Camera, Light, Scene, Thing

__all__ = [
    "COLOURS",
    "FAMILIES",
    "KINDS",
    "LABELS",
    "MATERIALS",
    "PATTERNS",
    "RELATIONS",
    "SIZES",
    "SPLITS",
    "Camera",
    "Light",
    "Look",
    "Rendering",
    "Scene",
    "Thing",
    "draw_look",
    "draw_scene",
    "family_of",
    "generator_of",
    "holds",
    "is_held_out",
    "name_of",
    "relations_of",
    "render",
    "scene_of",
    "sentence_of",
]
