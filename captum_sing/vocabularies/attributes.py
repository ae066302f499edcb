"""Attributes of pictures: vocabulary -> its groups, each with the templates of its grammar.

No word is in two groups, nor among ImageNet's classes.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ATTRIBUTES", "Group"]


class Group(NamedTuple):
    """Words that exclude each other, and the sentences that name one of them and nothing else."""

    name: str
    words: tuple[str, ...]
    templates: tuple[str, ...]


def _group(name: str, words: str, *templates: str) -> Group:
    return Group(name, tuple(word.strip() for word in words.split(",")), templates)


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
            "colorful, pale, dull, monochrome, brightly colored, earthy, pastel, neon",
            "a picture in {} colors", "the colors are {}", "a photo with {} tones",
        ),
    ),
    "textures": (
        _group(
            "texture",
            "smooth, rough, bumpy, furry, fluffy, feathery, scaly, wrinkled, spiky, slimy, "
            "grainy, fibrous, porous, cracked, woolly, leathery, velvety, crumbly",
            "a {} texture", "a photo of a {} surface", "it feels {}",
        ),
        _group(
            "finish",
            "shiny, matte, transparent, translucent, glittering, mirror-like, faded, iridescent",
            "a {} finish", "a photo of a {} object", "it looks {}",
        ),
    ),
    "patterns": (
        _group(
            "pattern",
            "striped, spotted, checkered, dotted, plain, zigzag, floral, marbled, woven, "
            "honeycombed, swirly, grid-like, paisley, camouflage, speckled, banded, tiled, mottled",
            "a {} pattern", "something with a {} pattern", "a photo of a {} pattern",
        ),
    ),
    "materials": (
        _group(
            "material",
            "wood, metal, glass, plastic, stone, brick, concrete, paper, cardboard, cotton, "
            "leather, rubber, ceramic, wax, bamboo, straw, bone, clay, silk, marble, wicker, steel",
            "made of {}", "a photo of something made of {}", "the material is {}",
        ),
    ),
    "shapes": (
        _group(
            "shape",
            "round, square, triangular, rectangular, oval, cylindrical, cone-shaped, star-shaped, "
            "heart-shaped, spiral, ring-shaped, crescent-shaped, elongated, irregular, flat",
            "a {} shape", "a photo of a {} object", "it is {}",
        ),
        _group(
            "size",
            "tiny, small, medium-sized, large, huge",
            "a {} object", "a photo of a {} thing", "something {}",
        ),
        _group(
            "build",
            "slender, bulky, short and stout, tall, hunched, muscular, delicate",
            "a {} figure", "a photo of a {} body", "it has a {} build",
        ),
    ),
    "parts": (
        _group(
            "part of an animal",
            "head, face, ears, eyes, snout, beak, mouth, teeth, whiskers, horns, mane, neck, "
            "wings, feathers, fins, shell, claws, paws, legs, tail, tentacles, antlers",
            "a close-up of the {}", "a photo that shows the {}", "the {}",
        ),
        _group(
            "part of a thing",
            "wheels, windows, doors, handle, buttons, screen, lid, spout, blade, rope, strap, "
            "pages, strings, pedals, headlights, roof, chimney, sails, mast, propeller, keys, "
            "drawers, label, zipper, laces, leaves, petals, branches, roots, stem",
            "a close-up of the {}", "a photo that shows the {}", "the {}",
        ),
    ),
    "conditions": (
        _group(
            "age",
            "brand-new, used, old, antique, newborn, young, adult, elderly",
            "something {}", "a photo of a {} one", "it is {}",
        ),
        _group(
            "condition",
            "clean, dirty, dusty, rusty, broken, torn, wet, dry, burnt, frozen, rotten, ripe, "
            "peeling, polished, muddy, mossy",
            "something {}", "a photo of something {}", "it is {}",
        ),
    ),
    "actions": (
        _group(
            "action",
            "standing, sitting, lying down, sleeping, walking, running, jumping, flying, swimming, "
            "climbing, eating, drinking, playing, fighting, hunting, resting, looking at the "
            "camera, looking away, crawling, diving, hanging, barking, grooming",
            "it is {}", "a photo of an animal that is {}", "{}",
        ),
    ),
    "quantities": (
        _group(
            "quantity",
            "a single one, a pair, three of them, four of them, a handful, a row, a pile, a herd, "
            "a swarm, a heap, a stack",
            "{}", "a photo of {}", "a picture that shows {}",
        ),
    ),
    "people": (
        _group(
            "people",
            "a man, a woman, a child, a baby, a couple, a family, a crowd, a worker, an athlete, "
            "a hand, an empty place without people",
            "{}", "a photo of {}", "a photo that shows {}",
        ),
    ),
    "scenes": (
        _group(
            "scene",
            "sandy beach, rocky shore, forest, jungle, desert, meadow, field, mountain landscape, "
            "hilly landscape, river, pond, lake, ocean, swamp, garden, park, street, highway, "
            "city, village, farm, harbor, railway station, airport, stadium, playground, market, "
            "parking lot, backyard, construction site, living room, kitchen, bedroom, bathroom, "
            "office, classroom, hallway, staircase, garage, workshop, laboratory, hospital, "
            "museum, theater, shop, bar, gym, factory, warehouse, stable, zoo, aquarium, cave",
            "a photo taken in a {}", "the background is a {}", "a {} scene",
        ),
    ),
    "surroundings": (
        _group(
            "surroundings",
            "on grass, in water, on sand, on snow, on rocks, on a tree, among leaves, among "
            "flowers, on the ground, on a floor, on a carpet, on a table, on a plate, on a shelf, "
            "on a sofa, on a bed, in a bowl, in a cage, behind a fence, in a tank, in a hand, "
            "on a road, against a wall, against the sky, against a white background, against a "
            "black background, against a blurred background, in mud, on ice, in a box",
            "{}", "a photo of something {}", "an object {}",
        ),
    ),
    "weather": (
        _group(
            "weather",
            "sunny, cloudy, overcast, rainy, stormy, snowy, foggy, hazy, windy, clear",
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
            "bright sunlight, soft daylight, dim light, candlelight, moonlight, neon light, "
            "fluorescent light, studio light, flash light, backlight, spotlight from above, "
            "firelight, dappled light, hard shadows, colored light",
            "{}", "a photo taken in {}", "a scene in {}",
        ),
        _group(
            "time of day",
            "dawn, morning, noon, afternoon, sunset, dusk, night",
            "at {}", "a photo taken at {}", "the time is {}",
        ),
    ),
    "viewpoints": (
        _group(
            "viewpoint",
            "from the front, from the side, from behind, from above, from below, from the air, "
            "at eye level, upside down, from the inside, through a window",
            "seen {}", "a photo taken {}", "a view {}",
        ),
        _group(
            "distance",
            "extreme close-up, close-up, medium shot, full-body shot, wide shot, distant shot, "
            "microscope image, satellite image",
            "a {}", "a photo taken as a {}", "the picture is a {}",
        ),
    ),
    "compositions": (
        _group(
            "composition",
            "centered, off-center, symmetrical, diagonal, cropped, framed, cluttered, minimalist, "
            "crowded, tilted, layered, repeating, mostly empty",
            "a {} composition", "a photo with a {} composition", "the picture is {}",
        ),
    ),
    "photography": (
        _group(
            "focus",
            "sharp, blurry, motion-blurred, out-of-focus, soft-focus, shallow-focus, deep-focus",
            "a {} photo", "a {} picture of something", "the photo is {}",
        ),
        _group(
            "exposure",
            "overexposed, underexposed, high-contrast, low-contrast, high-key, low-key, "
            "evenly exposed",
            "a {} photo", "a {} picture of something", "the photo is {}",
        ),
        _group(
            "quality",
            "high-resolution, low-resolution, pixelated, noisy, compressed, professional, amateur, "
            "scratched film",
            "a {} photo", "a {} picture of something", "the photo is {}",
        ),
        _group(
            "photographic style",
            "black-and-white, sepia, vintage, polaroid, panoramic, fisheye, macro, long-exposure, "
            "infrared, x-ray, thermal, portrait, candid, documentary, wildlife, product, "
            "advertising, fashion, food, sports, architectural, landscape, still-life, aerial, "
            "surveillance-camera, smartphone",
            "a {} photo", "{} photography", "a photo in the {} style",
        ),
    ),
    "media": (
        _group(
            "medium",
            "photograph, pencil drawing, ink sketch, charcoal drawing, oil painting, watercolor, "
            "cartoon, comic strip, anime image, computer rendering, video game screenshot, "
            "film still, sculpture, statue, figurine, plush toy, origami model, embroidery, "
            "tattoo, graffiti, mosaic, stained-glass image, engraving, woodcut, collage, poster, "
            "diagram, icon, map, scan of a page, screenshot, museum exhibit",
            "a {}", "this is a {}", "a {} of something",
        ),
    ),
    "overlays": (
        _group(
            "overlay",
            "a watermark, a caption, a logo, a date stamp, a frame around it, a black border, "
            "handwriting, a web address, an arrow, a red circle drawn on it, a price tag, "
            "subtitles, a lens flare, a reflection, a fingerprint",
            "a photo with {}", "{} on a picture", "an image that has {}",
        ),
    ),
    "moods": (
        _group(
            "mood",
            "calm, dramatic, cheerful, gloomy, mysterious, cozy, lonely, playful, romantic, "
            "frightening, solemn, chaotic",
            "a {} mood", "a {} picture", "the atmosphere is {}",
        ),
    ),
}  # fmt: skip
"""Vocabulary -> its groups."""
