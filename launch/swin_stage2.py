"""Swin-T, stage 2 of the camera-trap system: on from stage 1, with pseudo-labels.

    python launch/swin_stage2.py --prepared s3://BUCKET/SET --pseudo s3://BUCKET/LABELS \\
        --phase1 s3://BUCKET/JOB/output/model.tar.gz --role ROLE
    python launch/swin_stage2.py --backend process --prepared runs/prepared/SET --pseudo runs/pseudo \\
        --phase1 runs/swin-stage1-... --set image_size=96

Data: the prepared set on which stage 1 was trained, as of the eight-class competition; its unlabelled images
with the labels that entry_points/pseudo_label.py made by stage 1's model; and that model. Every batch
holds a quarter of pseudo-labelled images at half the weight. No result of the original is on record. Expect
little above stage 1, or nothing: entry_points/evaluate.py keeps stage 1 where stage 2 is not surely better.
"""

from trapline.launching.dispatch import Experiment, run_experiment

EXPERIMENT = Experiment(
    name="swin-stage2",
    description=__doc__,
    hyperparameters={
        "arch": "swin_t",
        "weights": "phase1",
        "epochs": 10,
        "batch_size": 64,
        "optimizer": "adamw",
        "lr": 5e-6,
        "image_size": 224,
        "augment": "crops",
        "best_metric": "val_loss",
        "weight_decay": 1e-8,
        "stochastic_depth": 0.2,
        "precision": "auto",
        "num_workers": 4,
        "pseudo_share": 0.25,
        "pseudo_weight": 0.5,
    },
    channels=("pseudo", "phase1"),
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
