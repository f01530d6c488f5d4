"""Hostile requests by the hundred: refused as what they are, and never to the cost of others."""

import concurrent.futures
import importlib
import logging
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.serving.logs import _ours
from expnet_tf.serving.transports import Target, connect


@pytest.fixture(scope="module")
def hostile():
    """hostile.py and what it imports lie beside this file, where pytest's import mode does not look."""
    before = list(sys.path)
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        return importlib.import_module("hostile")
    finally:
        sys.path[:] = before


@pytest.fixture(scope="module")
def running(serve, put, tmp_path_factory):
    base = tmp_path_factory.mktemp("repository")
    put(base, "toy", 1)
    return serve(base)


def test_requests_are_made_from_a_seed(hostile):
    made = [[hostile.request(1, number, "toy", 32) for number in range(200)] for _ in range(2)]
    assert made[0] == made[1]
    assert made[0] != [hostile.request(2, number, "toy", 32) for number in range(200)]


def test_no_hostile_request_is_answered_as_the_servers_fault(running, hostile, crops, expected, caplog):
    """Four clients attack, and ask something valid in between, over either protocol."""

    def attack(first):
        outcomes = []
        with (
            hostile.Attacker(running.grpc, running.server.rest_port) as attacker,
            _closing(connect(running.rest if first % 2 else running.grpc)) as valid,
        ):
            for number in range(first, 600, 4):
                outcome = attacker.send(hostile.request(0, number, "toy", 32))
                outcomes.append((number, outcome))
                if number % 20 == first:
                    row = number % len(crops)
                    answer = valid.predict(Target("toy", None), crops[row : row + 1], 20)
                    np.testing.assert_allclose(answer["expression"][0], expected["expression"][row], atol=1e-3)
        return outcomes

    with caplog.at_level(logging.WARNING), concurrent.futures.ThreadPoolExecutor(4) as pool:
        outcomes = [one for part in pool.map(attack, range(4)) for one in part]
    assert [(number, one) for number, one in outcomes if one.fault] == []
    # `expnet serve` drops what aiohttp says of bytes that are no HTTP.
    assert [one for one in caplog.records if one.levelno >= logging.ERROR and _ours(one)] == []
    # Valid ones would be answered as well: the attack must have met with all kinds of refusal.
    codes = Counter(one.code for _, one in outcomes)
    assert codes["INVALID_ARGUMENT"] > 50
    assert codes["400"] > 50
    assert codes.keys() > {"OK", "200", "NOT_FOUND", "404", "RESOURCE_EXHAUSTED", "429", "UNIMPLEMENTED"}
    page = running.server.metrics.page().decode()
    assert 'expnet_workers{model="toy"} 2.0' in page
    assert 'expnet_worker_restarts{model="toy"} 0.0' in page


class _closing:
    def __init__(self, made):
        self._made = made

    def __enter__(self):
        return self._made

    def __exit__(self, *_):
        self._made.close()
