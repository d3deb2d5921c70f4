"""A model that one crew cannot ask: it leaves the tasks to others, tries again, and people hear when nobody can."""

from __future__ import annotations

import pytest

from cairn.errors import KeyMissing, KeyRefused, ModelUnavailable
from cairn.fleet import SILENT_SECONDS, Fleet, SeenCrew
from cairn.lacks import Lack, Lacks, Wants
from cairn.model_lacks import CrewLacks, ask_again, every_lack
from cairn.queue import TaskQueue
from cairn.task import CodeOrigin, PutOff, Terms
from cairn.task_owner import Owner

NO_KEY = Lack.of("m", KeyMissing("m needs a key.", "M_KEY is not set.", ("llm keys set m",)))
AWAY = Owner("elsewhere", 12, 34)


class Shop:
    """A ledger, two crews, and a clock that stands where it is put."""

    def __init__(self, place):
        self.now = 1000.0
        self.queue = TaskQueue(place, clock=lambda: self.now)
        self.fleet = Fleet(place, clock=lambda: self.now)
        self.settings = ["first"]
        self.a, self.b = self.crew("a"), self.crew("b")

    def crew(self, name):
        return CrewLacks(name, self.queue.database, lambda: self.now, 60.0, lambda: self.settings[0])

    def beats(self, name, *, stopping=False):
        self.fleet.beat(SeenCrew(name, AWAY, "0.1.0", "embedded", "", 1, (), stopping, 1000.0))

    def add(self, model, **terms):
        return self.queue.add("x", CodeOrigin("model", model), terms=Terms(**terms))

    def claims(self, crew, running=()):
        task = self.queue.claim(AWAY, without=crew.shut(running))
        return task and task.id


@pytest.fixture
def shop(ledger_place):
    shop = Shop(ledger_place)
    yield shop
    shop.fleet.close()
    shop.queue.close()


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (KeyMissing("m needs a key.", "M_KEY is not set."), "needs a worker with a key for m: M_KEY is not set"),
        (
            KeyRefused("The key for m was refused.", "No such key."),
            "needs a worker with a key for m: The key for m was refused. No such key",
        ),
        (
            ModelUnavailable("There is no model 'm'.", "llm knows 3 names; this is none of them."),
            "needs a worker that can ask m: There is no model 'm'. llm knows 3 names; this is none of them",
        ),
    ],
)
def test_what_is_lacking_is_said_by_what_a_worker_would_need(problem, words):
    assert Lack.of("m", problem).in_words() == words


def test_a_crew_leaves_such_tasks_to_others_and_takes_those_behind_them(shop):
    first, _second, other = shop.add("m"), shop.add("m"), shop.add("other")
    assert shop.a.begin(NO_KEY) == 1060.0

    assert [shop.claims(shop.a), shop.claims(shop.a)] == [other.id, None]
    assert shop.claims(shop.b) == first.id


def test_what_is_ready_counted_and_due_is_without_them(shop):
    left, mine = shop.add("m"), shop.add("other")
    shop.add("m", not_before=1010.0)
    shop.add("other", not_before=1020.0)
    waits = shop.queue.put_off(shop.queue.claim(AWAY, shop.add("").id), PutOff("no key", waits_for="m"))
    shop.a.begin(NO_KEY)
    without = shop.a.shut(())

    assert [task.id for task in shop.queue.ready(9)] == [left.id, mine.id, waits.id]
    assert [task.id for task in shop.queue.ready(9, without)] == [mine.id]
    assert (shop.queue.count_ready(9), shop.queue.count_ready(9, without=without)) == (3, 1)
    assert (shop.queue.due_at(), shop.queue.due_at(without=without)) == (1010.0, 1020.0)
    assert shop.queue.claim(AWAY, left.id, if_ready=True, without=without) is None
    assert shop.queue.claim(AWAY, left.id, without=without).id == left.id


def test_after_a_while_one_task_tries_it_and_an_answer_opens_it_for_the_others(shop):
    tasks = [shop.add("m").id for _ in range(3)]
    shop.a.begin(NO_KEY)
    shop.now = 1061.0

    assert shop.claims(shop.a) == tasks[0]
    assert shop.a.tries(("m", "")) == ("m",)
    assert shop.claims(shop.a, {"m"}) is None
    shop.a.end("m")

    assert shop.claims(shop.a, {"m"}) == tasks[1]
    assert shop.a.tries(("m",)) == ()
    assert every_lack(shop.queue.database) == ()


def test_each_further_failure_doubles_the_wait_up_to_an_hour_and_one_under_way_does_not():
    lacks, now, lengths = Lacks(60.0), 0.0, []
    for _ in range(8):
        until = lacks.begin("m", now)
        assert lacks.begin("m", now + 1) == until
        lengths.append(until - now)
        now = until

    assert lengths == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_new_settings_of_llm_and_a_persons_word_have_it_tried_at_once(shop):
    task = shop.add("m")
    shop.a.begin(NO_KEY)
    shop.a.look()
    assert shop.claims(shop.a) is None

    shop.settings[0] = "a key was stored"
    shop.a.look()
    assert shop.claims(shop.a) == task.id
    shop.a.begin(NO_KEY)
    assert shop.a.shut(()) == ("m",)

    assert ask_again(shop.queue.database, "m")
    assert not ask_again(shop.queue.database, "m")
    shop.a.look()
    assert shop.a.shut(()) == ()


def test_people_hear_of_it_when_no_crew_that_is_there_can_ask_the_model(shop):
    task = shop.add("m")
    for name in ("a", "b"):
        shop.beats(name)
    shop.a.begin(NO_KEY)
    assert shop.queue.holds([task]) == {}  # the other one may have it

    shop.b.begin(NO_KEY)
    assert shop.queue.holds([task]) == {task.id: "needs a worker with a key for m: M_KEY is not set"}
    shop.b.end("m")
    assert shop.queue.missing() == {}

    shop.beats("b", stopping=True)
    assert set(shop.queue.missing()) == {"m"}
    shop.beats("b")
    shop.now += SILENT_SECONDS
    assert set(shop.queue.missing()) == {"m"}


def test_what_an_ended_crew_lacked_is_said_until_another_one_begins(shop):
    shop.beats("a")
    shop.a.begin(NO_KEY)
    shop.fleet.leave("a")
    assert shop.queue.missing() == {"m": NO_KEY}

    shop.beats("b")
    shop.b.open({"b"})
    shop.fleet.leave("b")
    assert shop.queue.missing() == {}


def test_a_task_whose_questions_each_worker_would_send_elsewhere_does_not_go_to_and_fro(shop):
    """One worker's own text model is x, another's y, and both lack theirs."""
    task = shop.queue.add("x", CodeOrigin("recipe", "r"))
    given = []
    while crew := next((each for each in (shop.a, shop.b) if shop.queue.count_ready(1, without=each.shut(()))), None):
        mine = "x" if crew is shop.a else "y"
        claimed = shop.queue.claim(AWAY, without=crew.shut(()))
        given.append(mine)
        crew.begin(Lack(mine, Wants.KEY, "no key"), claimed.waits_for)
        task = shop.queue.put_off(claimed, PutOff("no key", waits_for=mine))

    assert len(given) <= 4
    assert task.in_vain == 0
