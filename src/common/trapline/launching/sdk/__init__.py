"""The SageMaker Python SDK v2: its objects, and what is taken of its private parts.

Whoever imports anything of this room imports the SDK, which takes a second: late, therefore.
"""

import gc
import logging
import os
import warnings


def _import_quietly() -> None:
    """Import the SDK, without its telemetry and its notices about its version and defaults files."""
    os.environ.setdefault("SAGEMAKER_SUPPRESS_V2_WARNING", "1")
    for name in ("sagemaker", "sagemaker.config", "botocore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    gc.disable()  # a quarter of the import's time: it makes thousands of classes, and no garbage
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sagemaker.pytorch
        import sagemaker.telemetry.telemetry_logging
    gc.freeze()  # nor is there any to look for at the end, which would take another half second
    gc.enable()
    logging.getLogger("sagemaker.config").setLevel(logging.WARNING)  # the import sets it back
    logging.getLogger("sagemaker").setLevel(logging.CRITICAL)  # what it logs as an error, it raises too
    # It would report each call to its makers; opting out in its defaults file costs seconds.
    sagemaker.telemetry.telemetry_logging._send_telemetry_request = lambda *_, **__: None
    # It would validate its defaults file, done when it was read, at each look into it: 6 s of a launch.
    sagemaker.utils.validate_sagemaker_config = lambda *_: None


_import_quietly()
