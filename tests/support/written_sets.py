"""One small set of camera-trap images, and writers that put what is known of it into the formats we read.

Reading a format back must give the same labels, sites, sequences and times, as far as the format holds them.
"""

import csv
import json
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from tests.conftest import write_jpeg

SITES = ("north gate", "south pond", "ridge")
LABELS = ("wild boar", "empty", "red deer", "wild boar")


@dataclass(frozen=True)
class Record:
    """An image of the set; `label` None where it is unlabelled, `time` as text."""

    path: str
    label: str | None
    site: str
    sequence: str
    time: str


def drawn_set(folder, side=16):
    """Draw 24 images below `folder`, two sequences of four at each of three sites; return their records."""
    records = []
    for number in range(24):
        site, burst, frame = number // 8, number // 4 % 2, number % 4
        label = None if number % 8 == 7 else LABELS[(site + burst) % len(LABELS)]
        path = f"{SITES[site].replace(' ', '_')}/{burst}/IMG_{number:04d}.jpg"
        time = f"2024-05-{11 + site + burst}T14:02:{10 + frame}"
        records.append(Record(path, label, SITES[site], f"s{site}b{burst}", time))
        write_jpeg(folder / path, number, side)
    return records


def write_coco(path, records):
    """COCO Camera Traps: an annotation of each labelled image, categories in the order of first use."""
    names = list(dict.fromkeys(record.label for record in records if record.label))
    images = [
        {
            "id": f"image {number}", "file_name": record.path, "location": record.site,
            "seq_id": record.sequence, "datetime": record.time, "frame_num": 1, "width": 24, "height": 16,
        }
        for number, record in enumerate(records)
    ]  # fmt: skip
    annotations = [
        {
            "id": f"annotation {number}",
            "image_id": f"image {number}",
            "category_id": names.index(record.label),
        }
        for number, record in enumerate(records)
        if record.label
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    content = {
        "info": {"version": "1"},
        "categories": categories,
        "images": images,
        "annotations": annotations,
    }
    path.write_text(json.dumps(content))
    return path


def write_camtrap_dp(folder, records, level="media", offset="+02:00"):
    """Camtrap DP 1.0: observations of media, or of events, a sequence each; unlabelled: unclassified."""
    sites = list(dict.fromkeys(record.site for record in records))
    times = {
        name: [record.time for record in records if record.sequence == name]
        for name in dict.fromkeys(record.sequence for record in records)
    }
    deployments = [
        {"deploymentID": f"d{number}", "locationID": site, "latitude": 51.0 + number, "longitude": 4.5}
        for number, site in enumerate(sites)
    ]
    media = [
        {
            "mediaID": f"m{number}", "deploymentID": f"d{sites.index(record.site)}",
            "timestamp": record.time + offset, "filePath": record.path, "filePublic": "true",
            "fileMediatype": "image/jpeg",
        }
        for number, record in enumerate(records)
    ]  # fmt: skip
    observations = [
        {
            "observationID": f"o{number}", "deploymentID": f"d{sites.index(record.site)}",
            "mediaID": f"m{number}" if level == "media" else "", "eventID": record.sequence,
            "eventStart": min(times[record.sequence]) + offset,
            "eventEnd": max(times[record.sequence]) + offset,
            "observationLevel": level, "observationType": _observation_type(record.label),
            "scientificName": "" if record.label in (None, "empty") else record.label,
            "classificationMethod": "human",
        }
        for number, record in enumerate(records)
        if level == "media" or record.label
    ]  # fmt: skip
    for name, rows in (("deployments", deployments), ("media", media), ("observations", observations)):
        write_rows(folder / f"{name}.csv", rows)
    resources = [{"name": name, "path": f"{name}.csv"} for name in ("deployments", "media", "observations")]
    profile = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0/camtrap-dp-profile.json"
    (folder / "datapackage.json").write_text(json.dumps({"profile": profile, "resources": resources}))
    return folder


def _observation_type(label):
    return {None: "unclassified", "empty": "blank"}.get(label, "animal")


def write_rows(path, rows):
    """A CSV of dictionaries that have the same keys."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_mapped_csv(table, records, /, delimiter=",", backslashes=False, above="", **columns):
    """A CSV with a row an image; `columns`: what each field of a record is called, those that it has alone.

    `above`: what stands before the paths, which have backslashes where asked.
    """
    rows = [{name: getattr(record, known) or "" for known, name in columns.items()} for record in records]
    for row in rows:
        written = above + row[columns["path"]]
        row[columns["path"]] = written.replace("/", "\\") if backslashes else written
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns.values()), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return table


def write_timelapse(path, records, root="Photos", old=False, labels=None):
    """Timelapse's CSV, as old versions write it where asked; the label a text, or counters called `labels`.

    The site is the first folder of a path; the format holds no sequences.
    """
    rows = []
    for record in records:
        folder, _, name = record.path.rpartition("/")
        day, hour = record.time.split("T")
        where = {"File": name, "RelativePath": folder.replace("/", "\\")}
        if old:
            own = {**where, "Folder": root, "Date": day, "Time": hour, "ImageQuality": "Ok"}
        else:
            own = {"RootFolder": root, **where, "DateTime": f"{day} {hour}", "DeleteFlag": "false"}
        said = {name: str(int(record.label == name)) for name in labels or ()} or {
            "Species": record.label or ""
        }
        rows.append({**own, **said})
    write_rows(path, rows)
    return path


def write_folders(source, folder, records, levels):
    """Copies of images in folders in one another, as in site/label/sequence; their records by new paths."""
    found = {}
    for record in records:
        names = {"site": record.site, "label": record.label or "unlabeled", "sequence": record.sequence}
        name = record.path.rpartition("/")[2]
        path = "/".join([*(names.get(level, level) for level in levels.split("/")), name])
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes((source / record.path).read_bytes())
        found[path] = record
    return found


XMP_LISTS = {
    "lightroom": ("lr:hierarchicalSubject", "|"),
    "digikam": ("digiKam:TagsList", "/"),
    "microsoft": ("MicrosoftPhoto:LastKeywordXMP", "/"),
    "subject": ("dc:subject", "|"),
}


def xmp_packet(tags, kind="lightroom"):
    """XMP with tags, tuples from the topmost level down, as a program of this kind writes them."""
    attribute, lists = "", ""
    if kind == "acdsee":
        one = '<Category Assigned="0">{}<Category Assigned="1">{}</Category></Category>'
        inner = "".join(one.format(*map(escape, tag)) for tag in tags)
        attribute = f" acdsee:categories={quoteattr(f'<Categories>{inner}</Categories>')}"
    else:
        name, between = XMP_LISTS[kind]
        items = "".join(f"<rdf:li>{escape(between.join(tag))}</rdf:li>" for tag in tags)
        lists = f"<{name}><rdf:Bag>{items}</rdf:Bag></{name}>"
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        ' xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:digiKam="http://www.digikam.org/ns/1.0/"'
        ' xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:acdsee="http://ns.acdsee.com/iptc/1.0/"'
        f'{attribute}>{lists}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def with_xmp(picture, packet):
    """A JPEG's bytes with an XMP packet in its metadata."""
    return _with_segment(picture, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)


def with_iptc(picture, words):
    """A JPEG's bytes with IPTC keywords."""
    datasets = [b"\x1c\x01\x5a\x00\x03\x1b%G"]
    datasets += [b"\x1c\x02\x19" + len(word.encode()).to_bytes(2, "big") + word.encode() for word in words]
    block = b"".join(datasets)
    resource = b"8BIM\x04\x04\0\0" + len(block).to_bytes(4, "big") + block + b"\0" * (len(block) % 2)
    return _with_segment(picture, 0xED, b"Photoshop 3.0\0" + resource)


def _with_segment(picture, marker, content):
    return picture[:2] + bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content + picture[2:]


def write_tags(source, folder, records, kind):
    """Copies of images in a folder for each site, labels as tags below Species; their records by new paths.

    `kind`: of the program that writes them; iptc, or sidecar: an XMP file beside each image.
    """
    found = {}
    for record in records:
        name = record.path.rpartition("/")[2]
        picture = (source / record.path).read_bytes()
        tags = [("Species", record.label), ("individual", "2")] if record.label else [("individual", "2")]
        path = folder / record.site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "iptc":
            picture = with_iptc(picture, ["|".join(tag) for tag in tags])
        elif kind == "sidecar":
            path.with_name(f"{name}.xmp").write_bytes(xmp_packet(tags))
        else:
            picture = with_xmp(picture, xmp_packet(tags, kind))
        path.write_bytes(picture)
        found[f"{record.site}/{name}"] = record
    return found
