"""Pictures of every kind, as known RGB pixels, or refused in words."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captum_sing.classifiers import load_image
from captum_sing.errors import SINGFileError

SAMPLES = Path(__file__).parents[1] / "../shared/data/authors/samples"


def test_a_picture_stands_upright(tmp_path):
    image = Image.new("RGB", (32, 16), "red")
    image.paste("blue", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    image.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    upright = load_image(tmp_path / "a.jpg")
    assert upright.size == (16, 32)
    assert np.argmax(upright.getpixel((8, 4))) == 2  # left became top
    assert np.argmax(upright.getpixel((8, 28))) == 0


def half_transparent(mode):
    """The upper half blue, the lower half a transparent red or black."""
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 8, 4))
    if mode != "P":
        return image.convert(mode)
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 255, 255, 0, 0])
    image.paste(0, (0, 0, 8, 4))
    return image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode, tmp_path):
    image = half_transparent(mode)
    image.save(tmp_path / "a.png", **({"transparency": 1} if mode == "P" else {}))
    found = load_image(tmp_path / "a.png")
    assert found.mode == "RGB"
    assert found.getpixel((4, 7)) == (255, 255, 255)
    assert found.getpixel((4, 0)) == ((29, 29, 29) if mode == "LA" else (0, 0, 255))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled(suffix, tmp_path):
    gray = np.array([[0, 1000, 64507, 65535]], dtype=np.uint16).repeat(2, 0)
    Image.fromarray(gray).save(tmp_path / f"a.{suffix}")
    found = load_image(tmp_path / f"a.{suffix}")
    assert [found.getpixel((x, 0)) for x in range(4)] == [(v, v, v) for v in (0, 4, 251, 255)]


def png_of_16_bits(path, pixels, color_type):
    """Written by hand, since Pillow writes gray alone: (H, W, channels) of 16 bits each."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with path.open("ab") as file:
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
            file.write(struct.pack(">I", len(data)) + kind + data)
            file.write(struct.pack(">I", zlib.crc32(kind + data)))


@pytest.mark.parametrize(
    ("color_type", "pixel", "expected"),
    [
        (2, (0, 1000, 65535), (0, 4, 255)),
        (6, (0, 1000, 65535, 65535), (0, 4, 255)),
        (6, (0, 1000, 65535, 0), (255, 255, 255)),
        (6, (0, 0, 65535, 32768), (127, 127, 255)),
        (4, (64507, 65535), (251, 251, 251)),
        (4, (1000, 0), (255, 255, 255)),
    ],
)
def test_colors_of_sixteen_bits_are_scaled_too(color_type, pixel, expected, tmp_path):
    pixels = np.array(pixel, dtype=np.uint16)[None, None].repeat(2, 0).repeat(3, 1)
    png_of_16_bits(tmp_path / "a.png", pixels, color_type)
    found = load_image(tmp_path / "a.png")
    assert (found.mode, found.size) == ("RGB", (3, 2))
    assert np.abs(np.subtract(found.getpixel((2, 1)), expected)).max() <= 1


def test_sixteen_bits_with_a_transparent_gray(tmp_path):
    gray = np.array([[0, 1000, 65535]], dtype=np.uint16)
    Image.fromarray(gray).save(tmp_path / "a.png", transparency=1000)
    found = load_image(tmp_path / "a.png")
    assert [found.getpixel((x, 0))[0] for x in range(3)] == [0, 255, 255]


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_ink_is_not_inverted(suffix, tmp_path):
    """Cyan with a quarter of black; a JPEG stores it inverted, as Adobe does."""
    Image.new("CMYK", (8, 8), (255, 0, 0, 64)).save(tmp_path / f"a.{suffix}")
    pixel = load_image(tmp_path / f"a.{suffix}").getpixel((3, 3))
    assert np.abs(np.subtract(pixel, (0, 191, 191))).max() <= 2


@pytest.mark.parametrize(
    ("mode", "color", "suffix", "expected"),
    [
        ("RGB", (10, 20, 30), "png", (10, 20, 30)),
        ("L", 77, "png", (77, 77, 77)),
        ("1", 1, "png", (255, 255, 255)),
        ("CMYK", (255, 0, 0, 0), "jpg", (0, 255, 255)),
        ("P", 0, "gif", (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(mode, color, suffix, expected, tmp_path):
    Image.new(mode, (8, 8), color).save(tmp_path / f"a.{suffix}")
    found = load_image(tmp_path / f"a.{suffix}")
    assert found.mode == "RGB"
    assert np.abs(np.subtract(found.getpixel((3, 3)), expected)).max() <= 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", r"a\.png \(no such file\)"),
        ("truncated", r"a\.png \(.*truncated"),
        ("truncated JPEG", r"a\.png \(.*[Tt]runcated"),
        ("text", r"a\.png \(cannot identify"),
        ("folder", r"a\.png \(.*directory"),
        ("float", r"a\.png \(floating-point numbers of unknown range\)"),
        ("integers", r"a\.png \(integers of unknown range\)"),
    ],
)
def test_what_is_no_whole_picture(damage, message, tmp_path):
    path = tmp_path / "a.png"
    if damage == "folder":
        path.mkdir()
    elif damage == "text":
        path.write_text("picture")
    elif damage == "float":
        Image.new("F", (8, 8)).save(path, format="TIFF")
    elif damage == "integers":
        Image.fromarray(np.full((8, 8), 1 << 20, dtype=np.int32)).save(path, format="TIFF")
    elif damage.startswith("truncated"):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, format="JPEG" if "JPEG" in damage else "PNG")
        path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(
        SINGFileError, match="expected path to be a whole picture, got .*" + message
    ):
        load_image(path)


def test_photographs():
    if not SAMPLES.is_dir():
        pytest.skip("../shared/data/authors is not there")
    photographs = [load_image(path) for path in sorted(SAMPLES.glob("*.jpeg"))]
    assert len(photographs) == 4
    assert {image.mode for image in photographs} == {"RGB"}
