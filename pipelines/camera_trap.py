"""The camera-trap pipeline, from raw images to a submission: two phases, pseudo-labels, a quality gate.

python pipelines/camera_trap.py run --backend process --data demo
python pipelines/camera_trap.py definition --data s3://BUCKET/PREFIX --recipe swin_stage1
python pipelines/camera_trap.py cost --data s3://BUCKET/PREFIX --recipe swin_stage1
python pipelines/camera_trap.py upsert --data s3://BUCKET/PREFIX --output s3://BUCKET/OUT --role ROLE
python pipelines/camera_trap.py start --param EpochsPhase1=10
"""

import sys

if __name__ == "__main__":
    try:
        from trapline.console import run
        from trapline.pipeline.running import main

        run(main)
    except KeyboardInterrupt:  # while Python was still loading
        sys.exit(130)
