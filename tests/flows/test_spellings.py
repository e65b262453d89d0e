"""One way to name a study on the command line, and the former spellings, each with a line that says how it is now."""

import pytest

from flows.commands import STAGES, parser
from flows.spellings import CONFIGURED, OF_A_FOLDER, present

REST = {
    "query": ["select 1"],
    "edit": ["--concept", "tree"],
    "thresholds": ["--out", "x.tsv"],
    "export-site": ["site"],
}
SERVE = ["serve", "a.yaml", "--root", "runs/a", "--cron", "0 3 * * *"]


def of(arguments):
    """What the parser makes of the arguments, as they are spelled now."""
    return vars(parser().parse_args(present(arguments)[0]))


def test_every_command_names_its_study_in_one_of_two_ways():
    commands = next(action for action in parser()._actions if action.dest == "command").choices
    for name, command in commands.items():
        bare = [action.dest for action in command._actions if not action.option_strings]
        options = {option for action in command._actions for option in action.option_strings}
        assert "--config" not in options
        if name in (*CONFIGURED, *STAGES):
            assert bare == ["config"] and "--root" in options
        elif name in OF_A_FOLDER:
            assert bare[0] == "dir" and "--root" not in options  # it is put in its place before
        else:
            assert name in ("server", "setup") and not bare


@pytest.mark.parametrize("command", OF_A_FOLDER)
def test_a_folder_is_bare_or_a_root(command):
    rest = REST.get(command, [])
    spelled = [["runs/a", *rest], ["--root", "runs/a", *rest], [*rest, "--root=runs/a"]]
    bare, *others = (of([command, *words]) for words in spelled)
    assert str(bare["dir"]) == "runs/a" and all(other == bare for other in others)
    assert all(present([command, *words])[1] == [] for words in spelled)


def test_what_follows_two_dashes_is_left_alone():
    assert of(["query", "runs/a", "--", "--root"])["sql"] == "--root"


def test_options_between_the_words_stay_where_they_were():
    asked = of(["query", "runs/a", "--format", "csv", "select 1"])
    assert (str(asked["dir"]), asked["format"], asked["sql"]) == ("runs/a", "csv", "select 1")


FORMER = {
    "both named": (["--config", "a.yaml", "--root", "runs/a"], "a.yaml", "runs/a"),
    "with equals signs": (["--config=a.yaml", "--root=runs/a"], "a.yaml", "runs/a"),
    "nothing named": ([], "configs/mini.yaml", "runs/mini"),
    "no folder": (["--config", "a.yaml"], "a.yaml", "runs/mini"),
    "a folder alone": (["--root", "runs/a"], "configs/mini.yaml", "runs/a"),
}


@pytest.mark.parametrize("how", FORMER)
def test_serve_takes_what_it_took_and_says_so_in_one_line(how):
    words, config, root = FORMER[how]
    arguments, notices = present(["serve", *words, "--port", "0", "--cron", "0 4 * * *"])
    options = parser().parse_args(arguments)
    assert (str(options.config), str(options.root), options.port, options.cron) == (config, root, 0, "0 4 * * *")
    (notice,) = notices
    assert "serve CONFIG --root DIR" in notice and f"{config} is served into {root}" in notice and "\n" not in notice


def test_the_present_spelling_is_taken_as_it_is():
    assert present(SERVE) == (SERVE, []) and str(of(SERVE)["config"]) == "a.yaml"
    for arguments in (["serve", "--help"], [], ["run", "a.yaml", "--root", "x"], ["--version"]):
        assert present(arguments) == (arguments, [])
