"""ResNet-50 on ImageNet, from scratch.

    python launch/imagenet_resnet50.py --data s3://BUCKET/IMAGENET --role ROLE
    python launch/imagenet_resnet50.py --backend process --data IMAGENET --set num_workers=16
    python launch/imagenet_resnet50.py --backend process --data DIR --prepare limit-per-class=9 --set epochs=1

Data: `train/<class>/*.JPEG` and `val/<class>/*.JPEG`, as for torchvision's ImageFolder, in a folder, an
archive or S3; the split is kept. Names of the classes come from a LOC_synset_mapping.txt or words.txt beside
them. A step takes 4 micro-batches of 64 images. The published model reaches a top-1 accuracy of 0.76 after 90
epochs at 256 images a step. What the data cost: benchmarks/imagenet_scale.py. AWS: --volume-size 400.
"""

from trapline.launching.dispatch import Experiment, run_experiment

EXPERIMENT = Experiment(
    name="imagenet-resnet50",
    description=__doc__,
    hyperparameters={
        "arch": "resnet50_imagenet",
        "weights": "none",
        "image_size": 224,
        "augment": "imagenet",
        "eval_crop": "centre",
        "epochs": 90,
        "batch_size": 64,
        "accumulation": 4,
        "optimizer": "sgd",
        "lr": 0.2,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "schedule": "onecycle",
        "label_smoothing": 0.1,
        "best_metric": "val_loss",
        "gpu_memory_fraction": 0.7,
    },
    instance_type="ml.g5.2xlarge",
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
