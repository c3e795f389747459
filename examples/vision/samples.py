"""Pictures whose right reading is known, drawn by Pillow in the typeface that it ships (Aileron)."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture and the lines that a reader finds in it, in reading order."""

    name: str
    image: Image.Image
    lines: tuple[str, ...]


def shop_sign() -> Picture:
    """Draw the sign of a bakery: large light letters on a dark ground."""
    lines = ("Harbour Bakery", "Fresh bread from 6:30", "Closed on Mondays")
    image = Image.new("RGB", (640, 288), "#17324d")
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((12, 12, 627, 275), radius=16, outline="#f2c14e", width=4)
    for text, top, size, color in zip(
        lines, (40, 132, 196), (64, 40, 34), ("#f2c14e", "white", "#c9d6df"), strict=True
    ):
        draw.text((320, top), text, font=font(size), fill=color, anchor="ma")
    return Picture(name="shop sign", image=image, lines=lines)


def receipt() -> Picture:
    """Draw a till's receipt: two columns of small print, slightly turned as paper on a counter is."""
    rows = (("Oat milk 1L", "2.49"), ("Rye bread", "3.95"), ("Apples 1.2 kg", "4.18"), ("TOTAL", "10.62"))
    image = Image.new("RGB", (480, 320), "white")
    draw = ImageDraw.Draw(image)
    for row, (item, price) in enumerate(rows):
        top = 36 + 66 * row
        draw.text((48, top), item, font=font(34), fill="#222222")
        draw.text((432, top), price, font=font(34), fill="#222222", anchor="ra")
    turned = image.rotate(3, expand=True, fillcolor="#8a7f72", resample=Image.Resampling.BICUBIC)
    return Picture(name="receipt", image=turned, lines=tuple(text for row in rows for text in row))


def handwritten_seven() -> Picture:
    """Draw a seven with a broad pen."""
    image = Image.new("RGB", (240, 240), "white")
    draw = ImageDraw.Draw(image)
    stroke = ((84, 62), (168, 56), (150, 100), (128, 150), (112, 200))
    draw.line(stroke, fill="#1d2a44", width=22, joint="curve")
    draw.line(((104, 128), (164, 122)), fill="#1d2a44", width=16)
    for x, y in (stroke[0], stroke[-1]):
        draw.ellipse((x - 11, y - 11, x + 11, y + 11), fill="#1d2a44")
    return Picture(name="handwritten seven", image=image, lines=("7",))


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the typeface in a size in pixels."""
    return ImageFont.load_default(size=size)
