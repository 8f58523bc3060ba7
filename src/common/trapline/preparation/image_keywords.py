"""The keywords in an image's metadata, and in an XMP file beside it: hierarchical ones, as paths of tags.

Read are XMP packets of JPEG and PNG files (Adobe, XMP Specification part 3) and IPTC's keywords of JPEG files
(IIM 4.2, dataset 2:25, in Photoshop's resource 0x0404). Extended XMP, which holds no keywords but of the
longest lists, is not. Metadata come from anybody: an XML with declarations of entities is refused, never
expanded, sizes and depths have bounds, and what is damaged counts as none.
"""

import itertools
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

from trapline.images.files import APP1, PNG_START, START_OF_SCAN

Tag = tuple[str, ...]  # from the topmost down: ("Species", "Leopard Cat")

XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
PHOTOSHOP_PREFIX, APP13, IIM = b"Photoshop 3.0\0", 0xED, 0x0404
PNG_XMP = b"XML:com.adobe.xmp\0"
KEYWORDS, CHARACTERS = (2, 25), (1, 90)  # IIM's datasets
UTF8 = b"\x1b%G"
MAX_XMP_BYTES = 4 << 20
MAX_SEGMENTS = 500  # before the picture's data
MAX_FILL = 16  # bytes before a segment
MAX_DEPTH, MAX_TAGS, MAX_TAG_LENGTH = 100, 200, 500
# Properties of XMP with lists of tags, best first, and what divides a tag's levels; None: either, if any.
PROPERTIES = {
    "http://ns.adobe.com/lightroom/1.0/ hierarchicalSubject": "|",
    "http://www.digikam.org/ns/1.0/ TagsList": "/",
    "http://ns.iview-multimedia.com/mediapro/1.0/ CatalogSets": "|",
    "http://ns.microsoft.com/photo/1.0/ LastKeywordXMP": "/",
    "http://ns.microsoft.com/photo/1.0 LastKeywordXMP": "/",
    "http://purl.org/dc/elements/1.1/ subject": None,
}
CATEGORIES = "http://ns.acdsee.com/iptc/1.0/ categories"
ITEM = "http://www.w3.org/1999/02/22-rdf-syntax-ns# li"


class DamagedMetadata(Exception):
    """Metadata that cannot be read, or are refused."""


def tags_in(path: str, sidecars: list[str]) -> list[list[Tag]]:
    """The tags that metadata name, a list for each place where tags stand, best first.

    What stands in `sidecars`, XMP files, goes before what stands in the image at `path`. Raises
    DamagedMetadata where nothing can be read but what is damaged; a file that cannot be opened has none.
    """
    found: list[list[Tag]] = []
    damaged: DamagedMetadata | None = None
    for packets in itertools.chain(map(_sidecar, sidecars), [_embedded(path)]):
        for kind, packet in packets:
            try:
                found += xmp_tags(packet) if kind == "xmp" else [iptc_tags(packet)]
            except DamagedMetadata as problem:
                damaged = problem
    found = [tags for tags in found if tags]
    if damaged and not found:
        raise damaged
    return found


# --- where metadata lie -------------------------------------------------------------------------------------


def _sidecar(path: str) -> Iterator[tuple[str, bytes]]:
    try:
        with Path(path).open("rb") as file:
            yield "xmp", file.read(MAX_XMP_BYTES + 1)
    except OSError:
        return


def _embedded(path: str) -> Iterator[tuple[str, bytes]]:
    """The packets of XMP and of IPTC in a file, by kind; only its head is read."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(len(PNG_START))
            if start.startswith(b"\xff\xd8"):
                yield from _of_jpeg(file)
            elif start == PNG_START:
                yield from _of_png(file)
    except OSError:  # whoever decodes the image says so
        return


def _of_jpeg(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """The packets in the segments before the picture; others are passed over unread."""
    file.seek(2)
    resources = b""  # may go on in the next segment
    for _ in range(MAX_SEGMENTS):
        head = file.read(4)
        for _ in range(MAX_FILL):
            if head[:2] == b"\xff\xff":
                head = head[1:] + file.read(1)
        if len(head) < 4 or head[0] != 0xFF or head[1] == START_OF_SCAN:
            break
        size = int.from_bytes(head[2:], "big") - 2
        if head[1] not in (APP1, APP13) or size < 0:
            file.seek(max(size, 0), 1)
            continue
        content = file.read(size)
        if content.startswith(XMP_PREFIX):
            yield "xmp", content[len(XMP_PREFIX) :]
        elif content.startswith(PHOTOSHOP_PREFIX):
            resources += content[len(PHOTOSHOP_PREFIX) :]
    if resources:
        yield "iptc", resources


def _of_png(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    for _ in range(MAX_SEGMENTS):
        head = file.read(8)
        if len(head) < 8:
            return
        size, kind = struct.unpack(">L4s", head)
        if kind != b"iTXt" or size > MAX_XMP_BYTES:
            file.seek(size + 4, 1)
            continue
        content = file.read(size)
        file.seek(4, 1)
        if content.startswith(PNG_XMP):
            yield "xmp", _international_text(content[len(PNG_XMP) :])


def _international_text(content: bytes) -> bytes:
    """The text of an iTXt chunk after its keyword: flag, method, language, translated keyword, text."""
    is_compressed, _, rest = content[:1] == b"\1", content[1:2], content[2:]
    text = rest.partition(b"\0")[2].partition(b"\0")[2]
    if not is_compressed:
        return text
    try:
        return zlib.decompressobj().decompress(text, MAX_XMP_BYTES + 1)
    except zlib.error:
        return b"<"  # damaged, as whoever reads it says


# --- XMP ----------------------------------------------------------------------------------------------------


class _Collected:
    """What an XMP packet says, as its parser meets it: the items of lists of tags, by property."""

    def __init__(self) -> None:
        self.items: dict[str, list[str]] = {}
        self.categories: list[str] = []
        self._open: list[str] = []
        self._text: list[str] | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._open.append(name)
        if len(self._open) > MAX_DEPTH:
            raise DamagedMetadata(f"its XMP has more than {MAX_DEPTH} elements inside one another")
        if CATEGORIES in attributes:
            self.categories.append(attributes[CATEGORIES])
        if name in (ITEM, CATEGORIES):
            self._text = []

    def text(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def end(self, name: str) -> None:
        self._open.pop()
        if name not in (ITEM, CATEGORIES) or self._text is None:
            return
        text, self._text = "".join(self._text), None
        if name == CATEGORIES:
            self.categories.append(text)
        elif owner := next((known for known in reversed(self._open) if known in PROPERTIES), None):
            self.items.setdefault(owner, []).append(text)


def _parsed(
    packet: bytes | str,
    start: Callable[[str, dict[str, str]], None],
    text: Callable[[str], None],
    end: Callable[[str], None],
) -> None:
    """Parse an XML with handlers. Raises DamagedMetadata where it is none, or declares types or entities."""
    if len(packet) > MAX_XMP_BYTES:
        raise DamagedMetadata(f"its XMP has more than {MAX_XMP_BYTES} bytes")
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.CharacterDataHandler, parser.EndElementHandler = start, text, end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse
    parser.buffer_text = True
    try:
        parser.Parse(packet, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DamagedMetadata(f"its XMP cannot be read ({error})") from None


def _refuse(*_: object) -> None:
    raise DamagedMetadata("its XMP declares a document type or an entity, which is not read")


def xmp_tags(packet: bytes) -> list[list[Tag]]:
    """The tags of an XMP packet, a list for each property, best first. Raises DamagedMetadata."""
    own = _Collected()
    _parsed(packet.strip(b"\0 \t\r\n"), own.start, own.text, own.end)
    known = [name for name in PROPERTIES if name in own.items]
    found = {name: [_levels(text, PROPERTIES[name]) for text in own.items[name][:MAX_TAGS]] for name in known}
    hierarchical = [tags for name, tags in found.items() if PROPERTIES[name]]
    flat = [tags for name, tags in found.items() if not PROPERTIES[name]]
    return [*hierarchical, *map(acdsee_tags, own.categories[:1]), *flat]


def acdsee_tags(text: str) -> list[Tag]:
    """The tags of ACDSee's categories: an XML of its own, `Category` in `Category`, Assigned="1"."""
    found: list[Tag] = []
    names: list[list[str]] = []
    assigned: list[bool] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(names) > MAX_DEPTH:
            raise DamagedMetadata(f"its categories lie more than {MAX_DEPTH} inside one another")
        names.append([])
        assigned.append(name == "Category" and attributes.get("Assigned") == "1")

    def data(part: str) -> None:
        if names:
            names[-1].append(part)

    def end(_: str) -> None:
        path = tuple("".join(own).strip() for own in names)
        names.pop()
        if assigned.pop() and len(found) < MAX_TAGS:
            found.append(tuple(part[:MAX_TAG_LENGTH] for part in path if part))

    _parsed(text, start, data, end)
    return found


def _levels(text: str, between: str | None) -> Tag:
    """The levels of a written tag, without blanks around them."""
    if between is None:
        between = "|" if "|" in text else "/"
    return tuple(part.strip() for part in text[:MAX_TAG_LENGTH].split(between) if part.strip())


# --- IPTC ---------------------------------------------------------------------------------------------------


def iptc_tags(resources: bytes) -> list[Tag]:
    """The keywords in Photoshop's image resources. Raises DamagedMetadata where they end before their end."""
    try:
        blocks = list(_resources(resources))
        records = [record for kind, block in blocks if kind == IIM for record in _datasets(block)]
    except (struct.error, IndexError):
        raise DamagedMetadata("its IPTC ends before its own end") from None
    is_utf8 = any(kind == CHARACTERS and value == UTF8 for kind, value in records)
    words = [value for kind, value in records if kind == KEYWORDS][:MAX_TAGS]
    return [_levels(_decoded(word, is_utf8=is_utf8), None) for word in words]


def _resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each resource: 8BIM, number, name with its length, size, content, all even."""
    position = 0
    while data[position : position + 4] == b"8BIM":
        (number,) = struct.unpack_from(">H", data, position + 4)
        position += 6 + (data[position + 6] + 2) // 2 * 2
        (size,) = struct.unpack_from(">L", data, position)
        yield number, data[position + 4 : position + 4 + size]
        position += 4 + (size + 1) // 2 * 2


def _datasets(block: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Record, number and value of each dataset; none of the longer ones, which hold no keywords."""
    position = 0
    while block[position : position + 1] == b"\x1c":
        record, number, size = struct.unpack_from(">BBH", block, position + 1)
        if size & 0x8000:
            return
        if position + 5 + size > len(block):
            raise IndexError(position)
        yield (record, number), block[position + 5 : position + 5 + size]
        position += 5 + size


def _decoded(value: bytes, *, is_utf8: bool) -> str:
    """A keyword as text: UTF-8 where it is valid, else Windows-1252, which many write unsaid."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("utf-8" if is_utf8 else "cp1252", "replace")
    return re.sub("\0+$", "", text)
