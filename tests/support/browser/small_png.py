"""Pictures of pages as PNGs with a palette: a third of the size, and nobody sees the difference."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable

from playwright.sync_api import Page

# Chromium reads the picture and counts its colours. Of those that can be told apart the 256 most
# frequent are kept, so that a small dot stays green; each other one takes the nearest.
_INDEXED = """async (content) => {
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes]));
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, image.width, image.height).data;
  const pixels = new Uint32Array(data.length / 4), counts = new Map();
  for (let at = 0; at < pixels.length; at++) {
    const color = data[4 * at] << 16 | data[4 * at + 1] << 8 | data[4 * at + 2];
    pixels[at] = color;
    counts.set(color, (counts.get(color) ?? 0) + 1);
  }
  const ranked = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
  const part = (color, shift) => color >> shift & 255;
  const far = (one, other) =>
    [16, 8, 0].reduce((sum, shift) => sum + (part(one, shift) - part(other, shift)) ** 2, 0);
  const palette = [], places = new Map();
  for (const color of ranked) {
    if (palette.length < 256 && palette.every((each) => far(color, each) > 60)) palette.push(color);
  }
  for (const color of ranked) {
    let best = 0;
    palette.forEach((each, at) => { if (far(color, each) < far(color, palette[best])) best = at; });
    places.set(color, best);
  }
  let text = "";
  for (const pixel of pixels) text += String.fromCharCode(places.get(pixel));
  return [image.width, image.height, palette, btoa(text)];
}"""


def small_png(page: Page, content: bytes) -> bytes:
    """A PNG anew, by a page of any site; at most 256 colours."""
    width, height, palette, text = page.evaluate(_INDEXED, base64.b64encode(content).decode())
    pixels = base64.b64decode(text)
    # Each row begins with the number of its filter: none.
    rows = b"".join(b"\0" + pixels[at : at + width] for at in range(0, len(pixels), width))
    colours = b"".join(struct.pack(">I", each)[1:] for each in palette)
    return b"\x89PNG\r\n\x1a\n" + _chunks(
        [
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            (b"PLTE", colours),
            (b"IDAT", zlib.compress(rows, 9)),
            (b"IEND", b""),
        ]
    )


def _chunks(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
