"""What the benchmark of texts says about finished runs, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.quality import texts as bench
from benchmarks.quality.runs import Answer, Job, Runs

from lookright.data import Target, Text, TextDataset

GOLD = ("a", "a", "b", "c")
OURS = {"mean": (("aabb", "accc"), 80.0), "last": (("bbbb", "bbbb"), 70.0)}
PEERS = {"tfidf": (("acba",), 90.0), "spacy": (("cccc",), 10.0)}


@pytest.fixture
def results(tmp_path: Path) -> list[bench.Result]:
    test = TextDataset(tuple(Text(str(i), labels=(label,)) for i, label in enumerate(GOLD)), Target.SINGLE)
    split = bench.Split("set", test, test, test)
    runs = Runs(tmp_path / "runs.jsonl")
    jobs: list[tuple[str, dict[str, Any], tuple[tuple[str, ...], float]]] = [
        *(("ours", {"plan": "0011", "recipe": {"pooling": pooling}}, said) for pooling, said in OURS.items()),
        *((peer, {}, said) for peer, said in PEERS.items()),
    ]
    for system, settings, (answers, dev) in jobs:
        for seed, labels in enumerate(answers):
            job = Job(system, split.name, seed, split.fingerprint, settings)
            answer = Answer([[label] for label in labels], 1.0, 1.0, dev / 100, {})
            runs.add(job, answer, ("accuracy", 0.5), held_out=True, cpu_seconds=1.0)
    return bench.results_on(split, list(runs.rows().values()), runs)


def test_dev_chooses_ours_and_test_the_peer(results: list[bench.Result]) -> None:
    ours, peer = bench.chosen(results)
    assert ours is not None
    assert peer is not None
    assert (ours.choice, peer.name) == (("0011", "mean"), "TF-IDF + logistic regression")
    assert (ours.test, peer.test, ours.seeds) == (62.5, 50.0, (0, 1))  # 3 and 2 of 4 right, and 2 of 4
    points, low, high = bench.difference(ours, peer)
    assert points == 12.5
    assert low <= points <= high
    pairs = [(how, one.name, other.name) for how, one, other in bench.pairs_of(results)]
    peers = (peer.name, "spaCy textcat (bag of words)")
    assert pairs == [(how, ours.name, other) for how in ("chosen on dev", "as it comes") for other in peers]
    assert not bench.pairs_of([one for one in results if one.ours])


def test_shared_errors_are_counted_over_all_pairs_of_seeds(results: list[bench.Result]) -> None:
    ours, peer = bench.chosen(results)
    assert ours is not None
    assert peer is not None
    # Ours: c as b, and in the other seed a as c and b as c; the peer: a as c, c as a. Each seed shares one mistake, and
    # one of the two the label as well: half a text on average, which rounds to none.
    line = bench.shared_errors(ours, peer)
    assert "LookRight 0011 mean 2, TF-IDF + logistic regression 2, both 1, of these 0 with the same wrong label" in line
    assert bench.shared_errors(peer, peer).endswith("both 2, of these 2 with the same wrong label")


def test_poolings_are_compared_where_all_sets_have_them(results: list[bench.Result]) -> None:
    lines = bench.pooling_lines({"one": results, "two": results}, as_markdown=True)
    assert lines[2].endswith("| 0011 | 70.00 / 25.00 | 80.00 / 62.50 |")
    only = [one for one in results if one.choice != ("0011", "last")]
    assert bench.pooling_lines({"one": results, "two": only}, as_markdown=True)[2].endswith(
        "\n| 0011 | 80.00 / 62.50 |"
    )
