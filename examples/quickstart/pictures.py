"""Pictures with text whose right reading is known: those of `examples.vision.samples`, and one in a photograph.

The photograph is `china.jpg`, which scikit-learn ships: by Daniel Buechele, CC BY 2.0. The typeface is
Aileron, which Pillow ships.
"""

from __future__ import annotations

from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image

from examples.vision.samples import Picture, font, receipt, shop_sign


def street() -> Picture:
    """Hang a tilted board into a photograph of a palace."""
    lines = ("TEA HOUSE", "open 9 to 17")
    photograph = Image.fromarray(load_sample_image("china.jpg"))
    board = Image.new("RGBA", (250, 110), "#5b1f1a")
    draw = ImageDraw.Draw(board)
    draw.text((125, 12), lines[0], font=font(40), fill="#ffe9c9", anchor="ma")
    draw.text((125, 64), lines[1], font=font(28), fill="#ffe9c9", anchor="ma")
    tilted = board.rotate(-8, expand=True, resample=Image.Resampling.BICUBIC)
    photograph.paste(tilted, (40, 250), tilted)
    return Picture(name="photograph", image=photograph, lines=lines)


def pictures() -> tuple[Picture, ...]:
    """Return every picture of the demo."""
    return shop_sign(), receipt(), street()
