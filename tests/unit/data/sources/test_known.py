"""What a header tells of its file."""

import pytest

from tests.helpers import kuairand_files as files
from watchline.data.sources.known import KUAIRAND_LOG, KUAIRAND_USERS, KUAIRAND_VIDEOS, recognise


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (files.LOG_HEADER, KUAIRAND_LOG),
        (files.USERS_HEADER, KUAIRAND_USERS),
        (files.VIDEOS_HEADER, KUAIRAND_VIDEOS),
        (['"session_id";"user_id";"item_id";"timeframe";"eventdate"'], "the item views of CIKM Cup 2016"),
    ],
)
def test_published_headers_are_recognised(header, name):
    assert recognise(header).startswith(name)


def test_other_headers_are_not():
    assert recognise(["user_id", "video_id", "rating"]) is None
    assert recognise([]) is None
