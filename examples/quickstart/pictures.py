"""Pictures with text whose right reading is known: drawn by Pillow, one of them in a photograph.

The photograph is `china.jpg`, which scikit-learn ships: by Daniel Buechele, CC BY 2.0. The typeface is
Aileron, which Pillow ships.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image


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
        draw.text((320, top), text, font=_font(size), fill=color, anchor="ma")
    return Picture(name="shop sign", image=image, lines=lines)


def receipt() -> Picture:
    """Draw a till's receipt: two columns of small print, slightly turned as paper on a counter is."""
    rows = (("Oat milk 1L", "2.49"), ("Rye bread", "3.95"), ("Apples 1.2 kg", "4.18"), ("TOTAL", "10.62"))
    image = Image.new("RGB", (480, 320), "white")
    draw = ImageDraw.Draw(image)
    for row, (item, price) in enumerate(rows):
        top = 36 + 66 * row
        draw.text((48, top), item, font=_font(34), fill="#222222")
        draw.text((432, top), price, font=_font(34), fill="#222222", anchor="ra")
    turned = image.rotate(3, expand=True, fillcolor="#8a7f72", resample=Image.Resampling.BICUBIC)
    return Picture(name="receipt", image=turned, lines=tuple(text for row in rows for text in row))


def street() -> Picture:
    """Hang a tilted board into a photograph of a palace."""
    lines = ("TEA HOUSE", "open 9 to 17")
    photograph = Image.fromarray(load_sample_image("china.jpg"))
    board = Image.new("RGBA", (250, 110), "#5b1f1a")
    draw = ImageDraw.Draw(board)
    draw.text((125, 12), lines[0], font=_font(40), fill="#ffe9c9", anchor="ma")
    draw.text((125, 64), lines[1], font=_font(28), fill="#ffe9c9", anchor="ma")
    tilted = board.rotate(-8, expand=True, resample=Image.Resampling.BICUBIC)
    photograph.paste(tilted, (40, 250), tilted)
    return Picture(name="photograph", image=photograph, lines=lines)


def pictures() -> tuple[Picture, ...]:
    """Return every picture of the demo."""
    return shop_sign(), receipt(), street()


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
