"""A run writes to files of its own, finds out before any work, and says what its figures are of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from support import BOARD, SMALL, a_result, changed, stages, write_board

from bench.board.matrix import parse
from bench.board.matrix import read as read_matrix
from bench.board.networks import read as networks
from bench.contract.errors import BenchError, refusal
from bench.records.files import read, split_valid, write
from bench.report import pictures
from bench.report.folder import page_of, write_tables
from bench.report.home import check_writable
from bench.report.numbers import board_of
from bench.report.published import read as in_print

Bench = Callable[..., Any]


def printed(folder: Path) -> object:
    return in_print(folder, board_of(parse(BOARD)))


@pytest.mark.parametrize("name", ["records", "images", "teachers"])
def test_a_link_in_the_place_of_a_folder_of_the_board_is_refused_before_any_work(
    bench: Bench, tmp_path: Path, name: str
) -> None:
    board = write_board(tmp_path / "board", **SMALL)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.png").write_bytes(b"mine")
    (board / name).symlink_to(other)
    done = bench("run", board, "--store", "store")
    assert done.code == 2
    assert f"{board / name} is a link to {other}" in done.err + done.out
    assert [path.name for path in other.iterdir()] == ["mine.png"]
    assert stages(tmp_path / "store") == {}


@pytest.mark.parametrize("name", ["records", "images"])
def test_a_place_that_cannot_be_written_to_is_found_before_any_work(
    bench: Bench, tmp_path: Path, name: str
) -> None:
    board = write_board(tmp_path / "board", **SMALL)
    (board / name).write_text("no folder")
    done = bench("run", board, "--store", "store")
    assert done.code == 2
    assert f"{board / name} cannot be written to" in done.err + done.out
    assert stages(tmp_path / "store") == {}


def test_a_board_that_can_be_written_to_is_left_as_it_is(tmp_path: Path) -> None:
    board = write_board(tmp_path / "board")
    check_writable(board)
    assert [path.name for path in board.iterdir()] == ["matrix.toml"]


def test_a_picture_that_no_run_has_drawn_stays(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    mine, old = images / "diagram.png", images / "d.a.hard.m.ipc-1.0123abcd.png"
    for file in (mine, old):
        file.write_bytes(b"png")
    board = write_board(tmp_path)
    pictures.write(tmp_path, board_of(parse_board(board)), [], {})
    assert mine.exists()
    assert not old.exists()


def parse_board(folder: Path) -> Any:
    from bench.board.matrix import read as matrix

    return matrix(folder)


def test_a_picture_is_not_written_through_a_link(tmp_path: Path) -> None:
    from bench.contract.files import write_bytes

    theirs = tmp_path / "theirs.png"
    theirs.write_bytes(b"theirs")
    (tmp_path / "ours.png").symlink_to(theirs)
    write_bytes(tmp_path / "ours.png", b"ours")
    assert theirs.read_bytes() == b"theirs"
    assert (tmp_path / "ours.png").read_bytes() == b"ours"


def test_a_full_disk_names_the_file_that_found_it_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.contract.files import write_bytes

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_bytes(tmp_path / "page.md", b"page")
    assert refusal(caught.value).startswith(f"{tmp_path / 'page.md'}: no space is left on the disk")


# ---- what is read of a board


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000 + "]" * 5000, "a = " + "9" * 5000, "\ufeffa ="]
)
def test_nonsense_in_any_file_of_a_board_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "teachers").mkdir()
    for name, reader in (("published.toml", printed), ("teachers/teachers.toml", networks)):
        (tmp_path / name).write_text(text)
        with pytest.raises(BenchError, match=Path(name).name) as told:
            reader(tmp_path)
        assert len(str(told.value)) < 400


def test_a_name_that_a_board_defines_is_no_longer_than_any_other() -> None:
    document = {
        "title": "t",
        "datasets": ["d"],
        "methods": ["m"],
        "ipc": [1],
        "architectures": ["a"],
        "attacks": ["clean"],
        "metrics": ["accuracy"],
    }
    parse({**document, "define": {"m" * 48: {"method": "x"}}})
    with pytest.raises(BenchError, match="at most 48"):
        parse({**document, "define": {"m" * 49: {"method": "x"}}})


# ---- what the figures are of

PAGE: dict[str, Any] = {
    "datasets": ["d"],
    "methods": ["m", "o", "p"],
    "controls": None,
    "ceiling": None,
    "ipc": [1],
    "architectures": ["a"],
    "attacks": ["x"],
    "metrics": ["right"],
    "seeds": [0, 1],  # of one seed nothing can be said
}


def _again(one: Any, n: int) -> Any:
    """A result of seed 1, a little off that of seed 0."""
    right = round(one.metrics["right"] + n / 10**4, 6)
    return structs.replace(one, seed=1, metrics={"right": right})


def page(folder: Path, *of_seed: Any) -> str:
    """The page of results of seed 0, and as many of seed 1 that are like them."""
    results = [*of_seed, *(_again(one, n) for n, one in enumerate(of_seed))]
    board = write_board(folder / "board", **PAGE)
    valid, refused = split_valid(results)
    assert refused == []
    write(board, valid)
    assert len(read(board)) == len(results)
    write_tables(board)
    page_of(board)
    return (board / "README.md").read_text()


def measured(method: str, right: float, **changes: Any) -> Any:
    content = {"set": method, "probe": method, **changes.pop("content", {})}
    metrics = {"right": right}
    scales = {"right": {"better": "higher", "unit": "fraction"}}
    return a_result(method=method, metrics=metrics, scales=scales, content=content, **changes)


def test_rows_of_two_teachers_of_one_seed_are_said_to_be_not_paired_and_none_is_the_best(
    tmp_path: Path,
) -> None:
    same = {"content": {"teacher": "one"}}
    text = page(tmp_path / "1", *(measured(m, r, **same) for m, r in (("m", 0.5), ("o", 0.6))))
    assert "**60.0" in text
    assert "not paired" not in text
    text = page(
        tmp_path / "2",
        measured("m", 0.5, **same),
        measured("o", 0.55, **same),
        measured("p", 0.6, content={"teacher": "two"}),
    )
    assert "not paired: another teacher of seeds 0, 1 than in other rows" in text
    assert "**60.0" not in text
    assert "**55.0" not in text


def test_rows_whose_teachers_are_meant_to_differ_are_not_called_unpaired(tmp_path: Path) -> None:
    text = page(
        tmp_path,
        measured("m", 0.5, content={"teacher": "one"}, about={"teacher": "a"}),
        measured("o", 0.6, content={"teacher": "two"}, about={"teacher": "b"}),
        measured("p", 0.4),
    )
    assert "not paired" not in text
    assert "**60.0" in text


def test_rows_of_two_protocols_are_said_to_be_so_and_none_is_the_best(tmp_path: Path) -> None:
    results = (
        measured(m, r, protocol=n) for m, r, n in (("m", 0.5, 4), ("o", 0.4, 4), ("p", 0.6, 3))
    )
    text = page(tmp_path, *results)
    assert "made under protocol 3, whose figures are not comparable" in text
    assert "**60.0" not in text


def test_a_row_of_another_torch_is_said_to_be_one_whatever_build_it_is(tmp_path: Path) -> None:
    torch = {"m": "2.14.1+cu130", "o": "2.14.1+cpu", "p": "2.11.0"}
    text = page(tmp_path, *(measured(m, 0.5, environment={"torch": v}) for m, v in torch.items()))
    assert text.count("made with torch 2.11.0, as other rows are not") == 1
    assert "torch 2.14.1" not in text


def test_a_page_of_partial_data_says_what_was_read_first_and_beside_each_row(
    tmp_path: Path,
) -> None:
    from bench.engine.results import _partial

    read = _partial({"train": [300, 60000], "test": [100, 10000]})
    data = {"digest": "1", "classes": "2", "partial": read}
    text = page(tmp_path, measured("m", 0.5, data=data), measured("o", 0.6, data=data))
    first = next(line for line in text.splitlines()[1:] if line and not line.startswith("<!--"))
    assert first.startswith("**Partial data**: d is 300 of 60,000 train images, 100 of 10,000 test")
    assert "partial data: 300 of 60,000 train images" in text
    assert changed(measured("m", 0.5, data=data)).data["partial"] == read


@pytest.mark.parametrize(
    "command",
    [
        ("site", "LOOP", "BOARD"),
        ("site", "out", "LOOP"),
        ("run", "BOARD", "--into", "LOOP"),
        ("run", "BOARD", "--store", "LOOP"),
        ("run", "LOOP"),
        ("leaderboard", "--check", "LOOP"),
        ("row", "LOOP", "noted"),
        ("store", "--store", "LOOP"),
        ("audit", "LOOP"),
    ],
    ids=" ".join,
)
def test_a_link_that_leads_back_to_itself_ends_in_one_sentence(
    bench: Bench, tmp_path: Path, command: tuple[str, ...]
) -> None:
    board, loop = write_board(tmp_path / "board", **SMALL), tmp_path / "loop"
    loop.symlink_to(loop)
    done = bench(*({"BOARD": board, "LOOP": loop}.get(word, word) for word in command))
    assert done.code == 2, done
    assert done.err.count("\n") == 1
    assert str(loop) in done.err
    assert "Errno" not in done.err


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_matrix_in_another_encoding_than_utf_8_is_said_to_be_so(
    tmp_path: Path, encoding: str
) -> None:
    board = write_board(tmp_path / "board", title="Zürich", **SMALL)
    (board / "matrix.toml").write_text('title = "Zürich"\n', encoding=encoding)
    with pytest.raises(BenchError, match=r"byte \d+ is not UTF-8; save the file as UTF-8"):
        read_matrix(board)


def test_a_submission_of_no_folder_is_not_blamed_on_git(bench: Bench, tmp_path: Path) -> None:
    done = bench("submit", tmp_path / "no-board")
    assert done.code == 2
    assert done.err.startswith(f"bench: there is no folder {tmp_path / 'no-board'}; expected")
