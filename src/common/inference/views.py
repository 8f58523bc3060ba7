"""Test-time views, by the names under which prediction has had them."""

from common.data.views import make_squares as make_squares
from common.data.views import stack_views as stack_views
from common.views import PLAIN as PLAIN
from common.views import VIEW_SETS as VIEW_SETS
from common.views import VIEWS as VIEWS
from common.views import check_views as check_views
from common.views import read_views as read_views
