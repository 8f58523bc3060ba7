"""The enhanced ResNet-18, Phase 2: on from Phase 1 at a tenth of its rate, with pseudo-labels.

    python launch/enhanced_resnet18_phase2.py --prepared s3://BUCKET/SET --pseudo s3://BUCKET/LABELS \\
        --phase1 s3://BUCKET/JOB/output/model.tar.gz --role ROLE
    python launch/enhanced_resnet18_phase2.py --backend process --prepared runs/prepared/SET \\
        --pseudo runs/pseudo --phase1 runs/enhanced-resnet18-... --set image_size=96

Data: the prepared set on which Phase 1 was trained, as of the eight-class competition; its unlabelled images
with the labels that entry_points/pseudo_label.py made by Phase 1's model; and that model. Every batch holds a
quarter of pseudo-labelled images at half the weight. Expect little above Phase 1, or nothing:
entry_points/evaluate.py keeps Phase 1 where Phase 2 is not surely better.
"""

from trapline.launching.dispatch import Experiment, find_experiment, run_experiment

PHASE_1 = find_experiment("enhanced_resnet18")

EXPERIMENT = Experiment(
    name="enhanced-resnet18-phase2",
    description=__doc__,
    hyperparameters={
        **PHASE_1.hyperparameters,
        "weights": "phase1",
        "epochs": 10,
        "lr": 1e-4,
        "pseudo_share": 0.25,
        "pseudo_weight": 0.5,
    },
    channels=("pseudo", "phase1"),
    views=PHASE_1.views,
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
