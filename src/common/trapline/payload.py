"""How much batch transform sends in one request, which is one image as it came.

An object above the limit of the job fails the whole job, so preparation keeps such images from it.
"""

PAYLOAD_MB = 20  # of the job; SageMaker takes at most 100 for all requests at a time together
# Of a file. AWS says MB and not whether they are 10^6 or 2^20 bytes: the smaller is right either way.
MAX_FILE_BYTES = PAYLOAD_MB * 10**6
