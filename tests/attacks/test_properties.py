"""Properties of a restoration, whatever the photograph: looked for by hypothesis, on the toy bundle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

from restore_sdk.bundle.manifest import dump_manifest, parse_manifest
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import InputError, MaskError, RestoreError
from tests.attacks.caught import error_of
from tests.conftest import make_photo
from tests.fuzz.targets import seeds

Pixels = NDArray[np.uint8]
Pair = tuple[Pixels, NDArray[np.generic]]

relaxed = settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def pairs(draw: st.DrawFn, largest: int = 330) -> Pair:
    """A photograph of any accepted form and size, and a mask of any accepted form with a hole and something known."""
    height, width = draw(st.integers(1, largest)), draw(st.integers(2, largest))
    channels = draw(st.sampled_from([0, 1, 3, 4]))
    photo = make_photo(height, width, draw(st.integers(0, 9)))
    image = {0: photo[..., 0], 1: photo[..., :1], 3: photo, 4: np.dstack((photo, photo[..., 1]))}[channels]
    mask = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(1, 3))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        box = draw(st.integers(1, 90)), draw(st.integers(1, 90))
        mask[y : y + box[0], x : x + box[1]] = draw(st.integers(128, 255))
    mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = draw(st.integers(0, 127))
    return np.ascontiguousarray(image), (mask > 127) if draw(st.booleans()) else mask


@pytest.mark.filterwarnings("ignore:.*the mask")
@relaxed
@given(chosen=st.lists(pairs(160), min_size=2, max_size=6))
def test_the_same_alone_in_a_batch_in_a_stream_in_any_thread(engine: RestoreEngine, chosen: list[Pair]) -> None:
    sound = [pair for pair in chosen if error_of(MaskError, engine.restore, *pair) is None]
    alone = [engine.restore(*pair) for pair in sound]
    batch = engine.restore_batch([image for image, _ in sound], [mask for _, mask in sound])
    stream = list(engine.stream(sound))
    with ThreadPoolExecutor(4) as pool:
        threads = list(pool.map(lambda pair: engine.restore(*pair), sound))
    for way in (batch, stream, threads):
        assert len(way) == len(alone)
        assert all(np.array_equal(one, other) for one, other in zip(way, alone, strict=True))


OPTIONS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=3), st.binary(max_size=3)
)


@relaxed
@given(dilate=OPTIONS, feather=OPTIONS, max_crops=OPTIONS, color=OPTIONS)
def test_options_of_any_type(
    engine: RestoreEngine, dilate: object, feather: object, max_crops: object, color: object
) -> None:
    """Taken, or refused as a whole, in words."""
    photo, mask = make_photo(40, 50), np.zeros((40, 50), bool)
    mask[10:20, 10:20] = True
    for options in ({"dilate": dilate}, {"feather": feather}, {"max_crops": max_crops}, {"color": color}):
        error = error_of(RestoreError, lambda chosen=options: engine.restore(photo, mask, **chosen))  # type: ignore[misc]
        assert error is None or (isinstance(error, InputError) and error.hint)


@relaxed
@given(
    name=st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=200),
    count=st.integers(0, 2**63 - 1),
    quality=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_manifests_come_back_as_they_were(name: str, count: int, quality: object) -> None:
    manifest = parse_manifest(seeds("manifest")[0])
    stage = replace(manifest.stages[0], parameters=count)
    changed = replace(manifest, name=name, stages=(stage, manifest.stages[1]), quality={"table": quality})
    again = parse_manifest(dump_manifest(changed))
    assert again.name == name
    assert again.stages[0].parameters == count
    assert dict(again.quality) == {"table": quality}
    assert dump_manifest(again) == dump_manifest(changed)
