"""Decode pictures that strangers send: of a few formats, and of a size that fits into memory."""

from __future__ import annotations

import io

from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


class NotAPicture(Exception):
    """The bytes are no picture of a known format, or a damaged one."""


class PictureTooLarge(Exception):
    """The picture has more pixels than are allowed."""


def open_picture(data: bytes, *, max_pixels: int) -> Image.Image:
    """Return the picture as RGB, upright, transparent parts white; the first frame of an animation.

    Raises NotAPicture or PictureTooLarge. The size is read before the pixels are, so that a small file that unfolds
    into a huge picture costs nothing.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            if opened.width * opened.height > max_pixels:
                raise PictureTooLarge(
                    f"The picture has {opened.width} x {opened.height} pixels; {max_pixels} are allowed."
                )
            upright = ImageOps.exif_transpose(opened)
            if upright.has_transparency_data:
                rgba = upright.convert("RGBA")
                return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
            return upright.convert("RGB")
    # Pillow itself refuses the largest pictures, before there is a size to look at.
    except Image.DecompressionBombError as error:
        raise PictureTooLarge(f"The picture has too many pixels; {max_pixels} are allowed.") from error
    # Damaged files come as any of these, depending on the format and the place of the damage.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError) as error:
        raise NotAPicture(f"Not a picture that can be read; formats: {', '.join(FORMATS)}.") from error
