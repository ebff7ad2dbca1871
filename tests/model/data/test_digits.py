"""Strips: pixels in their places, tokens after them, source digits on one side only."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from model.data.digits import (
    BLANK,
    StripWriter,
    draw_strips,
    load_source_digits,
    patch_table,
    render,
    split_digits,
    strips_eval,
    strips_per_window,
)


def test_render_equals_cutting_the_canvas() -> None:
    images, _ = load_source_digits()
    strip = np.array([[3, 500, BLANK, BLANK]], dtype=np.int16)
    canvas = np.zeros((8, 32), dtype=np.float32)
    canvas[:, :8], canvas[:, 8:16] = images[3] / 16, images[500] / 16
    patches = [canvas[:, column : column + 8].ravel() for column in range(0, 32, 8)]
    drawn = render(strip, patch_table(images))
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(drawn[0], np.array(patches))
    assert drawn.min() >= 0 and drawn.max() == 1


def test_window_by_hand() -> None:
    writer = StripWriter(
        labels=np.array([7, 4], dtype=np.uint8),
        digit_tokens=range(10, 20),
        image_token=1,
        end_token=0,
        context=17,
    )
    strips = np.array([[[0, 1, BLANK, BLANK], [1, BLANK, BLANK, BLANK]]], dtype=np.int16)
    tokens, weights, ids = writer.windows(strips)
    assert tokens[0].tolist() == [1] * 4 + [17, 14, 0] + [1] * 4 + [14, 0] + [0] * 5
    scored = np.flatnonzero(weights[0]) + 1  # places of the scored targets
    assert scored.tolist() == [4, 5, 6, 11, 12]
    assert ids[0].tolist() == [1] * 4 + [0] * 3 + [2] * 4 + [0] * 6


def test_split_by_source_digit() -> None:
    images, labels = load_source_digits()
    train, heldout = split_digits(images, 0)
    assert np.array_equal(np.sort(np.concatenate([train, heldout])), np.arange(len(images)))
    assert abs(heldout.size / len(images) - 0.2) < 0.01
    pixels = {images[one].tobytes() for one in train}
    assert not any(images[one].tobytes() in pixels for one in heldout)
    assert np.unique(labels[heldout]).size == 10


def test_drawn_strips_are_filled_from_the_left() -> None:
    pool = np.arange(5, 50)
    strips = draw_strips((500, 3), pool, np.random.default_rng(0), None)
    written = strips != BLANK
    assert (np.diff(written.astype(int), axis=2) <= 0).all() and written[..., 0].all()
    assert (
        np.bincount(written.sum(axis=2).ravel()).min(initial=10**9, where=[False] + [True] * 4)
        > 300
    )
    assert np.isin(strips[written], pool).all()


def test_strips_eval_has_answers_of_each_length() -> None:
    images, labels = load_source_digits()
    _, heldout = split_digits(images, 0)
    strips = strips_eval(9, images=images, labels=labels, pool=heldout, seed=1)
    assert [len(answer) for answer in strips.answers] == [1, 2, 3, 4, 1, 2, 3, 4, 1]
    assert strips.patches.shape == (9, 4, 64)
    again = strips_eval(9, images=images, labels=labels, pool=heldout, seed=1)
    assert again.answers == strips.answers
    assert (
        strips_eval(9, images=images, labels=labels, pool=heldout, seed=2).answers != again.answers
    )


def test_context_must_hold_a_strip() -> None:
    assert [strips_per_window(context) for context in (8, 16, 17, 64, 128)] == [1, 1, 2, 7, 14]
    with pytest.raises(ValueError, match="context = 7 must be >= 8"):
        strips_per_window(7)
