"""Put torchvision's ImageNet weights where jobs without internet find them: in S3, or in a folder."""

from trapline.console import run
from trapline.launching.commands.stage_weights import main

if __name__ == "__main__":
    run(main)
