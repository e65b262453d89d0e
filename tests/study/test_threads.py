"""The number of threads of an operation is a study's own: kept, used wherever units are worked on, refused if other."""

import threading

import pytest
import torch
import yaml
from threadpoolctl import threadpool_info

from storage.formats import KEY
from storage.study import read_study
from study.config import load_config
from study.errors import StudyError
from study.opening import may_write, open_or_create
from study.revise import plan_revision, revise
from study.study import Study
from study.threads import THREADS, limited, with_own_threads
from tests.paths import ROOT


def config(*overrides):
    return load_config(ROOT / "configs" / "tiny.yaml", list(overrides))


@pytest.fixture(autouse=True)
def restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_study_begun_with_one_thread_is_not_gone_on_with_with_two(tmp_path):
    open_or_create(tmp_path, config("run.torch_threads=1"))
    known = read_study(tmp_path)
    assert known[THREADS] == 1 and known["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    for use in (may_write, open_or_create):
        with pytest.raises(StudyError, match=r"was begun with 1 threads .* give --set run.torch_threads=1"):
            use(tmp_path, config("run.torch_threads=2"))
    revise(plan_revision(tmp_path, config("layout.bootstrap=101")))
    assert read_study(tmp_path)[THREADS] == 1


def test_an_empty_setting_takes_the_studys_number_or_torchs_own(tmp_path):
    torch.set_num_threads(3)
    study = open_or_create(tmp_path, config("run.torch_threads=null", "run.max_workers=1"))
    assert study.config.run.torch_threads == read_study(tmp_path)[THREADS] == 3
    torch.set_num_threads(2)  # as on another machine
    assert open_or_create(tmp_path, config("run.torch_threads=null")).config.run.torch_threads == 3


@pytest.mark.parametrize("at_once", ["max_workers: 3", "devices: [cpu, cpu, cpu]"])
def test_torchs_own_number_is_divided_among_the_units_at_once(at_once):
    for cores, each in ((8, 2), (2, 1)):
        torch.set_num_threads(cores)
        assert with_own_threads(config(f"run={{{at_once}}}")).run.torch_threads == each


@pytest.mark.parametrize(("named", "kept"), [(2, 2), (None, 5)])
def test_a_study_from_before_takes_the_number_its_configuration_named_or_the_present_one(tmp_path, named, kept):
    open_or_create(tmp_path, config(f"run.torch_threads={named or 'null'}"))
    known = read_study(tmp_path)
    del known[THREADS], known[KEY]  # of the first format
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(known, sort_keys=False))
    torch.set_num_threads(5)
    assert (
        open_or_create(tmp_path, config("run.torch_threads=null", "run.max_workers=1")).config.run.torch_threads == kept
    )
    assert read_study(tmp_path)[THREADS] == kept


def test_a_unit_is_worked_on_under_the_limit_in_whatever_thread(tmp_path):
    found = []

    @limited
    def work(study, more):
        blas = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        found.append((torch.get_num_threads(), blas, more))

    torch.set_num_threads(4)
    study = Study(str(tmp_path), config("run.torch_threads=1"), "")
    thread = threading.Thread(target=work, args=(study,), kwargs={"more": "x"})
    thread.start()
    thread.join()
    assert found == [(1, {1}, "x")]


def test_every_unit_of_work_is_held_to_the_studys_number():
    from study.stages import STAGES
    from tasks.units import task_of

    tasks = [task_of(stage) for stage in STAGES.values()]
    assert [task.name for task in tasks if "under_the_limit" not in _wrappers(task.fn)] == []


def _wrappers(function):
    """Names of the functions that one call goes through."""
    while function is not None:
        yield function.__code__.co_name
        function = getattr(function, "__wrapped__", None)
