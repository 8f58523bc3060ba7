"""What kind of file the first bytes announce: an image that is read, another image, or something else."""

import re

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"
RASTER_FORMATS = ("PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF", "PPM")
SIGNATURES = {
    "PNG": re.compile(re.escape(PNG_START)),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
    "a camera raw file": re.compile(rb"II\*\0.{4}CR|IIU\0|IIR[OS]|FUJIFILMCCD-RAW", re.DOTALL),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "WEBP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "JPEG2000": re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    "AVIF": re.compile(rb".{4}ftyp(avi[fs]|m[is]f1.{4,40}avi[fs])", re.DOTALL),
    "PPM": re.compile(rb"P[1-6]\s+(#|\d)"),
    "HEIC or HEIF": re.compile(rb".{4}ftyp(hei[cmsx]|hev[cmsx]|m[is]f1)", re.DOTALL),
    "a video": re.compile(rb".{4}ftyp|RIFF.{4}AVI |\x1a\x45\xdf\xa3|\0\0\x01[\xb3\xba]", re.DOTALL),
    "PDF, PostScript or SVG": re.compile(rb"%PDF|%!PS|\xc5\xd0\xd3\xc6|\s*<(\?xml.{,500}<)?svg", re.DOTALL),
    "a Windows metafile": re.compile(rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", re.DOTALL),
    "an icon or cursor": re.compile(rb"\0\0[\x01\x02]\0[^\0]|icns"),
    "JPEG XL, Photoshop, DDS or QOI": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL |8BPS|DDS |qoif"),
    "scientific data": re.compile(rb"\x89HDF\r\n\x1a\n|GRIB|BUFR|SIMPLE  =|P[Ff]\s+\d"),
}

# Kinds that show no picture of a camera: their bytes are handed on to nobody.
NO_IMAGES = ("a video", "PDF, PostScript or SVG", "scientific data")


def is_image(data: bytes) -> bool:
    """Whether the first bytes announce an image of any kind, read here or not, whole or damaged."""
    return data.startswith(JPEG_START) or announced_kind(data) not in ("", *NO_IMAGES)


def announced_kind(data: bytes) -> str:
    """The kind that the first bytes announce, by its name in Pillow where it is read; empty if unknown."""
    return next((name for name, signature in SIGNATURES.items() if signature.match(data)), "")
