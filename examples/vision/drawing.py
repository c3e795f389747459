"""Draw boxes onto a picture, and make it a JPEG."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from .text_detection import TextBox

_COLOR = "#00c2a8"
_CAPTION_COLOR = "#ffffff"


def draw_boxes(picture: Image.Image, boxes: Sequence[TextBox], *, captions: Sequence[str] = ()) -> Image.Image:
    """Return a copy of the picture with an outline around each box and, where there is one, its caption above it.

    Raises ValueError if there are captions, and not one for each box.
    """
    if captions and len(captions) != len(boxes):
        raise ValueError(f"{len(captions)} captions for {len(boxes)} boxes")
    drawn = picture.convert("RGB")
    if drawn is picture:
        drawn = picture.copy()
    draw = ImageDraw.Draw(drawn)
    width = max(2, round(max(picture.size) / 400))
    font = ImageFont.load_default(size=max(12, round(max(picture.size) / 50)))
    for number, box in enumerate(boxes):
        corners = [(float(x), float(y)) for x, y in box.corners]
        draw.line([*corners, corners[0]], fill=_COLOR, width=width, joint="curve")
        if captions:
            left, top = corners[0]
            where = draw.textbbox((left, max(top, float(width) * 8)), captions[number], font=font, anchor="ls")
            draw.rectangle(where, fill=_COLOR)
            draw.text((where[0], where[3]), captions[number], font=font, fill=_CAPTION_COLOR, anchor="lb")
    return drawn


def to_jpeg(picture: Image.Image, *, longest_side: int, quality: int = 80) -> bytes:
    """Return the picture as JPEG, made smaller (never larger) until no side has more pixels than `longest_side`."""
    smaller = picture.convert("RGB")
    if smaller is picture:
        smaller = picture.copy()
    smaller.thumbnail((longest_side, longest_side), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    smaller.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()
