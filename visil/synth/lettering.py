"""Text as pixels, from a built-in 5x7 font: captions, logos, pages of text."""

from __future__ import annotations

import numpy as np

# Five columns a glyph, lowest bit on top: the usual 5x7 display font.
_COLUMNS = {
    "0": "3E5149453E", "1": "00427F4000", "2": "4261514946", "3": "2141454B31", "4": "1814127F10",
    "5": "2745454539", "6": "3C4A494930", "7": "0171090503", "8": "3649494936", "9": "064949291E",
    "A": "7E1111117E", "B": "7F49494936", "C": "3E41414122", "D": "7F4141221C", "E": "7F49494941",
    "F": "7F09090901", "G": "3E4149497A", "H": "7F0808087F", "I": "00417F4100", "J": "2040413F01",
    "K": "7F08142241", "L": "7F40404040", "M": "7F020C027F", "N": "7F0408107F", "O": "3E4141413E",
    "P": "7F09090906", "Q": "3E4151215E", "R": "7F09192946", "S": "4649494931", "T": "01017F0101",
    "U": "3F4040403F", "V": "1F2040201F", "W": "3F4038403F", "X": "6314081463", "Y": "0708700807",
    "Z": "6151494543", " ": "0000000000",
}  # fmt: skip
GLYPH_ROWS, GLYPH_COLUMNS = 7, 6  # with a blank column after each glyph

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def lettering(text: str, height_px: int) -> np.ndarray:
    """Which pixels a line of A-Z, 0-9 and blanks covers: bool [H, W], H a multiple of 7 near `height_px`."""
    columns = [int(_COLUMNS[letter][i : i + 2], 16) for letter in text for i in range(0, 10, 2)]
    bits = np.array(columns)[None] >> np.arange(GLYPH_ROWS)[:, None] & 1  # [7, 5 * letters]
    spaced = np.insert(bits, np.arange(5, bits.shape[1] + 1, 5), 0, axis=1)
    pixel = max(1, round(height_px / GLYPH_ROWS))
    return spaced.astype(bool).repeat(pixel, axis=0).repeat(pixel, axis=1)


def random_words(rng: np.random.Generator, num_letters: int) -> str:
    """A line of made-up words with at least `num_letters` letters."""
    words: list[str] = []
    while sum(map(len, words)) < num_letters:
        words.append("".join(rng.choice(LETTERS, rng.integers(2, 8))))
    return " ".join(words)
