"""A training that writes its channels down; its model serves by serve.py."""

import json
import os
import shutil
from pathlib import Path

from orders import obey

channels = {name: os.environ[f"SM_CHANNEL_{name.upper()}"] for name in json.loads(os.environ["SM_CHANNELS"])}
phase = 2 if "pseudo" in channels else 1
orders = obey(Path(channels["prepared"]), f"train{phase}")
model, output = Path(os.environ["SM_MODEL_DIR"]), Path(os.environ["SM_OUTPUT_DATA_DIR"])
held = {name: sorted(item.name for item in Path(path).iterdir()) for name, path in channels.items()}
settings = json.loads(os.environ["SM_HPS"])
(model / "model.json").write_text(json.dumps({"channels": held, "epochs": settings["epochs"], **orders}))
(model / "code").mkdir()
shutil.copy(Path(__file__).with_name("serve.py"), model / "code")
output.mkdir(parents=True, exist_ok=True)
(output / "metrics.csv").write_text(f"epoch\n{phase}\n")
