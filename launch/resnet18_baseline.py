"""ResNet-18, the baseline of the camera-trap system.

    python launch/resnet18_baseline.py --data s3://BUCKET/PREFIX --role ROLE
    python launch/resnet18_baseline.py --backend process --data demo --set weights=none image_size=96

Data: the eight-class competition's tables, or class folders. The original reported a validation
accuracy of 0.86 with --prepare split=random, its split, where the same cameras are on both sides. Without
that the split is by site: the score is lower, and true of new cameras.
"""

from trapline.launching.dispatch import Experiment, run_experiment

EXPERIMENT = Experiment(
    name="resnet18-baseline",
    description=__doc__,
    hyperparameters={
        "arch": "resnet18",
        "epochs": 5,
        "batch_size": 64,
        "optimizer": "adamw",
        "lr": 1e-3,
        "image_size": 224,
        "augment": "none",
        "best_metric": "val_acc",
    },
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
