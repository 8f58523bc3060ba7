"""CIFAR-10 in few minutes: a network of 2 million weights, ten passes over the images, about 94%.

python launch/cifar10_fast.py --data s3://BUCKET/cifar-10-binary.tar.gz --role ROLE
python launch/cifar10_fast.py --backend process --data cifar-10-binary.tar.gz
"""

from launch.experiment import Experiment, run_experiment

EXPERIMENT = Experiment(
    name="cifar10-fast",
    description=__doc__,
    hyperparameters={
        "arch": "cifar_fast",
        "weights": "none",
        "image_size": 32,
        "normalisation": "cifar10",
        "in_memory": True,
        "augment": "shift_flip",
        "batch_size": 1024,
        "epochs": 10,
        "optimizer": "sgd",
        "momentum": 0.85,
        "nesterov": True,
        # Of the record: 11.5 per 1024 examples, decoupled from momentum, is 11.5 / (1 + 1 / (1 - 0.85)) of a
        # mean loss, and its weight decay of 0.0153 becomes 0.0153 / 11.5 of the weights in the gradient.
        "lr": 1.5,
        "weight_decay": 1.33e-3,
        "norm_bias_lr_multiplier": 64,
        "schedule": "triangle",
        "label_smoothing": 0.2,
        "lookahead": True,
        "best_metric": "val_acc",
        "test_views": "shifts",
        "score_test": True,
    },
    instance_type="ml.g4dn.xlarge",
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
