"""A collection of all answers in one file, with the names of all that was there to read."""

import json
import tarfile

from orders import obey, option

obey(option("--prepared"), "collect")
answers = {path.name: json.loads(path.read_text()) for path in sorted(option("--predictions").iterdir())}
with tarfile.open(option("--history")) as archive:
    names = archive.getnames()
assert (option("--evaluation") / "evaluation.json").is_file()
text = json.dumps({"answers": answers, "history": sorted(names)}, indent=1)
(option("--output") / "predictions.csv").write_text(text)
(option("--completed") / "last.json").write_text("{}")
