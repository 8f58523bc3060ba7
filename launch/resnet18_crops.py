"""ResNet-18 with random crops: the camera-trap system's baseline with its lighter augmentation chain.

    python launch/resnet18_crops.py --data s3://BUCKET/PREFIX --role ROLE
    python launch/resnet18_crops.py --backend process --data demo --set weights=none image_size=96
    python launch/resnet18_crops.py --data s3://BUCKET/PREFIX --role ROLE --set image_size=384
    python launch/resnet18_crops.py --data s3://BUCKET/PREFIX --role ROLE --set augment=grey

The chain: RandomResizedCrop of 0.75 to 1 of the area at ratios of 0.9 to 1.1, horizontal flip, rotation by up
to 10 degrees, colour jitter of 0.2. The original ran it at 224 and 384 px; above 256 px the images are packed
larger. The last command takes the system's first chain: grey, flip, the same rotation and jitter, no crop;
its model is shown grey images ever after, in validation, evaluation and serving. Data: the eight-class
competition's tables, or class folders. Compare with resnet18_baseline by launch/compare.py RUN RUN.
"""

from trapline.launching.dispatch import Experiment, find_experiment, run_experiment

EXPERIMENT = Experiment(
    name="resnet18-crops",
    description=__doc__,
    hyperparameters={**find_experiment("resnet18_baseline").hyperparameters, "augment": "crops"},
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
