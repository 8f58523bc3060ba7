"""Trapline classifies camera-trap photographs, and any other image set by the same road.

    import trapline

    if __name__ == "__main__":  # images are decoded in processes of their own, which import this file
        data = trapline.prepare("photos", "prepared", split="site")
        config = trapline.TrainingConfig(arch="resnet18", epochs=10, augment="crops")
        model = trapline.train(config, data.folder, "runs/first")
        report = trapline.evaluate(data.folder, model, "runs/first/evaluation")
        print(report["test"]["log_loss"], report["claimed"])
        predictor = trapline.load_predictor("runs/first/evaluation/champion/model.tar.gz")
        for answer in trapline.predict(predictor, ["new/1.jpg", "new/2.jpg"]):
            print(answer.id, answer.label or answer.reason, answer.confidence)

What goes wrong and can be put right raises TraplineError, of which UsageError is one; a TrainingConfig with
an impossible value raises pydantic's ValidationError, a ValueError. Nothing is imported before it is used.
"""

from importlib import import_module

__version__ = "0.1.0"

_EXPORTS = {
    "Answer": "trapline.inference.answers",
    "Predictor": "trapline.inference.predictor",
    "PreparedSet": "trapline.data.prepared",
    "TrainingConfig": "trapline.config",
    "TraplineError": "trapline.errors",
    "UsageError": "trapline.errors",
    "evaluate": "trapline.front.jobs",
    "load_predictor": "trapline.inference.predictor",
    "open_prepared": "trapline.data.prepared",
    "predict": "trapline.inference.answers",
    "prepare": "trapline.front.jobs",
    "train": "trapline.front.jobs",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> object:
    """Import what is asked for."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'trapline' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_EXPORTS[name]), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
