"""A preparation that copies: transform/images gets the images."""

import json
import shutil
import sys

from orders import obey, option

data, output = option("--input"), option("--output")
if data.name == "demo":
    (output / "transform" / "images").mkdir(parents=True)
else:
    obey(data, "prepare")
    shutil.copytree(data, output / "transform" / "images", ignore=lambda *_: ["orders.json"])
    if (data / "orders.json").exists():
        shutil.copy(data / "orders.json", output)
(output / "source.txt").write_text(str(option("--source-name")))
(output / "words.json").write_text(json.dumps(sys.argv[1:]))
(output / "version.json").write_text(json.dumps({"data": "little", "completed_with": ""}))
(output / "completed.json").write_text(
    json.dumps({file.name: file.read_text() for file in option("--completed").iterdir()})
)
given = {}
for name in ("media", "classes", "corrections", "site-csv", "division", "label-names"):
    if f"--{name}" in sys.argv:
        place = option(f"--{name}")
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        given[name] = {file.name: file.read_text() for file in files}
(output / "given.json").write_text(json.dumps(given))
