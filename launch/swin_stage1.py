"""Swin-T, stage 1 of the camera-trap system.

    python launch/swin_stage1.py --data s3://BUCKET/PREFIX --role ROLE
    python launch/swin_stage1.py --backend process --data demo --set weights=none image_size=96

Data: the eight-class competition's tables, or class folders. The original reported a validation
accuracy of 0.89 with --prepare split=random, its split, where the same cameras are on both sides. Without
that the split is by site: the score is lower, and true of new cameras. Mixed precision is what
suits the machine: fp16 or bf16 on a GPU, bf16 or fp32 on a CPU.
"""

from trapline.launching.dispatch import Experiment, run_experiment

EXPERIMENT = Experiment(
    name="swin-stage1",
    description=__doc__,
    hyperparameters={
        "arch": "swin_t",
        "epochs": 30,
        "batch_size": 64,
        "optimizer": "adamw",
        "lr": 1e-5,
        "image_size": 224,
        "augment": "none",
        "best_metric": "val_acc",
        "weight_decay": 1e-8,
        "stochastic_depth": 0.2,
        "precision": "auto",
        "num_workers": 4,
    },
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
