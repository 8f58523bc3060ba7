"""Every format that answers are written in. To add one, write its module and enter it here, and its name in
`trapline.option_values.FORMATS`.
"""

from collections.abc import Mapping

from trapline.formats.camtrap_dp import CAMTRAP_DP
from trapline.formats.coco import COCO
from trapline.formats.megadetector import MEGADETECTOR
from trapline.formats.settings import Format
from trapline.formats.table import CSV, PARQUET
from trapline.formats.timelapse import TIMELAPSE

WRITERS: Mapping[str, Format] = {
    format.name: format for format in (CSV, PARQUET, MEGADETECTOR, CAMTRAP_DP, TIMELAPSE, COCO)
}
