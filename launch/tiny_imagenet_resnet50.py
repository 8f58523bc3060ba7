"""ResNet-50 on Tiny-ImageNet, from scratch, with a stem for small images: 3x3, without max-pooling.

    python launch/tiny_imagenet_resnet50.py --data s3://BUCKET/tiny-imagenet-200.zip --role ROLE
    python launch/tiny_imagenet_resnet50.py --backend process --data tiny-imagenet-200.zip
    python launch/tiny_imagenet_resnet50.py --backend process --data SUBSET.tar \\
        --set epochs=1 image_size=32 batch_size=32 accumulation=1 lr=0.05 weight_decay=5e-4 \\
        label_smoothing=0 augment=flip eval_crop=none
    python launch/tiny_imagenet_resnet50.py --backend process --data tiny-imagenet-200.zip \\
        --set epochs=2 batch_size=8 lr=0.01 schedule=onecycle

Data: the set as it is published (wnids.txt, words.txt, train, val with val_annotations.txt, test), in a
folder or an archive; the split is kept, and the test images are the unlabelled ones. The third command is for
a subset at 32 px. One epoch with its settings, given to train.py, on 15,000 images of 100 classes, seed 0,
gave accuracy 0.074 (a guess: 0.01) at a validation loss of 4.18 (a guess: ln 100 = 4.61). The fourth has the
settings of the original's published run, which ended at a validation loss above ln 200 = 5.30, that of a
guess: expect no model that is of use, and take the second.
"""

from trapline.launching.dispatch import Experiment, find_experiment, run_experiment

EXPERIMENT = Experiment(
    name="tiny-imagenet-resnet50",
    description=__doc__,
    hyperparameters={
        **find_experiment("imagenet_resnet50").hyperparameters,
        "arch": "resnet50_64px",
        "image_size": 64,
        "epochs": 30,
        "lr": 0.1,
        "weight_decay": 5e-4,
    },
    instance_type="ml.g4dn.xlarge",
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
