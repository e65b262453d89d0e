"""Units shared by claims: the real protocol on a store in memory, under every order of its steps that is tried."""

import itertools
import json
import multiprocessing
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from greenlet import getcurrent, greenlet
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.claim_files import FOLDER, ClaimFiles, forget_claims
from storage.claims import Claimant, ClaimLost, confirm, confirm_present, holds, publishing, working_under

LEASE = 9.0
UNITS = ("collect/0", "collect/1")
CLOCKS = (0.0, 1e6, -500.0)  # no process knows what another's clock says


def pause():
    """Let the scheduler go on with whomever it likes: what stands between two pauses happens at once."""
    getcurrent().parent.switch()


class Memory:
    """A store of claims whose every operation is one step; a gate belongs to a process until it leaves or dies."""

    def __init__(self):
        self.claims, self.gates = {}, {}

    def newest(self, name):
        pause()
        said = self.claims.get(name, [])
        return (len(said), said[-1]) if said else None

    def create(self, name, generation, data):
        pause()
        said = self.claims.setdefault(name, [])
        if len(said) >= generation:
            return False
        said.append(data)
        return True

    def renew(self, name, generation, data):
        pause()
        assert len(data) == len(self.claims[name][generation - 1])
        self.claims[name][generation - 1] = data
        return True

    @contextmanager
    def alone(self, name):
        me = getcurrent()
        pause()
        while self.gates.get(name) is not None:
            pause()
        self.gates[name] = me
        try:
            yield
            pause()
        finally:
            if self.gates[name] is me:
                self.gates[name] = None


class Process:
    """One that takes unit after unit, and a heart that renews its claims three times a lease."""

    def __init__(self, world, number):
        self.world, self.alive, self.holding = world, True, None
        self.claimant = Claimant("nowhere", LEASE, store=world.store, clock=lambda: self.clock(number))
        self.worker, self.heart = greenlet(self.work), greenlet(self.beat)
        self.resting = True
        self.next_beat = LEASE / 3

    def clock(self, number):
        pause()
        return self.world.now + CLOCKS[number]

    def beat(self):
        while True:
            while self.world.now < self.next_beat:
                pause()
            self.next_beat = self.world.now + LEASE / 3
            self.resting = False
            self.claimant.renew()
            self.resting = True

    def work(self):
        world = self.world
        while world.left():
            for unit in world.left():
                claim = self.claimant.take(unit)
                if claim is not None:
                    self.holding = unit
                    if unit not in world.record:
                        self.make(unit, claim)
                    self.claimant.free(claim)
                    self.holding = None
            pause()

    def make(self, unit, claim):
        world = self.world
        world.begun[unit] += 1
        for _ in range(3):
            pause()
        try:
            with publishing(claim, lambda: unit in world.record, world.store) as wanted:
                if wanted:
                    assert unit not in world.inside
                    world.inside[unit] = self
                    world.part[unit] = claim.token
                    pause()
                    assert unit not in world.record  # which readers may have begun to use
                    world.record[unit] = claim.token
                    del world.inside[unit]
        except ClaimLost:
            world.lost += 1

    def step(self, greenlet):
        """One step of the worker or the heart. While the heart is at it, it holds what the worker would wait for."""
        if self.alive and not greenlet.dead and (self.resting or greenlet is self.heart):
            greenlet.switch()


class World:
    def __init__(self, processes):
        self.now, self.lost, self.store = 0.0, 0, Memory()
        self.begun, self.killed = Counter(), Counter()
        self.record, self.part, self.inside = {}, {}, {}
        self.processes = [Process(self, number) for number in range(processes)]

    def left(self):
        return [unit for unit in UNITS if unit not in self.record]

    def tick(self, prompt):
        """A ninth of a lease goes by; with ``prompt`` every heart that is due beats before anything else happens."""
        self.now += LEASE / 9
        for process in self.processes if prompt else ():
            process.step(process.heart)
            while process.alive and not process.resting:
                process.step(process.heart)

    def kill(self, process):
        if process.alive and sum(one.alive for one in self.processes) > 1:
            process.alive = False
            if process.holding in self.left():
                self.killed[process.holding] += 1
            for name, holder in self.store.gates.items():
                if holder is process.worker:  # the operating system frees it
                    self.store.gates[name] = None
            self.inside = {unit: by for unit, by in self.inside.items() if by is not process}

    def run(self, schedule, prompt):
        for action, number, times in schedule:
            process = self.processes[number]
            for _ in range(times):
                if action == "work":
                    process.step(process.worker)
                elif action == "beat" and not prompt:
                    process.step(process.heart)
                elif action == "tick":
                    self.tick(prompt)
            if action == "kill":
                self.kill(process)
        for _ in range(3000):  # from here on nobody stands still
            for process in self.processes:
                process.step(process.worker)
                process.step(process.worker)
            self.tick(prompt=True)
            if all(process.worker.dead for process in self.processes if process.alive):
                return
        raise AssertionError(f"{self.left()} are never done")


ACTIONS = st.sampled_from(["work"] * 8 + ["beat"] * 2 + ["tick"] * 4 + ["kill"])
SCHEDULES = st.lists(st.tuples(ACTIONS, st.integers(0, 2), st.integers(1, 12)), max_size=40)


@given(SCHEDULES)
@settings(max_examples=300)
def test_whoever_stands_still_wherever_a_unit_is_published_once_and_whole(schedule):
    world = World(3)
    world.run(schedule, prompt=False)
    assert set(world.record) == set(UNITS) and world.record == world.part


@given(SCHEDULES)
@settings(max_examples=300)
def test_nothing_is_done_twice_but_what_a_death_has_lost(schedule):
    """As long as claims are renewed in time; those who only look on may stand still as long as they like."""
    world = World(3)
    world.run(schedule, prompt=True)
    assert world.begun == {unit: 1 + world.killed[unit] for unit in UNITS}
    assert world.lost == 0


@pytest.mark.parametrize("prompt", [True, False], ids=["its heart beats on", "its heart stands still, too"])
def test_one_may_stand_still_between_any_two_of_its_steps(prompt):
    """For more than a lease, while another does as many steps as it likes: by brute force."""
    for first, second, third in itertools.product(range(26), range(0, 26, 2), (0, 4, 14)):
        world = World(2)
        world.run([("work", 0, first), ("work", 1, second), ("tick", 0, 12), ("work", 1, third)], prompt)
        assert set(world.record) == set(UNITS) and world.record == world.part
        assert not prompt or world.begun == dict.fromkeys(UNITS, 1)


def every_order(steps):
    """Every order of so many steps of each of several."""
    if not any(steps):
        yield ()
    for who, count in enumerate(steps):
        if count:
            for rest in every_order([*steps[:who], count - 1, *steps[who + 1 :]]):
                yield (who, *rest)


@pytest.mark.parametrize("before", ["nothing", "dead", "free"])
def test_one_of_three_takes_a_unit_in_every_order_of_their_steps(before):
    """All 1680 orders of reading the clock, looking, and claiming: by brute force."""
    for order in every_order([3, 3, 3]):
        store, now, got = Memory(), [0.0], []

        def clock(now=now):
            pause()
            return now[0]

        claimants = [Claimant("nowhere", LEASE, store=store, clock=clock) for _ in range(4)]

        def alone(call, *given):
            one = greenlet(call)
            found = one.switch(*given)
            while not one.dead:
                found = one.switch()
            return found

        if before != "nothing":
            former = alone(claimants[3].take, "unit")
            assert [alone(one.take, "unit") for one in claimants[:3]] == [None] * 3  # held: they begin to watch
            now[0] = LEASE + 1.0
            if before == "free":
                alone(claimants[3].free, former)
                now[0] = 0.1
        takers = [greenlet(lambda one=one, got=got: got.append(one.take("unit"))) for one in claimants[:3]]
        for taker in takers:
            taker.switch()  # to the first pause
        for number in order:
            if not takers[number].dead:
                takers[number].switch()
        assert all(taker.dead for taker in takers)
        assert len(got) == 3 and sum(claim is not None for claim in got) == 1, order


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def two(root, lease=LEASE):
    clocks = Clock(), Clock()
    return [Claimant(root, lease, clock=clock) for clock in clocks], clocks


def test_a_claim_holds_while_it_is_renewed_and_is_lost_a_lease_after(tmp_path):
    (one, other), (_, clock) = two(tmp_path)
    claim = one.take("label/mid/0.50/cond/k4")
    for _ in range(5):
        assert other.take(claim.name) is None
        clock.now += 0.9 * LEASE
        one.renew()
    assert other.take(claim.name) is None and "process" in other.holder(claim.name)
    clock.now += LEASE + 0.1
    taken = other.take(claim.name)
    assert taken.generation == 2 and holds(taken) and not holds(claim)
    with pytest.raises(ClaimLost, match=r"label/mid/0.50/cond/k4 was taken over"):
        confirm(claim)
    one.renew()
    one.free(claim)  # no longer its to free
    assert holds(taken) and one.take(claim.name) is None
    other.free(taken)
    assert one.take(claim.name).generation == 3


def test_a_wall_clock_that_is_set_changes_nothing(tmp_path, monkeypatch):
    (one, other), _ = two(tmp_path)
    claim = one.take("collect/000000")
    for hour in (-3600.0, 3600.0 * 24 * 365):
        monkeypatch.setattr(time, "time", lambda hour=hour: 1e9 + hour)
        one.renew()
        assert other.take(claim.name) is None and holds(claim)


def test_a_lease_is_the_one_that_the_claimant_has_promised(tmp_path):
    patient, hasty = Claimant(tmp_path, 1000.0, clock=Clock()), Claimant(tmp_path, 1.0, clock=(clock := Clock()))
    patient.take("unit")
    assert hasty.take("unit") is None
    clock.now = 999.0
    assert hasty.take("unit") is None
    clock.now = 1001.0
    assert hasty.take("unit") is not None


def test_a_claim_that_its_claimant_died_in_writing_is_a_dead_one_after_our_own_lease(tmp_path):
    assert ClaimFiles(tmp_path).create("unit", 1, b"")
    one = Claimant(tmp_path, LEASE, clock=(clock := Clock()))
    assert one.take("unit") is None and one.holder("unit") == "another process"
    clock.now = LEASE + 0.1
    assert one.take("unit").generation == 2


def test_work_under_a_lost_claim_neither_publishes_nor_goes_on(tmp_path):
    (one, other), (_, clock) = two(tmp_path)
    claim = one.take("unit")
    other.take("unit")
    with working_under(claim):
        confirm_present()
        clock.now = LEASE + 0.1
        other.take("unit")
        with pytest.raises(ClaimLost):
            confirm_present()
        with pytest.raises(ClaimLost), publishing(claim, lambda: False):
            raise AssertionError("it went in")
    confirm_present()  # nothing is asked of work without a claim


def test_what_was_swept_does_not_come_back(tmp_path):
    one = Claimant(tmp_path, LEASE)
    claim = one.take("collect/000000")
    forget_claims(tmp_path)
    one.renew()
    assert not holds(claim) and not (tmp_path / FOLDER).exists()
    forget_claims(tmp_path)


def test_a_claim_says_who_has_it(tmp_path):
    Claimant(tmp_path, LEASE, "concepts collect").take("collect/000000")
    said = json.loads((tmp_path / FOLDER / "collect" / "000000" / "1.claim").read_bytes())
    assert {"host", "pid", "command", "lease", "token", "count", "state"} == set(said)
    assert said["command"] == "concepts collect"


def share(root, number, units, ready):
    """A real process among several: takes what it can, notes it, and never waits for another."""
    with Claimant(root, 60.0) as claimant, (root / f"{number}.txt").open("w", buffering=1) as notes:
        ready.wait()
        for unit in units:
            if (root / "done" / unit).exists():
                continue
            claim = claimant.take(f"collect/{unit}")
            if claim is None:
                continue
            with publishing(claim, (root / "done" / unit).exists) as wanted:
                if wanted:
                    notes.write(f"{unit}\n")
                    (root / "done" / unit).touch()
            claimant.free(claim)


def test_real_processes_that_rush_for_the_same_files_do_each_unit_once(tmp_path):
    units = [f"{n:06d}" for n in range(150)]
    (tmp_path / "done").mkdir()
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(4)
    several = [context.Process(target=share, args=(tmp_path, n, units, ready)) for n in range(4)]
    for process in several:
        process.start()
    for process in several:
        process.join(60)
    noted = [(tmp_path / f"{n}.txt").read_text().split() for n in range(4)]
    assert sorted(itertools.chain(*noted)) == units
    assert sum(bool(of_one) for of_one in noted) >= 2  # else nothing was shared
