"""An evaluation with the numbers that were ordered; the champion is Phase 2's archive."""

import json
import shutil

from orders import obey, option

orders = obey(option("--prepared"), "evaluate")
output = option("--output")
numbers = {"log_loss": orders.get("log_loss", 1.0), "accuracy": orders.get("accuracy", 0.5)}
test = dict.fromkeys(numbers) if orders.get("untested") else numbers
(output / "evaluation.json").write_text(json.dumps({"test": test, "validation": numbers}))
(output / "champion").mkdir()
shutil.copy(option("--phase2"), output / "champion" / "model.tar.gz")
