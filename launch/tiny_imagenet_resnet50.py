"""ResNet-50 on Tiny-ImageNet, from scratch, with a stem for small images: 3x3, without max-pooling.

    python launch/tiny_imagenet_resnet50.py --data s3://BUCKET/tiny-imagenet-200.zip --role ROLE
    python launch/tiny_imagenet_resnet50.py --backend process --data tiny-imagenet-200.zip
    python launch/tiny_imagenet_resnet50.py --backend process --data SUBSET.tar \\
        --set epochs=1 image_size=32 batch_size=8

Data: the set as it is published (wnids.txt, words.txt, train, val with val_annotations.txt, test), in a
folder or an archive; the split is kept, and the test images are the unlabelled ones. The third command is for
a subset at 32 px. The original's published run ended at a validation loss above ln 200, that of a guess.
One epoch of the third command on 15,000 images of 100 classes, seed 0, gave accuracy 0.036 (a guess: 0.01)
at a loss of 4.76, still above ln 100 (4.61), in 13 minutes on two cores.
"""

from launch.experiment import Experiment, run_experiment
from launch.imagenet_resnet50 import EXPERIMENT as IMAGENET

EXPERIMENT = Experiment(
    name="tiny-imagenet-resnet50",
    description=__doc__,
    hyperparameters={
        **IMAGENET.hyperparameters,
        "arch": "resnet50_64px",
        "image_size": 64,
        "epochs": 30,
        "batch_size": 16,
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 1e-2,
    },
    instance_type="ml.g4dn.xlarge",
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
