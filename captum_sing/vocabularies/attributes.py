"""Attributes of pictures: vocabulary -> its groups, each with the templates of its grammar.

Words of most groups are alternatives: of a picture, or of one thing in it, one of them is true. In
the others several may be (parts, people, conditions, overlays, ...), and a group only says what a
word is contrasted with: its evidence is for it *rather than* for the rest of the group. Which is
which stands in :attr:`Group.alternatives`.

No word is in two groups, nor among ImageNet's classes.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ATTRIBUTES", "Group"]


class Group(NamedTuple):
    """Words to be told apart, and the sentences that name one of them and nothing else.

    Attributes:
        name (str): of the group.
        words (tuple of str): two or more.
        templates (tuple of str): sentences with ``{}``.
        alternatives (bool): whether one word at most is true of a thing; else several may be.
    """

    name: str
    words: tuple[str, ...]
    templates: tuple[str, ...]
    alternatives: bool


def _group(name: str, words: str, *templates: str, alternatives: bool = True) -> Group:
    return Group(name, tuple(word.strip() for word in words.split(",")), templates, alternatives)


ATTRIBUTES: dict[str, tuple[Group, ...]] = {
    "colors": (
        _group(
            "color",
            "red, orange, yellow, green, turquoise, blue, purple, pink, brown, beige, black, gray, "
            "white, golden, silvery",
            "something {}", "a photo of a {} object", "the color is {}",
        ),
        _group(
            "color scheme",
            "vivid, pastel, muted, monochrome, earthy",
            "a {} color palette", "a picture in {} colors", "a photo with {} tones",
        ),
    ),
    "textures": (
        _group(
            "texture",
            "smooth, rough, bumpy, furry, feathery, scaly, wrinkled, spiky, slimy, grainy, "
            "fibrous, porous, cracked, leathery, velvety, crumbly",
            "a {} texture", "a photo of a {} surface", "it feels {}",
            alternatives=False,
        ),
        _group(
            "finish",
            "shiny, matte, transparent, translucent, glittering, iridescent",
            "a {} finish", "a photo of a {} object", "it looks {}",
        ),
    ),
    "patterns": (
        _group(
            "pattern",
            "striped, spotted, checkered, plain, zigzag, floral, marbled, honeycombed, swirly, "
            "paisley, camouflage",
            "a {} pattern", "something with a {} pattern", "a photo of a {} pattern",
        ),
    ),
    "materials": (
        _group(
            "material",
            "wood, metal, glass, plastic, stone, brick, concrete, paper, cardboard, cotton, "
            "fleece, silk, leather, rubber, ceramic, wax, bamboo, straw, bone, clay, wicker",
            "made of {}", "a photo of something made of {}", "the material is {}",
        ),
    ),
    "shapes": (
        _group(
            "shape",
            "round, square, triangular, rectangular, oval, cylindrical, conical, star-shaped, "
            "heart-shaped, spiral, ring-shaped, crescent-shaped, irregular",
            "a {} object", "a photo of a {} object", "it is {}",
        ),
        _group(
            "size",
            "tiny, small, medium-sized, large, huge",
            "a {} object", "a photo of a {} thing", "something {}",
        ),
        _group(
            "build",
            "slender, stocky, muscular, plump",
            "a {} figure", "a photo of a {} body", "it has a {} build",
        ),
    ),
    "parts": (
        _group(
            "part of an animal",
            "head, face, ears, eyes, snout, beak, mouth, teeth, whiskers, horns, mane, neck, "
            "wings, feathers, fins, shell, claws, paws, legs, tail, tentacles, antlers",
            "a close-up of the {}", "a photo that shows the {}", "the {}",
            alternatives=False,
        ),
        _group(
            "part of a thing",
            "wheels, windows, doors, handle, buttons, screen, lid, spout, blade, rope, strap, "
            "pages, strings, pedals, headlights, roof, chimney, sails, mast, propeller, keys, "
            "drawers, label, zipper, laces, leaves, petals, branches, roots, stem",
            "a close-up of the {}", "a photo that shows the {}", "the {}",
            alternatives=False,
        ),
    ),
    "conditions": (
        _group(
            "age of a being",
            "newborn, young, adult, elderly",
            "a {} animal", "a photo of a {} animal", "a picture that shows a {} animal",
        ),
        _group(
            "age of a thing",
            "brand-new, secondhand, antique",
            "something {}", "a photo of a {} object", "it is {}",
        ),
        _group(
            "condition",
            "clean, dirty, rusty, broken, torn, wet, burnt, frozen, rotten, ripe, peeling, mossy",
            "something {}", "a photo of something {}", "it is {}",
            alternatives=False,
        ),
    ),
    "actions": (
        _group(
            "pose",
            "standing, sitting, lying down, crouching, hanging",
            "it is {}", "a photo of an animal that is {}", "{}",
        ),
        _group(
            "activity",
            "sleeping, walking, running, jumping, flying, swimming, climbing, crawling, eating, "
            "drinking, fighting, barking, grooming itself",
            "it is {}", "a photo of an animal that is {}", "{}",
        ),
        _group(
            "gaze",
            "looking at the camera, looking to the side, looking up, looking down",
            "it is {}", "a photo of an animal that is {}", "{}",
        ),
    ),
    "quantities": (
        _group(
            "quantity",
            "a single thing, two things, three things, four things, many things",
            "{}", "a photo of {}", "a picture that shows {}",
        ),
        _group(
            "arrangement",
            "in a row, in a pile, in a circle, in a grid, scattered about",
            "things {}", "a photo of things {}", "objects {}",
        ),
    ),
    "people": (
        _group(
            "people",
            "a man, a woman, a child, a baby, a couple, a family, a crowd, a worker, an athlete, "
            "a hand, an empty place without people",
            "{}", "a photo of {}", "a photo that shows {}",
            alternatives=False,
        ),
    ),
    "scenes": (
        _group(
            "scene",
            "sandy beach, rocky shore, forest, desert, meadow, mountain landscape, hilly "
            "landscape, river, pond, lake, ocean, swamp, garden, park, highway, city, village, "
            "farm, harbor, railway station, airport, stadium, playground, market, parking lot, "
            "construction site, living room, kitchen, bedroom, bathroom, office, classroom, "
            "hallway, staircase, garage, workshop, laboratory, hospital, museum, theater, shop, "
            "bar, gym, factory, warehouse, zoo, aquarium, cave",
            "a photo of a {}", "the background is a {}", "a {} in the background",
        ),
    ),
    "surroundings": (
        _group(
            "surroundings",
            "on grass, in water, on sand, on snow, on rocks, on a tree, among leaves, among "
            "flowers, on a floor, on a table, on a plate, on a shelf, on a sofa, on a bed, in a "
            "bowl, in a cage, behind a fence, in a hand, on a road, in mud, on ice, in a box",
            "{}", "a photo of something {}", "an object {}",
        ),
        _group(
            "backdrop",
            "against a wall, against the sky, against a white background, against a black "
            "background, against a blurred background",
            "{}", "a photo of something {}", "an object {}",
        ),
    ),
    "weather": (
        _group(
            "weather",
            "sunny, cloudy, rainy, stormy, snowy, foggy",
            "{} weather", "a photo taken in {} weather", "a {} day",
        ),
    ),
    "seasons": (
        _group(
            "season",
            "spring, summer, autumn, winter",
            "in {}", "a photo taken in {}", "a {} day",
        ),
    ),
    "lighting": (
        _group(
            "light",
            "bright sunlight, soft daylight, dappled shade, candlelight, moonlight, neon light, "
            "fluorescent light, studio light, stage light",
            "{}", "a photo taken in {}", "a scene in {}",
        ),
        _group(
            "time of day",
            "at dawn, in the morning, at noon, in the afternoon, at dusk, at night",
            "{}", "a photo taken {}", "a scene {}",
        ),
    ),
    "viewpoints": (
        _group(
            "viewpoint",
            "from the front, from the side, from behind, from above, from below",
            "seen {}", "a photo taken {}", "a view {}",
        ),
        _group(
            "distance",
            "close-up, medium shot, full-body shot, wide shot, microscope image, satellite image",
            "a {}", "this is a {}", "the picture is a {}",
        ),
    ),
    "compositions": (
        _group(
            "composition",
            "centered, off-center, symmetrical, diagonal, cropped, cluttered, minimalist, tilted, "
            "layered, repetitive",
            "a {} composition", "a photo with a {} composition", "the picture is {}",
            alternatives=False,
        ),
    ),
    "photography": (
        _group(
            "focus",
            "sharp, out-of-focus, motion-blurred",
            "a {} photo", "a {} picture of something", "the photo is {}",
        ),
        _group(
            "exposure",
            "overexposed, underexposed, well-exposed",
            "a {} photo", "a {} picture of something", "the photo is {}",
        ),
        _group(
            "contrast",
            "high-contrast, low-contrast",
            "a {} photo", "a {} picture of something", "the photo is {}",
        ),
        _group(
            "resolution",
            "high-resolution, low-resolution",
            "a {} photo", "a {} picture of something", "the photo is {}",
        ),
        _group(
            "flaw",
            "noisy, scratched, pixelated, compressed",
            "a {} photo", "a {} picture of something", "the photo is {}",
            alternatives=False,
        ),
        _group(
            "skill",
            "professional, amateur",
            "a {} photo", "a {} picture of something", "the photo looks {}",
        ),
        _group(
            "process",
            "full-color, black-and-white, sepia, infrared, x-ray, thermal",
            "a {} photo", "a {} image", "this is a {} picture",
        ),
        _group(
            "genre",
            "portrait, wildlife, product, fashion, food, sports, architectural, landscape, "
            "still-life, street",
            "a {} photo", "{} photography", "an example of {} photography",
        ),
        _group(
            "device",
            "smartphone, surveillance camera, drone, webcam, instant camera, action camera",
            "a photo taken with a {}", "a picture from a {}", "recorded by a {}",
        ),
        _group(
            "lens",
            "fisheye, macro, telephoto, wide-angle",
            "a photo taken with a {} lens", "a picture through a {} lens", "a {} view",
        ),
    ),
    "media": (
        _group(
            "medium",
            "photograph, pencil drawing, ink sketch, charcoal drawing, oil painting, watercolor, "
            "cartoon, computer rendering, sculpture, plush toy, origami model, embroidery, tattoo, "
            "graffiti mural, mosaic, stained-glass window, engraving, collage, diagram, icon, map, "
            "scan of a page, screenshot",
            "a {}", "this is a {}", "it looks like a {}",
        ),
    ),
    "overlays": (
        _group(
            "overlay",
            "a watermark, a caption, a logo, a date stamp, a black border, handwriting, a web "
            "address, an arrow, a red circle, subtitles",
            "a photo with {}", "{} on a picture", "an image that has {}",
            alternatives=False,
        ),
    ),
    "moods": (
        _group(
            "mood",
            "calm, dramatic, cheerful, gloomy, mysterious, cozy, lonely, romantic, frightening, "
            "solemn, chaotic",
            "a {} mood", "a {} picture", "the atmosphere is {}",
            alternatives=False,
        ),
    ),
}  # fmt: skip
"""Vocabulary -> its groups."""
