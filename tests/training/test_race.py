"""The race between ways to do the same work, on a clock that a test moves."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from trapline.training.speed import MAX_IMAGES, MIN_JOB_SECONDS, SECONDS, SHARE, Course, race

MANY = {"batch": 32, "images": None}


@dataclass
class Track:
    """Seconds of an image each way, in a whole batch where that differs, and of a first step besides."""

    an_image: dict[str, float]
    in_a_batch: dict[str, float] = field(default_factory=dict)
    first: float = 0.0
    spent: float = 0.0
    steps: list[tuple[str, int]] = field(default_factory=list)

    def step(self, way, images):
        rate = self.in_a_batch.get(way, self.an_image[way]) if images > MAX_IMAGES else self.an_image[way]
        seconds = images * rate + (self.first if way not in [done for done, _ in self.steps] else 0.0)
        self.spent += seconds
        self.steps.append((way, images))
        return seconds

    def run(self, batch, images, **options):
        return race(list(self.an_image), Course(self.step, lambda: self.spent), batch, images, **options)

    def count(self, way):
        return sum(done == way for done, _ in self.steps)


def test_the_fastest_way_is_taken():
    track = Track({"plain": 0.010, "other": 0.008, "best": 0.006, "worst": 0.011})
    assert track.run(**MANY).best == "best"


def test_where_there_is_no_choice_nothing_is_done():
    track = Track({"only": 1.0})
    assert track.run(**MANY).best == "only"
    assert track.steps == []


def test_a_short_job_is_done_the_plain_way_after_a_look_at_that_alone():
    track = Track({"plain": 0.010, "best": 0.001})
    result = track.run(batch=32, images=0.9 * MIN_JOB_SECONDS / 0.010)
    assert (result.best, result.short) == ("plain", True)
    assert track.count("best") == 0


def test_a_way_that_takes_more_than_twice_as_long_is_soon_out():
    track = Track({"plain": 0.010, "twice": 0.021, "hopeless": 0.100})
    track.run(**MANY)
    assert (track.count("twice"), track.count("hopeless")) == (2, 1)
    assert track.count("plain") > 3


def test_what_a_first_step_sets_up_does_not_shut_out_the_best():
    track = Track({"plain": 0.010, "best": 0.006}, first=0.100)
    assert track.run(**MANY).best == "best"


def test_a_difference_that_is_none_leaves_the_plain_way():
    track = Track({"plain": 0.0101, "other": 0.0100})
    assert track.run(**MANY).best == "plain"


def test_a_long_job_decides_by_whole_batches():
    ways = {"plain": 0.02, "cramped": 0.015, "roomy": 0.02}
    track = Track(ways, in_a_batch={"plain": 0.08, "cramped": 0.08, "roomy": 0.02})
    result = track.run(batch=64, images=1e6)
    assert result.best == "roomy"
    assert [heat.images for heat in result.heats] == [MAX_IMAGES, 64]


def test_without_time_for_whole_batches_few_images_decide():
    track = Track({"plain": 0.10, "best": 0.08}, in_a_batch={"best": 1.0})
    result = track.run(batch=64, images=400)
    assert result.best == "best"
    assert max(images for _, images in track.steps) <= MAX_IMAGES


def test_where_batches_cost_nothing_they_alone_are_tried():
    track = Track({"plain": 1e-4, "best": 5e-5})
    result = track.run(batch=256, images=None, whole_batches=True)
    assert result.best == "best"
    assert {images for _, images in track.steps[2:]} == {256}


def test_no_step_is_larger_than_the_batch_of_the_job():
    track = Track({"plain": 0.01, "best": 0.005})
    assert track.run(batch=1, images=None).best == "best"
    assert {images for _, images in track.steps} == {1}


def test_a_way_that_fails_is_not_taken():
    track = Track({"plain": 0.01, "broken": float("inf")})
    assert track.run(**MANY).best == "plain"


def test_of_ways_that_all_fail_the_plain_one_is_left_to_say_why():
    track = Track({"plain": float("inf"), "other": float("inf")})
    assert track.run(**MANY).best == "plain"
    assert track.run(batch=32, images=1000).best == "plain"


def test_a_machine_with_other_work_does_not_make_a_short_job_long():
    slow, busy = iter([1.0, 1.0]), iter([0.0, 0.01])
    course = Course(lambda way, images: next(slow), lambda: 0.0, lambda: next(busy))
    assert race(["plain", "other"], course, batch=8, images=100).short


@given(
    st.lists(st.floats(1e-4, 2.0), min_size=2, max_size=4),
    st.integers(1, 512),
    st.none() | st.floats(1, 1e7),
)
def test_measuring_takes_its_share_of_the_job_and_finds_what_is_fastest(rates, batch, images):
    track = Track({str(number): rate for number, rate in enumerate(rates)})
    result = track.run(batch, images)
    allowed = SECONDS if images is None else max(SECONDS, SHARE * images * rates[0])
    largest = max((count * track.an_image[way] for way, count in track.steps), default=0.0)
    assert track.spent <= allowed + 4 * min(2, batch) * rates[0] + len(rates) * largest
    if not result.short:
        tried = {way: track.an_image[way] for heat in result.heats for way in heat.seconds}
        assert track.an_image[result.best] <= 1.04 * min(tried.values())
