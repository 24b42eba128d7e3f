"""The pixel work of `thumbnail`: opens a picture safely, shrinks it, and writes it in a format for the web.

Pictures come from strangers. So only common formats are opened (not PostScript, which would start a program), and a
picture with more pixels than allowed is not unpacked. It knows nothing about jobs, paths or settings.
"""

import io
import struct
import warnings
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

# Loads Pillow's formats now, once for all the workers that are forked from here.
Image.init()

INPUT_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")
OUTPUT_FORMATS = ("JPEG", "PNG", "WEBP")
# The formats that can be unpacked at a smaller size. (Phones write several JPEGs into one file: Pillow calls that MPO.)
PACKED_FORMATS = ("JPEG", "MPO")
ORIENTATION_TAG = 0x0112
# The orientations in which the picture lies on its side (EXIF 2.3, tag 0x0112).
SIDEWAYS = {5, 6, 7, 8}
# The errors of Pillow's decoders for broken files, besides their own UnidentifiedImageError (an OSError).
BROKEN_FILE = (OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError, OverflowError, struct.error)


class PictureError(Exception):
    """The thumbnail could not be made; the text gives the reason."""


def shrink(source: BinaryIO, box: tuple[int, int], max_pixels: int) -> tuple[Image.Image, str]:
    """The picture, upright and no larger than the box, and its original format. It is never enlarged."""
    # Pillow only warns about pictures up to twice this size.
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=INPUT_FORMATS) as image:
                return upright_thumbnail(image, box), str(image.format)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise PictureError(f"the picture has more than the {max_pixels} pixels that max_pixels allows") from error
    except UnidentifiedImageError as error:
        raise PictureError(f"this is no picture in one of the formats {', '.join(INPUT_FORMATS)}") from error
    except BROKEN_FILE as error:
        raise PictureError(f"the picture is damaged: {error}") from error


def upright_thumbnail(image: Image.Image, box: tuple[int, int]) -> Image.Image:
    """Shrink the picture, then turn it: turning forty million pixels first would cost many times as much."""
    width, height = box
    if image.format not in PACKED_FORMATS:
        # It must be here and not later, because Pillow turns a TIFF while loading it.
        image.load()
    sideways = image.getexif().get(ORIENTATION_TAG) in SIDEWAYS
    # A JPEG is still packed here: thumbnail() unpacks it at a half, a quarter or an eighth of its size.
    small = with_plain_colours(image)
    small.thumbnail((height, width) if sideways else (width, height))
    return ImageOps.exif_transpose(small)


def with_plain_colours(image: Image.Image) -> Image.Image:
    """Convert to RGB or grey: palettes, single bits and 16-bit greys can't be averaged into smaller pictures."""
    if image.has_transparency_data and image.mode != "RGBA":
        return image.convert("RGBA")
    if image.mode.startswith("I"):
        # Converting directly to "L" would cut off every value above 255 instead of scaling it.
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return image if image.mode in ("RGB", "RGBA", "L", "CMYK") else image.convert("RGB")


def encode(image: Image.Image, output_format: str, quality: int) -> bytes:
    """The picture as a file. It holds only pixels and their colour profile: no place, no camera, no name."""
    image = image.convert("RGB") if image.mode == "CMYK" else image
    # Bytes 16 to 19 of the profile name the colours that it describes; the picture may have others by now.
    profile = image.info.get("icc_profile") or b""
    fits = profile[16:20] == (b"GRAY" if image.mode == "L" else b"RGB ")
    if output_format == "JPEG" and image.mode == "RGBA":
        image = on_white(image)
    image.info.clear()
    result = io.BytesIO()
    options = {"optimize": True} if output_format == "PNG" else {"quality": quality}
    image.save(result, output_format, icc_profile=profile if fits else None, **options)
    return result.getvalue()


def on_white(image: Image.Image) -> Image.Image:
    """The picture on white: JPEG has no transparency, and transparent parts would become black."""
    background = Image.new("RGB", image.size, "white")
    background.paste(image, mask=image.getchannel("A"))
    return background
