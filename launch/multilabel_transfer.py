"""Transfer learning where an image may have several labels.

    python launch/multilabel_transfer.py --data s3://BUCKET/PREFIX --role ROLE
    python launch/multilabel_transfer.py --backend process --data DIR --set arch=googlenet aux_weight=0.3
    python launch/multilabel_transfer.py --backend process --data DIR --set weights=none image_size=64 \\
        batch_size=32 lr=1e-3 arch=shufflenet_v2_x2_0

Data: train.csv (ImageID, Labels such as `1 3 19`, Caption) and its images, in a folder, an archive or S3. The
system's models are googlenet, resnet50, resnext50_32x4d, shufflenet_v2_x2_0, efficientnet_v2_s and
regnet_x_3_2gf, its optimizers adam, adadelta and sgd; any other architecture goes as well. It asked for a
micro-F1 of at least 0.85 on the test part, which is read once, at the end (score_test), with a threshold for
each label tuned on validation. Its learning rate falls to a tenth after more than 2 validations without a
better loss, which is a plateau_patience of 3.
"""

from trapline.launching.dispatch import Experiment, run_experiment

EXPERIMENT = Experiment(
    name="multilabel-transfer",
    description=__doc__,
    hyperparameters={
        "arch": "resnet50",
        "weights": "imagenet",
        "image_size": 224,
        "augment": "multilabel",
        "epochs": 30,
        "batch_size": 64,
        "loss": "bce",
        "optimizer": "adam",
        "lr": 1e-4,
        "weight_decay": 0.0,
        "schedule": "plateau",
        "plateau_factor": 0.1,
        "plateau_patience": 3,
        "best_metric": "val_macro_f1",
        "patience": 5,
        "min_delta": 1e-3,
        "score_test": True,
    },
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
