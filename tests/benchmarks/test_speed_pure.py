"""The benchmark of speed: sentences, roof, rounds, goals, meter."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from benchmarks.speed import cases, compare, cuda, growth, lifetime, plot, report, roof, rounds, scoring, sentences
from benchmarks.speed.environments import PINS, Environments, fingerprint, parse_given
from benchmarks.speed.steady import Pair
from benchmarks.speed.workers import BUSY, Failed, Meter, busy_note, environment

from lookright.metrics import evaluate_tags
from lookright.tags import Scheme, ill_formed


def a_round(case: str, seconds: float, **more: Any) -> rounds.Round:
    row = {
        "case": case,
        "activity": "train",
        "round": 0,
        "seconds": seconds,
        "tokens": 1000,
        "others": 0.0,
        "cpu_seconds": seconds,
    }
    return {**row, "roof_seconds": None, "forward_seconds": None, "peak_mb": 1.0, **more}


# ---------------------------------------------------------------------------------------------------------- sentences


def test_sentences_have_the_shape_of_conll_2003() -> None:
    rows = list(sentences.generate(3000, seed=0))
    lengths = [len(row["tokens"]) for row in rows]
    assert statistics.mean(lengths) == pytest.approx(14.5, abs=0.7)
    assert statistics.median(lengths) == pytest.approx(10, abs=1)
    assert 1 <= min(lengths) <= max(lengths) <= 113
    tags = [tag for row in rows for tag in row["tags"]]
    starts = sum(tag.startswith("B-") for tag in tags)
    assert starts / len(tags) == pytest.approx(23_499 / 203_621, abs=0.01)
    assert sum(tag != "O" for tag in tags) / starts == pytest.approx(1.45, abs=0.07)
    assert not any(ill_formed(row["tags"], Scheme.IOB2) for row in rows[:300])


def test_lengths_follow_the_quantiles() -> None:
    for share, length in sentences.QUANTILES:
        assert sentences.length(share) == pytest.approx(length, abs=0.51)
    assert [sentences.length(share / 100) for share in range(101)] == sorted(
        sentences.length(share / 100) for share in range(101)
    )


def test_the_same_seed_gives_the_same_sentences_and_another_one_others() -> None:
    assert list(sentences.generate(20, 3)) == list(sentences.generate(20, 3))
    assert list(sentences.generate(20, 3)) != list(sentences.generate(20, 4))
    assert {len(row["tokens"]) for row in sentences.generate(20, 3, words=7)} == {7}


def test_sentences_of_a_file_keep_their_words_and_get_the_labels_of_the_head(tmp_path: Path) -> None:
    file = tmp_path / "labeled.conll"
    file.write_text("Ada B-PER\nsaw O\nParis B-place\n. O\n\nYes O\n\n")
    rows = sentences.read(file, None)
    assert rows == [
        {"tokens": ["Ada", "saw", "Paris", "."], "tags": ["B-PER", "O", "B-MISC", "O"]},
        {"tokens": ["Yes"], "tags": ["O"]},
    ]
    assert len(sentences.read(file, 1)) == 1


# --------------------------------------------------------------------------------------------------------------- roof

LLAMA_2_7B = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "num_hidden_layers": 32,
}


def test_the_roof_of_a_forward_pass_is_two_operations_for_each_weight() -> None:
    layer, n_layers = roof.shapes_of(LLAMA_2_7B)
    found = n_layers * roof.operations(roof.products(1, layer, "forward"))
    assert found == 2 * 6_476_005_376  # the weights of Llama-2-7B without embeddings, norms and head


def test_grouped_keys_make_narrow_products() -> None:
    layer, _ = roof.shapes_of({**LLAMA_2_7B, "num_key_value_heads": 8})
    assert (5, 4096, 1024) in roof.products(5, layer, "forward")


def test_training_of_all_weights_is_three_products_for_each() -> None:
    layer = [roof.Linear(3, 7)]
    assert list(roof.products(5, layer, "full")) == [(5, 3, 7), (5, 7, 3), (7, 5, 3)]
    forward, full = (roof.operations(roof.products(5, layer, work)) for work in ("forward", "full"))
    assert full == 3 * forward


def test_training_of_adapters_leaves_out_the_gradients_of_frozen_weights() -> None:
    layer = [roof.Linear(30, 70), roof.Linear(30, 70, adapted=False)]
    found = list(roof.products(5, layer, "adapters", rank=2))
    assert found.count((5, 30, 70)) == found.count((5, 70, 30)) == 2
    assert (70, 5, 30) not in found
    assert roof.operations(iter(found)) == 2 * 2 * 2 * 5 * 30 * 70 + 3 * 2 * 5 * (30 * 2 + 2 * 70)


def test_only_the_named_layers_get_adapters() -> None:
    layer, _ = roof.shapes_of(LLAMA_2_7B, ["q_proj", "v_proj"])
    assert [linear.adapted for linear in layer] == [True, False, True, False, False, False, False]


def test_unknown_work_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        list(roof.products(1, [roof.Linear(1, 1)], "half"))


# ------------------------------------------------------------------------------------------------------------- rounds


def test_every_round_has_all_systems_in_an_order_of_its_own() -> None:
    names = [f"system {n}" for n in range(8)]
    orders = [rounds.order(names, number, seed=0) for number in range(6)]
    assert all(sorted(one) == names for one in orders)
    assert len({tuple(one) for one in orders}) > 1
    assert orders == [rounds.order(names, number, seed=0) for number in range(6)]
    assert orders != [rounds.order(names, number, seed=1) for number in range(6)]


def test_a_summary_is_the_median_the_range_and_the_share_of_the_roof() -> None:
    rows = [a_round("x", seconds, roof_seconds=1.0) for seconds in (2.0, 4.0, 5.0)]
    one = rounds.Summary.of("x", rows)
    assert (one.rate, one.low, one.high, one.rounds) == (250.0, 200.0, 500.0, 3)
    assert one.cpu_rate == 250.0
    assert one.roof == 25.0
    assert one.forward is None
    predicted = [{**row, "activity": "predict", "forward_seconds": 1.25} for row in rows]
    assert rounds.Summary.of("x", predicted).forward == 80.0


def test_rounds_with_others_at_work_are_counted_and_said() -> None:
    quiet, busy, unknown = (a_round("x", 1.0, others=others) for others in (BUSY / 2, 2 * BUSY, None))
    found = {"x": rounds.Summary.of("x", [quiet, busy])}
    assert found["x"].disturbed == 1
    assert "1 of 2 rounds" in (report.busy_line(found) or "")
    assert "busy" in report.figures("train", found, [], None, "2 threads")[0].unit
    assert report.busy_line({"x": rounds.Summary.of("x", [quiet])}) is None
    assert "does not tell" in (report.busy_line({"x": rounds.Summary.of("x", [unknown])}) or "")


def test_goals_compare_the_fastest_of_ours_with_the_fastest_of_theirs() -> None:
    speeds = {
        "LookRight float32, 16": 300, "LookRight float32, 32": 330, "LookRight bfloat16, 32": 900,
        "BiLLM example, 8": 80, "transformers Trainer, 8": 100, "transformers Trainer, 32, grouped": 110,
        "transformers Trainer bfloat16, 32": 200, "spaCy, no transformer": 5000,
    }  # fmt: skip
    rows = [a_round(name, 1000 / rate) for name, rate in speeds.items()]
    found = rounds.summaries(rows, "train")
    assert next(iter(found)) == "spaCy, no transformer"
    reached = {one.goal.ratio: one for one in rounds.reached(cases.TRAINING, found)}
    assert reached[3.0].ratio == pytest.approx(3.0)
    assert (reached[3.0].mine, reached[3.0].theirs) == ("LookRight float32, 32", "transformers Trainer, 32, grouped")
    assert reached[6.0].ratio == pytest.approx(900 / 110)
    assert reached[4.0].ratio == pytest.approx(4.5)
    assert "MISSED" not in "".join(report.goal_lines(list(reached.values())))
    slower = rounds.summaries([*rows, a_round("paper's loop, 16", 1000 / 200)], "train")
    assert "MISSED" in report.goal_lines(rounds.reached(cases.TRAINING, slower))[0]
    cells = report.table(found)
    assert cells[1][3] == f"{5000 / 200:.2f}"
    assert all(len(row) == len(cells[0]) for row in cells)


def test_every_goal_has_cases_and_names_are_unique() -> None:
    every = [*cases.TRAINING, *cases.COMPILED, *cases.PREDICTION]
    assert len({(case.activity, case.name) for case in every}) == len(every)
    found = {case.name: rounds.Summary.of(case.name, [a_round(case.name, 1.0)]) for case in every}
    assert [one.goal for one in rounds.reached(every, found)] == list(cases.GOALS)
    assert {case.family for case in cases.chosen(every, ["ours", "spacy"])} == {"ours", "spacy"}
    assert {case.environment for case in every} <= {"ours", *PINS}


def test_real_tokens_are_those_of_the_sentences(tmp_path: Path) -> None:
    file = tmp_path / "sentences.jsonl"
    sentences.write([{"tokens": ["a"], "tags": ["O"], "n_subwords": n} for n in (400, 600)], file)
    assert rounds.subwords(file) == 1000
    mine, cutting = cases.TRAINING[0], next(case for case in cases.TRAINING if case.family == "billm")
    for case, counted in ((mine, 1000), (mine, 1009), (cutting, 700)):
        rounds.check_tokens(case, counted, 1000)
    for case, counted in ((mine, 900), (mine, 1300), (cutting, 1300)):
        with pytest.raises(Failed, match="of 1,000 that there are"):
            rounds.check_tokens(case, counted, 1000)
    rounds.check_tokens(cases.ours("x", "predict", "float32", window=512), 1300, 1000)


def test_the_book_of_rounds_reads_what_it_wrote(tmp_path: Path) -> None:
    book = rounds.Book(tmp_path / "more" / "rounds.jsonl")
    assert book.rows() == []
    book.add(a_round("x", 1.0))
    book.add(a_round("y", 2.0))
    assert [row["case"] for row in book.rows()] == ["x", "y"]


# -------------------------------------------------------------------------------------------------------------- meter


def proc(
    folder: Path, total: list[int], own: dict[int, int], parents: Mapping[int, int] = MappingProxyType({})
) -> None:
    (folder / "stat").write_text("cpu " + " ".join(map(str, total)) + " 0 0\ncpu0 1 1\n")
    for pid, ticks in own.items():
        (folder / str(pid)).mkdir(exist_ok=True)
        half = str(ticks // 2)  # its own time, and that of its children; page faults stand before them
        fields = ["S", str(parents.get(pid, 1)), *["7777"] * 9, half, "0", "0", str(ticks - ticks // 2), *["7777"] * 5]
        (folder / str(pid) / "stat").write_text(f"{pid} (a (strange) name) " + " ".join(fields))


def test_the_meter_counts_what_others_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    clock = iter([100.0, 110.0])
    monkeypatch.setattr("benchmarks.speed.workers.time.monotonic", lambda: next(clock))
    proc(tmp_path, [0, 0, 0, 9, 9, 0, 0, 0], {7: 0, os.getpid(): 0})
    meter = Meter(7, tmp_path)
    # In ten seconds: 20 of processor time, 4 of them stolen; 12 are of the measured process, 1 of this one.
    proc(tmp_path, [10 * ticks, ticks, 5 * ticks, 99, 99, 0, 0, 4 * ticks], {7: 12 * ticks, os.getpid(): ticks})
    assert meter.others() == pytest.approx(0.7)


def test_the_meter_takes_descendants_for_the_measured_process_and_siblings_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks, own = os.sysconf("SC_CLK_TCK"), os.getpid()
    clock = iter([0.0, 10.0])
    monkeypatch.setattr("benchmarks.speed.workers.time.monotonic", lambda: next(clock))
    parents = {7: own, 8: 7, 9: 8, 10: own}  # 10 is another system, which should be idle
    proc(tmp_path, [0] * 8, dict.fromkeys((own, *parents), 0), parents)
    meter = Meter(7, tmp_path)
    proc(tmp_path, [20 * ticks, *[0] * 7], {own: 0, 7: ticks, 8: 8 * ticks, 9: 8 * ticks, 10: 3 * ticks}, parents)
    assert meter.others() == pytest.approx(0.3)


def test_the_meter_of_this_process_counts_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    clock = iter([0.0, 10.0])
    monkeypatch.setattr("benchmarks.speed.workers.time.monotonic", lambda: next(clock))
    proc(tmp_path, [0] * 8, {os.getpid(): 0})
    meter = Meter(os.getpid(), tmp_path)
    proc(tmp_path, [8 * ticks, *[0] * 7], {os.getpid(): 5 * ticks})
    assert meter.others() == pytest.approx(0.3)
    assert busy_note([0.0, None]) == ""
    assert "busy" in busy_note([0.0, 0.3, None])


def test_the_meter_says_that_it_does_not_know(tmp_path: Path) -> None:
    assert Meter(7, tmp_path).others() is None


def test_threads_do_not_wait_busily_and_gpus_are_hidden_from_the_cpu_part() -> None:
    env = environment(2, "cpu", {"HOME": "/somewhere", "OMP_NUM_THREADS": "64"})
    assert (env["OMP_NUM_THREADS"], env["OMP_WAIT_POLICY"], env["GOMP_SPINCOUNT"]) == ("2", "passive", "0")
    assert env["HOME"] == "/somewhere"
    assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in environment(2, "cuda", {})


# ------------------------------------------------------------------------------------------------------- environments


def test_given_interpreters_are_taken_as_they_are(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.touch()
    given = parse_given([f"billm={python}"])
    assert Environments(tmp_path, given).python("billm") == python
    for wrong in ("billm", f"nobody={python}", f"billm={tmp_path / 'nothing'}"):
        with pytest.raises(ValueError, match=wrong.split("=")[0]):
            parse_given([wrong])


def test_an_environment_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    home = tmp_path / "spacy"
    home.mkdir()
    (home / "pins.json").write_text(json.dumps(fingerprint("spacy")))
    assert Environments(tmp_path, {}).python("spacy") == home / "bin" / "python"
    assert fingerprint("spacy") != fingerprint("billm")


# -------------------------------------------------------------------------------------------------- what it comes to


def test_made_tags_are_scored_and_counted() -> None:
    made = scoring.tags(5_000, seed=0)
    assert sum(map(len, made["gold"])) >= 5_000
    scores = evaluate_tags(made["gold"], made["predicted"], Scheme.IOB2)
    assert 0.5 < scores.f1 < 0.95
    found = scoring.figures({"LookRight, strict": [0.2, 0.1, 0.3], "seqeval, strict": [2.0, 4.0, 3.0]}, 10**6)
    assert [figure.value for figure in found] == [0.2, 3.0, 15.0]
    assert [figure.goal for figure in found] == [1.0, None, None]
    busy = scoring.figures({"LookRight, strict": [0.2], "seqeval, strict": [2.0]}, 10**6, ", on a busy machine")
    assert all("busy" in figure.unit for figure in busy)


def test_memory_that_grows_is_not_flat() -> None:
    flat = lifetime.memory_figures([100, 300] + [310.0] * 98, 10**6, 100.0)
    assert "flat" in flat[1].unit
    assert "NOT" not in flat[1].unit
    assert flat[0].value == 310
    grown = lifetime.memory_figures([300 + step for step in range(100)], 10**6, 100.0)
    assert "NOT flat" in grown[1].unit
    assert lifetime.memory_figures([300.0] * 5, 100, 1.0)[0].value is None


def test_memory_of_a_process_is_counted() -> None:
    assert lifetime.held_mb(os.getpid()) > 10
    assert lifetime.held_mb(2**22 + 1) == 0


def test_a_difference_within_the_noise_of_seeds_is_told_from_one_beyond() -> None:
    within = Pair("a", (50.0, 51.0, 52.0), (50.5, 51.5, 51.0), -0.5, 0.5)
    beyond = Pair("b", (50.0, 50.1, 50.2), (51.0, 51.1, 51.2), -1.5, -0.5)
    assert within.verdict == "within seed noise"
    assert beyond.verdict == "BEYOND seed noise"
    assert beyond.difference == pytest.approx(-1.0)
    assert "one seed" in Pair("c", (50.0,), (60.0,), -11, -9).verdict
    assert "nothing was learned" in Pair("d", (0.0, 0.0), (0.0, 0.0), 0, 0).verdict


@pytest.mark.parametrize("given", [["--python", "spacy=/usr/bin/env"], ["--work", "/somewhere"], ["--quick"]])
def test_figures_of_a_trial_or_with_folders_of_one_machine_are_not_kept(
    given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["compare.py", "--record", *given])
    with pytest.raises(SystemExit):
        compare.arguments()


def test_growth_and_bars_become_a_picture(tmp_path: Path) -> None:
    rows = [
        {"axis": axis, "at": at, "what": "prediction", "us_per_token": 100.0 + at, "others": 1.0 if at > 1 else 0.0}
        for axis in ("sentences", "open layers")
        for at in (1, 2, 1000)
    ]
    assert [row[-1] for row in growth.cells(rows)[1:4]] == ["", "busy", "busy"]
    assert "busy" in growth.figures(rows, 2)[1].unit
    found = rounds.summaries([a_round("LookRight float32, 16", 1.0), a_round("transformers Trainer, 8", 3.0)], "train")
    file = tmp_path / "speed.png"
    plot.draw({"train": found, "predict": {}}, rows, file)
    assert file.read_bytes().startswith(b"\x89PNG")
    plot.draw({}, [], tmp_path / "nothing.png")
    assert not (tmp_path / "nothing.png").exists()


def test_rows_of_a_gpu_count_the_operations_of_adapters() -> None:
    plan = cuda.Plan("llama-2-7b", "bfloat16", adapters=True)
    names = {case.name for case in cuda.cases_of(plan, four_bit=True)}
    assert "LookRight 4-bit, LoRA, 32" in names
    assert "LookRight 4-bit, LoRA, 32" not in {case.name for case in cuda.cases_of(plan, four_bit=False)}
    fast, slow = "LookRight bfloat16, LoRA, 32", "transformers Trainer bfloat16, LoRA, 32"
    book = [a_round(fast, 1.0, batches=[1000], peak_gpu_mb=9.0), a_round(slow, 2.0, batches=[1000], peak_gpu_mb=9.0)]
    found = cuda.summed(book, LLAMA_2_7B, plan, rate=1e15)
    assert [row.case for row in found] == [fast, slow]
    assert found[0].share == pytest.approx(2 * found[1].share)
    assert 100 * 4 * 6.476e9 * 1000 / 1e15 < found[0].share < 100 * 4.1 * 6.476e9 * 1000 / 1e15
    goals = {figure.name: (figure.value, figure.goal) for figure in cuda.figures(found, plan)}
    assert goals["llama-2-7b, train, over transformers"] == (2.0, 2.5)
    assert len({len(row) for row in cuda.cells(found)}) == 1
