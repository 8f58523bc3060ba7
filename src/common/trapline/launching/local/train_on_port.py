"""The training toolkit's `train`, whose torchrun meets at a port of the job's own.

Run: python -P train_on_port.py PORT

The toolkit gives torchrun a fixed port, which its server opens on all addresses of the machine: two jobs of
several nodes at once would be in each other's way. In containers each job has a network of its own.
"""

import sys

from sagemaker_pytorch_container import training
from sagemaker_training import torch_distributed
from sagemaker_training.cli import train

if __name__ == "__main__":
    training.MASTER_PORT = torch_distributed.MASTER_PORT = sys.argv[1]
    del sys.argv[1]
    train.main()
