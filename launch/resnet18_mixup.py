"""ResNet-18 with mixup: the camera-trap system's baseline, regularised.

    python launch/resnet18_mixup.py --data s3://BUCKET/PREFIX --role ROLE
    python launch/resnet18_mixup.py --backend process --data demo --set weights=none image_size=96

Data: the eight-class competition's tables, or class folders. Compare with resnet18_baseline by
launch/compare.py RUN RUN; the training accuracy is lower by design, being that on mixed images.
"""

from trapline.launching.dispatch import Experiment, find_experiment, run_experiment

EXPERIMENT = Experiment(
    name="resnet18-mixup",
    description=__doc__,
    hyperparameters={**find_experiment("resnet18_baseline").hyperparameters, "mixup": 0.2},
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
