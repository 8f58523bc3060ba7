"""ResNet-50, the larger baseline of the camera-trap system.

    python launch/resnet50_baseline.py --data s3://BUCKET/PREFIX --role ROLE
    python launch/resnet50_baseline.py --backend process --data demo --set weights=none image_size=96

Data: the eight-class competition's tables, or class folders. The original reported a validation
accuracy of 0.82 with --prepare split=random, its split, where the same cameras are on both sides. Without
that the split is by site: the score is lower, and true of new cameras.
"""

from trapline.launching.dispatch import Experiment, find_experiment, run_experiment

EXPERIMENT = Experiment(
    name="resnet50-baseline",
    description=__doc__,
    hyperparameters={**find_experiment("resnet18_baseline").hyperparameters, "arch": "resnet50"},
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
