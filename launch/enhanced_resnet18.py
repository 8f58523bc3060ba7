"""The enhanced ResNet-18, Phase 1: a head of two layers, focal loss, heavy augmentation.

    python launch/enhanced_resnet18.py --data s3://BUCKET/PREFIX --role ROLE
    python launch/enhanced_resnet18.py --backend process --data demo --set weights=none image_size=96 epochs=8
    python pipelines/camera_trap.py run --backend process --data DIR --recipe enhanced_resnet18

Data: the eight-class competition's tables, or class folders. The third command runs both phases, with
enhanced_resnet18_phase2 as the second, and averages the four views of the enhanced system (--param Views=auto
keeps those that help on validation; animals stand on the ground, so that the vertical flip rarely does). The
original split at random and stratified by class, which is --prepare split=random: the same cameras are on
both sides then. Without that the split is by site: the score is lower, and true of new cameras. The training
loss is that of hard images, with smoothed labels, and says little by itself; val_loss is the log loss.
"""

from trapline.launching.dispatch import Experiment, run_experiment

EXPERIMENT = Experiment(
    name="enhanced-resnet18",
    description=__doc__,
    hyperparameters={
        "arch": "enhanced_resnet18",
        "epochs": 20,
        "batch_size": "auto",
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "schedule": "cosine_plateau",
        "plateau_patience": 3,
        "plateau_factor": 0.5,
        "image_size": 224,
        "augment": "heavy",
        "loss": "focal",
        "focal_alpha": 0.25,
        "focal_gamma": 2.0,
        "label_smoothing": 0.1,
        "class_weights": "inverse",
        "best_metric": "val_loss",
        "patience": 6,
        "compile": "auto",
    },
    views="enhanced",
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
