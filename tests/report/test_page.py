"""Pages: the whole text of a small board, and that nothing but results can change a byte."""

import random

import pytest
from small_board import ABOUT, BOARD, record
from support import as_result

from bench.contract.files import write_text
from bench.report.model import (
    COUNT,
    PERCENT,
    Column,
    Items,
    Name,
    Paragraph,
    Section,
    Span,
    Table,
    Value,
    budget,
)
from bench.report.numbers import Board
from bench.report.page import build as build_page
from bench.report.page import check, files


def build(board, made, **known):
    """The page of results given as JSON values."""
    return build_page(board, [as_result(one) for one in made], **known)


def render(board, made):
    return files(build(board, made))


def records():
    made = [
        record("alpha", 1, "none", 0, "11111110"),
        record("alpha", 1, "none", 1, "11111100"),
        record("alpha", 1, "weak", 0, "11110000", flags=["stronger than it should be"]),
        record("alpha", 1, "weak", 1, "11110000", flags=["a part of another"]),
        record("alpha", 1, "strong", 0, "00111100"),
        record("alpha", 1, "strong", 1, "00110000"),
        *(record("beta", 1, a, s, "") for a in BOARD.attacks for s in BOARD.seeds),
        *(record("dice", 1, "none", s, "11111100") for s in BOARD.seeds),
        record("dice", 1, "weak", 0, "11110000"),
        *(record("alpha", 10, "none", s, "11111111") for s in BOARD.seeds),
        *(record("beta", 10, "none", s, "11111110") for s in BOARD.seeds),
        *(record("all", 0, "none", s, "11111111", size=1797) for s in BOARD.seeds),
    ]
    for one in made:
        if one["method"] == "alpha" and one["ipc"] == 10:
            one["parameters"] = {"method": {"lam": 3.0, "teacher": "guarded"}, "teacher": {"k": 2}}
            one["metrics"]["distance"] = 12.3456 + one["seed"]
    return made


README = """\
# Toy \\<board>

- **blobs · small · hard labels**: IPC 1 alpha 81.2 (tied: dice); IPC 10 alpha 100.0 (tied: beta).

## blobs · small · hard labels

|      IPC | Method |   Rank |          right, none, % |                      weak, % |  Bytes | Passes |
| -------: | :----- | -----: | ----------------------: | ---------------------------: | -----: | -----: |
|        1 | alpha  | 1 to 2 |  **81.2 [44.5, 100.0]** | **50.0 [5.3, 94.7]** [1] [2] |  1,234 |      – |
|          | *dice* | 1 to 2 |  **75.0 [38.3, 100.0]** |                     50.0 [3] |  1,234 |      – |
|       10 | alpha  | 1 to 2 | **100.0 [63.3, 100.0]** |                            – | 10,234 |      – |
|          | beta   | 1 to 2 |  **87.5 [50.8, 100.0]** |                            – | 10,234 |      – |
| full set | all    |      – |     100.0 [63.3, 100.0] |                            – |    234 |      – |

- [1] flag: a part of another
- [2] flag: stronger than it should be
- [3] 1 of 2 seeds

- In brackets: 95 % intervals, over seeds and test images. **Bold**: not distinguishable from the best at 5 %. *Italics*: controls.
- Rank: the places that a row may have at 5 % (Holm). 0 of 2 adjacent ranks of this board are told apart.
- Passes: images that went through a network, forward or back, to make one set, its teacher included.

Generated from `matrix.toml` and `records/`, version `VERSION`; edits here are overwritten. In this folder:

```sh
bench run .  # measure the cells that are missing
bench run . --methods NAME --missing  # add a row
bench leaderboard .  # rebuild this page, table.csv and table.tex
bench site OUT .  # everything as HTML: plots, pictures, tables that sort
```

Figures are means; ± is the standard deviation over n = 2 seeds.

- IPC: images per class. Images, Bytes: what the condensed set weighs.
- –: not measured. n/a: declined, for the reason in the footnote.

## right, in percent (higher is better)

### blobs · small · hard labels

n = 2 seeds, 8 test images.

|      IPC | Method     | Images |  Bytes |            none |               weak [1] |      strong [2] |  robust linf 8/255 [3] |
| -------: | :--------- | -----: | -----: | --------------: | ---------------------: | --------------: | ---------------------: |
|        1 | alpha      |      2 |  1,234 |  **81.2 ± 8.8** | **50.0 ± 0.0** [4] [5] | **37.5 ± 17.7** | **25.0 ± 0.0** [6] [7] |
|          | beta       |      – |      – |         n/a [8] |                n/a [8] |         n/a [8] |                      – |
|          | *dice*     |      2 |  1,234 |  **75.0 ± 0.0** |               50.0 [9] |               – |                      – |
|       10 | alpha [10] |     20 | 10,234 | **100.0 ± 0.0** |                      – |               – |                      – |
|          | beta       |     20 | 10,234 |  **87.5 ± 0.0** |                      – |               – |                      – |
| full set | all        |  1,797 |    234 |     100.0 ± 0.0 |                      – |               – |                      – |

- [1] linf 8/255
- [2] linf 8/255; attack.steps = 100
- [3] share of the images that are right under all of none, weak, strong
- [4] flag: a part of another
- [5] flag: stronger than it should be
- [6] flag of weak: a part of another
- [7] flag of weak: stronger than it should be
- [8] needs \\<BatchNorm>
- [9] 1 of 2 seeds
- [10] method.lam = 3.0, method.teacher = "guarded", teacher.k = 2

Not run yet: IPC 10: dice.

## distance (lower is better)

### blobs · small · hard labels

n = 2 seeds, 8 test images.

|      IPC | Method    | Images |  Bytes |             none | weak [1] | strong [2] |
| -------: | :-------- | -----: | -----: | ---------------: | -------: | ---------: |
|        1 | alpha     |      – |      – |                – |        – |          – |
|          | beta      |      – |      – |          n/a [3] |  n/a [3] |    n/a [3] |
|          | *dice*    |      – |      – |                – |        – |          – |
|       10 | alpha [4] |     20 | 10,234 | **12.85 ± 0.71** |        – |          – |
|          | beta      |      – |      – |                – |        – |          – |
| full set | all       |      – |      – |                – |        – |          – |

- [1] linf 8/255
- [2] linf 8/255; attack.steps = 100
- [3] needs \\<BatchNorm>
- [4] method.lam = 3.0, method.teacher = "guarded", teacher.k = 2

## Components

- method **alpha**: Alpha | the first (Author, 2020).
- method **beta**: Beta.
- method **dice**: Real images by chance.
- attack **none**: No attack.
- attack **weak**: One step.
- attack **strong**: Many steps.
"""  # noqa: E501

TABLE = """\
dataset,architecture,labels,ipc,method,role,column,metric,mean,sd,n,images,size,bytes,low,high,rank_low,rank_high,tied
blobs,small,hard,1,alpha,method,none,right,0.812500,0.088388,2,8,2,1234,0.445007,1.000000,1,2,True
blobs,small,hard,1,alpha,method,weak,right,0.500000,0.000000,2,8,2,1234,0.053128,0.946872,1,1,True
blobs,small,hard,1,alpha,method,strong,right,0.375000,0.176777,2,8,2,1234,0.007507,0.742493,1,1,True
blobs,small,hard,1,alpha,method,robust linf 8/255,right,0.250000,0.000000,2,8,2,1234,0.000000,0.617493,1,1,True
blobs,small,hard,1,dice,control,none,right,0.750000,0.000000,2,8,2,1234,0.382507,1.000000,1,2,True
blobs,small,hard,1,dice,control,weak,right,0.500000,,1,8,2,1234,,,,,False
blobs,small,hard,10,alpha,method,none,right,1.000000,0.000000,2,8,20,10234,0.632507,1.000000,1,2,True
blobs,small,hard,10,alpha,method,none,distance,12.845600,0.707107,2,8,20,10234,6.492498,19.198702,1,1,True
blobs,small,hard,10,beta,method,none,right,0.875000,0.000000,2,8,20,10234,0.507507,1.000000,1,2,True
blobs,small,hard,0,all,ceiling,none,right,1.000000,0.000000,2,8,1797,234,0.632507,1.000000,,,False
"""  # noqa: E501


def test_a_small_board_has_this_page():
    assert files(build(BOARD, records(), version="VERSION"))["README.md"] == README


def test_a_small_board_has_this_table():
    assert render(BOARD, records())["table.csv"] == TABLE


def page(made, **changes):
    return render(Board(**{**vars(BOARD), **changes}), made)["README.md"]


METRICS = ("right, in percent", "distance")


def table_rows(text):
    """The cells of the first table of results, without its rule."""
    results = next(part for part in text.split("\n\n## ") if part.startswith(METRICS))
    lines = [line for line in results.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_a_page_is_a_value_whose_numbers_are_numbers():
    small = {"ipc": (1,), "attacks": ("none",), "metrics": ("right",), "ceiling": ()}
    made = [
        record("alpha", 1, "none", 0, "1110"),
        record("alpha", 1, "none", 1, "1100"),
        *(record("beta", 1, "none", s, "") for s in (0, 1)),
        record("dice", 1, "none", 0, "1110", parameters={"method": {"sides": 6}}),
    ]
    page = build(Board(**{**vars(BOARD), **small, "methods": ("alpha", "beta", "gamma")}), made)
    sd = 0.125 * 2**0.5
    weights = (Value(2, form=COUNT), Value(1234, form=COUNT))
    rows = (
        (budget(1), Name("alpha", "method"), *weights, Value(0.625, sd, 2, PERCENT, best=True)),
        (
            *(budget(1), Name("beta", "method"), Value(form=COUNT), Value(form=COUNT)),
            Value(declined=True, notes=("needs <BatchNorm>",)),
        ),
        (
            *(budget(1), Name("dice", "control", ("method.sides = 6",)), *weights),
            Value(0.75, None, 1, PERCENT, notes=("1 of 2 seeds",)),
        ),
    )
    columns = (
        Column("IPC", key=True, merged=True),
        Column("Method", key=True, left=True),
        *map(Column, ("Images", "Bytes", "none")),
    )
    table = Table(columns, rows, (("n = 2 seeds, 4 test images.",),))
    place = Section(
        "blobs · small · hard labels", (table, Paragraph(("Not run yet: IPC 1: gamma.",)))
    )
    assert page.title == "Toy <board>"
    assert page.results == (Section("right, in percent (higher is better)", (place,)),)
    about = {"method": ("alpha", "beta", "dice"), "attack": ("none",)}
    items = [
        (f"{kind} ", Span(name, "strong"), f": {ABOUT[name]}")
        for kind, names in about.items()
        for name in names
    ]
    assert page.rest == (Section("Components", (Items(tuple(items)),)),)
    axes = ("blobs", "small", "hard", 1)
    assert page.figures.columns == tuple(TABLE.splitlines()[0].split(","))
    assert [row[:-5] for row in page.figures.rows] == [
        (*axes, "alpha", "method", "none", "right", 0.625, sd, 2, 4, 2, 1234),
        (*axes, "dice", "control", "none", "right", 0.75, None, 1, 4, 2, 1234),
    ]
    assert [row[-5:] for row in page.figures.rows] == [
        (0.0, 1.0, 1, 1, True),
        (None, None, None, None, False),
    ]


def test_two_builds_of_a_page_are_equal_also_where_a_spread_is_not_known():
    alone = Board(**{**vars(BOARD), "seeds": (0,)})
    assert build(alone, records()) == build(alone, records()[::-1])


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_records_changes_no_byte(seed):
    shuffled = records()
    random.Random(seed).shuffle(shuffled)
    assert render(BOARD, shuffled) == render(BOARD, records())


def test_a_set_costs_a_teacher_where_one_labels_it_and_nowhere_else():
    board = Board(**{**vars(BOARD), "labels": ("hard", "teacher"), "ipc": (1,)})
    spent = {"teacher": {"forward": 30, "backward": 12}, "set": {}}
    made = [
        record("dice", 1, "none", 0, "11111110", content={"set": "s"}, passes={"set": {}}),
        record("dice", 1, "none", 0, "11111110", labels="teacher", passes=spent)
        | {"content": {"set": "s", "teacher": "t"}},
    ]
    rows = [r for r in render(board, made)["README.md"].splitlines() if "*dice*" in r]
    costs = [row.split("|")[-2].strip() for row in rows[:2]]
    assert costs == ["0", "42"]


def test_time_and_place_change_no_byte():
    elsewhere = [
        one | {"seconds": {"train": 9.9}, "environment": {"machine": "other"}} for one in records()
    ]
    assert render(BOARD, elsewhere) == render(BOARD, records())


def test_a_board_without_records_says_so():
    made = render(BOARD, [])
    assert made["README.md"].endswith("\n\nNo records yet.\n")
    assert made["table.csv"] == TABLE.splitlines()[0] + "\n"


def test_records_off_the_board_change_no_byte():
    stranger = record("gamma", 1, "none", 0, "11111111")
    assert render(BOARD, [*records(), stranger]) == render(BOARD, records())


def test_one_seed_shows_no_spread():
    text = page(records(), seeds=(0,))
    assert "±" not in text
    assert "n = 1 seed, 8 test images." in text
    assert "Every figure is of one seed" in text


def test_what_is_not_distinguishable_from_the_best_shares_the_bold():
    """Of 400 images 98, 97.5 and 50 % are right: the first two may be equal, the third may not."""
    rates = {"alpha": "1" * 392 + "0" * 8, "beta": "1" * 390 + "0" * 10, "dice": "10" * 200}
    made = [record(m, 1, "none", s, bits) for m, bits in rates.items() for s in (0, 1)]
    rows = table_rows(page(made, ipc=(1,), attacks=("none",)))
    assert [row[-1].split(" ")[0] for row in rows[2:]] == ["**98.0", "**97.5", "50.0"]


def test_a_seed_that_is_declined_leaves_the_others_with_two_footnotes():
    made = [record("alpha", 1, "none", 0, "1110"), record("alpha", 1, "none", 1, "")]
    text = page(made)
    assert "75.0 [1] [2]" in text
    assert "- [1] needs \\<BatchNorm>\n- [2] 1 of 2 seeds\n" in text


def test_a_board_where_all_is_declined_says_why():
    text = page([record("alpha", 1, "none", 0, "")])
    assert "n/a [1]" in text
    assert "- [1] needs \\<BatchNorm>\n" in text
    assert "## right\n" in text


def test_settings_of_an_attack_that_differ_by_cell_stand_on_the_cells():
    made = [
        record("alpha", 1, "weak", 0, "1110"),
        record("beta", 1, "weak", 0, "1100", eps=0.3, parameters={"attack": {"eps": 0.3}}),
    ]
    text = page(made, seeds=(0,), attacks=("weak",), ipc=(1,))
    header, _, alpha, beta = table_rows(text)
    assert header[-1] == "weak"
    assert (alpha[-1], beta[-1]) == ("75.0 [1]", "50.0 [2]")
    assert "- [1] linf 8/255\n- [2] linf 0.3\n" in text


def test_a_metric_that_declines_everywhere_stands_on_the_page_with_its_reason():
    made = [record("alpha", 1, "none", s, "1110", refused={"distance": "few"}) for s in (0, 1)]
    [section] = page(made).split("\n## distance\n")[1:]
    assert "n/a [" in section
    assert "- [1] few\n" in section
    assert "\n## distance" not in page([record("alpha", 1, "none", 0, "1110")])


def test_a_default_beside_a_setting_is_not_footnoted_as_that_setting():
    made = [
        record("alpha", 1, "none", 0, "1110"),
        record("beta", 1, "none", 0, "1100", parameters={"attack": {"k": 1}}),
    ]
    header, _, alpha, beta = table_rows(page(made, seeds=(0,), attacks=("none",), ipc=(1,)))
    assert (header[-1], alpha[-1], beta[-1]) == ("none", "75.0", "50.0 [1]")


def test_a_board_without_test_images_counts_none():
    made = [
        record("alpha", 1, "none", s, "1", images=0, images_hash="", correct="") for s in (0, 1)
    ]
    assert "\nn = 2 seeds.\n" in page(made)


def test_settings_of_the_architecture_stand_in_the_caption():
    made = [record("alpha", 1, "none", 0, "1110", parameters={"architecture": {"width": 32}})]
    assert "n = 2 seeds, 4 test images, architecture.width = 32.\n" in page(made)


def test_columns_line_up_in_plain_text_whatever_the_alphabet():
    made = [record(m, 1, "none", s, "1110") for m in ("方法", "me\u0301thode") for s in (0, 1)]
    text = page(made, methods=("方法", "me\u0301thode"))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    widths = {len(line) + line.count("方法") * 2 - line.count("\u0301") for line in lines}
    assert len(widths) == 1


def test_a_bar_in_a_name_breaks_no_table():
    made = [record("a|b", 1, "none", 0, "1110")]
    text = page(made, methods=("a|b",), controls=())
    table = text.split("\n\n## right")[1]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} == {8}


def test_check_names_the_files_that_differ_or_are_missing(tmp_path):
    made = render(BOARD, records())
    assert check(tmp_path, made) == ["README.md", "table.csv", "table.tex"]
    for name, text in made.items():
        write_text(tmp_path / name, text)
    assert check(tmp_path, made) == []
    (tmp_path / "README.md").write_bytes(made["README.md"].replace("\n", "\r\n").encode())
    assert check(tmp_path, made) == ["README.md"]


def test_files_that_stay_the_same_are_not_touched(tmp_path):
    write_text(tmp_path / "a", "one")
    write_text(tmp_path / "b", "two")
    before = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    write_text(tmp_path / "a", "one")
    write_text(tmp_path / "b", "three")
    after = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    assert before["a"] == after["a"]
    assert before["b"] != after["b"]
    assert (tmp_path / "b").read_text() == "three"


def with_recipes(**lr):
    """The sound records of one method and another, each with a recipe by seed."""
    made = [dict(one) for one in records() if one["status"] == "ok"]
    for one in made:
        one["recipe"] = {"steps": 300, "lr": lr.get(f"{one['method']}{one['seed']}", 0.1)}
    return made


def test_the_recipe_stands_in_the_caption():
    assert "Recipe: steps = 300, lr = 0.1." in page(with_recipes())


def test_a_cell_that_was_trained_by_another_recipe_says_so():
    odd = page(with_recipes(dice0=0.5, dice1=0.5))
    assert "another recipe: lr = 0.5" in odd
    assert "another recipe" not in page(with_recipes())


def test_seeds_of_other_recipes_are_not_averaged_in_silence():
    mixed = page(with_recipes(alpha0=0.5))
    assert "mixed: seeds differ in recipe.lr" in mixed
    assert "mixed" not in page(with_recipes())
    assert "mixed" not in page(with_recipes(alpha0=0.5, alpha1=0.5))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"digest": "other"}}, "mixed: seeds differ in data.digest"),
        ({"images_hash": "other"}, "mixed: seeds differ in images_hash"),
        ({"code": {"method": "other"}}, "mixed: seeds differ in method's code"),
        ({"parameters": {"method": {"lam": 3}}}, "mixed: seeds differ in method.lam"),
    ],
)
def test_whatever_the_seeds_of_a_figure_differ_in_is_named(changes, said):
    made = [record("alpha", 1, "none", s, "1110") for s in (0, 1)]
    for one in made:
        one |= {"data": {"digest": "one"}, "code": {"method": "one"}}
    assert "mixed" not in page(made)
    made[1] |= changes
    assert said in page(made)


@pytest.mark.parametrize(
    ("changes", "said", "bold"),
    [
        ({"data": {"digest": "other"}}, "another version of the data", False),
        ({"images_hash": "other"}, "other images", False),
        (
            *({"parameters": {"architecture": {"width": 16}}},),
            *('other settings: architecture = {"width": 16}', True),
        ),
    ],
)
def test_a_row_unlike_its_table_says_so_once_and_other_data_leave_no_bold(changes, said, bold):
    made = [record(m, 1, "none", s, "1110") for m in ("alpha", "beta", "dice") for s in (0, 1)]
    for one in made:
        one |= {"data": {"digest": "one"}, "code": {"architecture": "c"}}
    for one in made[2:4]:
        one |= changes
    text = page(made, ipc=(1,), attacks=("none",))
    rows = table_rows(text)
    figure = "**75.0 ± 0.0**" if bold else "75.0 ± 0.0"
    assert [row[-1] for row in rows[2:]] == [figure, f"{figure} [1]", figure]
    assert text.count(said) == 1
    assert "width" not in text.split("|")[0]  # the caption is that of most


def test_a_recipe_that_the_board_gives_to_a_budget_is_a_note_of_its_rows_alone():
    """The caption is that of the rows without the note, even if they are the fewer."""
    made = []
    for ipc, steps in ((1, 100), (10, 300)):
        of_ipc = {"parameters": {"recipe": {"steps": 100}}} if ipc == 1 else {"parameters": {}}
        for method in ("alpha", "beta")[: 1 if ipc == 10 else 2]:
            recipe = {"steps": steps, "lr": 0.1}
            made.append(record(method, ipc, "none", 0, "1110", recipe=recipe, **of_ipc))
    text = page(made, seeds=(0,), attacks=("none",))
    assert "Recipe: steps = 300, lr = 0.1." in text
    assert text.count("recipe.steps = 100") == 1
    assert "another recipe" not in text


def test_attacks_of_another_making_are_not_joined_in_silence():
    made = [record("alpha", 1, a, 0, "1110") for a in BOARD.attacks]
    for one in made:
        one["code"] = {
            "method": "old" if one["attack"] == "none" else "new",
            "attack": one["attack"],
        }
    text = page(made, seeds=(0,), ipc=(1,))
    assert table_rows(text)[2][-1] == "75.0 [4]"
    assert "- [4] mixed: attacks differ in method's code\n" in text


def test_a_figure_that_is_not_there_is_not_remarked_on():
    made = with_recipes(alpha0=0.5)
    text = page([one for one in made if one["ipc"] == 1]).split("## distance")
    assert len(text) == 1 or "mixed" not in text[1]


def test_validation_records_are_not_shown_as_test_figures():
    made = [dict(record, evaluate="validation") for record in records()]
    assert "No records yet." in page(made)
    assert "validation images" in page(made, evaluate="validation")


# ---- the generation track

SAMPLED = {
    "track": "generation",
    "attacks": (),
    "samplers": ("few", "many"),
    "checkpoints": (1000,),
    "metrics": ("distance", "right"),
    "ceiling": ("all", "real"),
    "ipc": (1,),
    "seeds": (0,),
}
RECIPE = {"steps": 4000, "checkpoints": [1000], "ema": 0.999, "lr": 0.001}


def sampled(method, ipc, sampler, step, distance, **changes):
    found = record(method, ipc, "none", 0, "1110")
    for name in ("attack", "correct", "norm", "eps"):
        del found[name]
    scale = {"better": "lower", "features": "net-1234abcd"}
    return (
        found
        | {"sampler": sampler, "step": step, "metrics": {"distance": distance}}
        | {"about": {"sampler": f"Sampler {sampler}.", "attack": "?"}, "recipe": RECIPE}
        | {"parameters": {"sampler": {"steps": 50}} if sampler == "many" else {}}
        | {"scales": {"distance": scale}}
        | changes
    )


def samples():
    return [
        sampled("alpha", 1, "few", 1000, 2.0),
        sampled("alpha", 1, "few", 0, 1.5),
        sampled("dice", 1, "few", 0, 1.75),
        sampled("dice", 1, "many", 0, 2.5),
        sampled("alpha", 1, "many", 0, 0.0, status="unsupported", reason="straight", metrics={}),
        *(drawn(s, t) for s in ("few", "many") for t in (1000, 0)),
    ]


def drawn(sampler, step):
    """Of images that no sampler made, and no student."""
    nothing = {"about": {"other": "?"}, "parameters": {}, "recipe": {}}
    return sampled("real", 0, sampler, step, 0.25, **nothing)


def test_a_table_of_samples_names_network_samplers_and_steps():
    text = page(samples(), **SAMPLED)
    assert "## distance-net-1234abcd (lower is better)\n\n### blobs · small\n" in text
    assert "hard labels" not in text
    header, _, alpha, dice, real = table_rows(text)
    assert header[4:] == ["few @ 1,000", "few", "many @ 1,000", "many [1]"]
    # of one seed without test images nothing can be said: no bold
    assert alpha[4:] == ["2", "1.5", "–", "n/a [2]"]
    assert dice[1:2] + dice[4:] == ["*dice*", "–", "1.75", "–", "2.5"]
    assert real[:2] + real[4:] == ["full set", "real", *["0.25"] * 4]
    assert "- [1] sampler.steps = 50\n- [2] straight\n" in text
    assert "n = 1 seed, 4 test images. Recipe: steps = 4000, checkpoints = [1000]." in text
    assert "- sampler **few**: Sampler few.\n- sampler **many**: Sampler many.\n" in text
    assert "?" not in text


def test_a_table_in_csv_has_the_columns_of_samples():
    made = render(Board(**{**vars(BOARD), **SAMPLED}), samples())
    lines = made["table.csv"].splitlines()
    assert lines[1] == (
        'blobs,small,hard,1,alpha,method,"few @ 1,000",distance,2.000000,,1,4,2,1234,,,,,False'
    )
    assert len(lines) == 1 + 8


def test_the_order_of_samples_changes_no_byte():
    board = Board(**{**vars(BOARD), **SAMPLED})
    assert render(board, samples()[::-1]) == render(board, samples())


def test_a_row_of_one_seed_is_ahead_of_those_with_a_rank_and_tied_with_none():
    made = [
        record("alpha", 1, "none", 0, "11111111"),
        *(record("beta", 1, "none", s, "11111000") for s in BOARD.seeds),
        *(record("dice", 1, "none", s, "11110000") for s in BOARD.seeds),
    ]
    text = render(BOARD, made)["README.md"]
    said = "IPC 1 alpha 100.0 (not ranked), then beta 62.5 (tied: dice)."
    assert f"- **blobs · small · hard labels**: {said}" in text
    alone = render(BOARD, made[:1])["README.md"]
    assert "IPC 1 alpha 100.0 (not ranked)." in alone
    assert "- [1] 1 of 2 seeds\n\n- In brackets" in alone


def test_the_first_screen_says_what_recovery_added_to_the_start_of_a_row():
    """In points, with its interval; rows without a start have none, and no starts no column."""
    made = [
        record(method, 1, "none", seed, "1" * right + "0" * (400 - right))
        for method, right in (("alpha", 300), ("beta", 200), ("dice", 290))
        for seed in (0, 1)
    ]
    board = Board(**{**vars(BOARD), "starts": {"alpha": "beta"}})

    def screen(board):
        (table,) = [
            table
            for section in build(board, made).summary
            if isinstance(section, Section)
            for table in section.blocks
            if isinstance(table, Table)
        ]
        return table

    table = screen(board)
    at = [column.name for column in table.columns].index("Over its start")
    cells = {row[1].text: row[at] for row in table.rows}
    assert cells["alpha"].mean == pytest.approx(0.25)
    low, high = cells["alpha"].interval
    assert 0.2 < low < 0.25 < high < 0.3
    assert [cells[name].mean for name in ("beta", "dice")] == [None, None]
    assert "Over its start" not in [column.name for column in screen(BOARD).columns]


def test_what_has_no_best_row_stands_beside_the_main_metric_on_the_first_screen():
    scales = {
        "distance": {"better": "lower"},
        "right": {"better": "neither", "unit": "fraction"},
    }
    both = {"metrics": {"distance": 2.0, "right": 0.65}, "scales": scales}
    made = [
        sampled("alpha", 1, "few", 0, 2.0, **both),
        sampled("dice", 1, "few", 0, 2.0, **both | {"metrics": {"distance": 3.0}}),
    ]
    text = page(made, **SAMPLED)
    lines = [line for line in text.split("Generated from")[0].splitlines() if line[:1] == "|"]
    header, _, alpha, dice = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert header[3:5] == ["distance, few", "right, %"]
    assert (alpha[4], dice[4]) == ("65.0", "–")
    assert "By right no row is the best: how distance is to be read depends on it." in text
    of_set = {"lies": {"better": "neither", "of": "set"}} | scales
    figures = {"metrics": {"distance": 2.0, "right": 0.65, "lies": 0.5}, "scales": of_set}
    text = page(
        [sampled("alpha", 1, "few", 0, 2.0, **figures)],
        **SAMPLED | {"metrics": ("distance", "right", "lies")},
    )
    assert "| right, % | lies |" in " ".join(text.split())  # how the set itself lies, too
    assert "By right and lies no row is the best" in text
    ranked = {name: one | {"better": "lower"} for name, one in scales.items()}
    same = page([one | {"scales": ranked} for one in made], **SAMPLED)
    assert "no row is the best" not in same
