"""Why an input gives no pixels: the reasons of decoding, and the exception that carries one."""

import enum
import re


class Reason(enum.StrEnum):
    """Why an input gives no pixels."""

    EMPTY = "empty"  # no bytes
    NOT_AN_IMAGE = "not_an_image"  # no known image signature
    TRUNCATED = "truncated"  # a beginning without its end
    CORRUPT = "corrupt"  # contradicts its own format
    TOO_LARGE = "too_large"  # more pixels than the settings or the budget allow
    TOO_SMALL = "too_small"  # short side below PixelSettings.min_side
    TOO_COSTLY = "too_costly"  # would take, or took, more than trapline.images.budget allows
    DECODER_CRASHED = "decoder_crashed"  # the decoder's process died on it
    UNSUPPORTED = "unsupported"  # intact as far as known, but of a kind that is not read here


class ImageProblem(Exception):
    """An input without pixels: `reason` for programs, `detail` (one line) for a person."""

    def __init__(self, reason: Reason, detail: str) -> None:
        without_addresses = re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>|0x[0-9a-fA-F]{6,}", "(object)", detail[:2000])
        printable = "".join(character if character.isprintable() else " " for character in without_addresses)
        self.reason = reason
        self.detail = " ".join(printable.split())[:200]
        super().__init__(self.reason, self.detail)

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
