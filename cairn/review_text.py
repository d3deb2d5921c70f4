"""A review in words: the end of `run`, and `show`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cairn import git_diff
from cairn.changes import ChangeSet
from cairn.checks import OUTDATED, CheckResult, Standing, Verdict
from cairn.console import Console, one_line, printable
from cairn.dangerous_paths import naming, not_allowed
from cairn.metering import Spent
from cairn.policy import Action
from cairn.program import CodeFailed, Finished, Step
from cairn.progress_lines import describe_result, duration
from cairn.review import Review, StepCost
from cairn.task import CodeOrigin, Task, TaskStatus

if TYPE_CHECKING:
    from cairn.replay import Replay
    from cairn.task_questions import PersonQuestion

CONTENT_SHOWN = 12  # of a digest
NAMES_SHOWN = 8
STALE_SHOWN = 20
ASKING = frozenset({"ask_llm", "ask_llm_many"})


def origin_in_words(origin: CodeOrigin) -> str:
    """Who writes the task's programs."""
    match origin.source:
        case "recipe":
            whose = "your own recipe" if origin.program else "built-in recipe"
            return f"{whose} {origin.name} (no model planned this)"
        case "file":
            return f"program {origin.name}"
        case "model":
            return f"model {origin.name}"
    return f"{origin.source} {origin.name}"


def ending(review: Review, console: Console) -> str:
    """What `run` prints at its end: summary, diffstat, claims, next commands."""
    parts = [headline(review.task, console), dangers(review, console)]
    if review.submission is not None and review.submission.summary.strip():
        parts.append(printable(review.submission.summary.strip()))
    parts += [diffstat(review.changes, console), accepted(review), checks(review, console), claims(review, console)]
    parts += [warnings(review, console)]
    parts += [left_behind(review, console), drafts(review, console)]
    parts += [f"Models: {spent(review)}." if review.spent.calls else "", question(review, console)]
    parts += [next_commands(review)]
    return "\n\n".join(part for part in parts if part)


def verdict(review: Review, console: Console) -> str:
    """The lower half of `show`: what was submitted, what changed, what to do."""
    summary = review.submission.summary.strip() if review.submission else ""
    parts = [
        "Summary:\n" + "\n".join(f"  {line}" for line in printable(summary).split("\n")) if summary else "",
        diffstat(review.changes, console),
        accepted(review),
        checks(review, console),
        claims(review, console),
        warnings(review, console),
        left_behind(review, console),
        drafts(review, console),
        question(review, console, lines=None),
        next_commands(review),
    ]
    return "\n\n".join(part for part in parts if part)


def headline(task: Task, console: Console) -> str:
    """Id, status and origin in one line."""
    colour = {
        TaskStatus.IN_REVIEW: "yellow",
        TaskStatus.WAITING: "yellow",
        TaskStatus.ACCEPTED: "green",
        TaskStatus.FAILED: "red",
        TaskStatus.CANCELLED: "red",
    }.get(task.status, "bold")
    status = console.style(str(task.status), "bold", colour)
    reason = f" ({printable(task.reason)})" if task.reason else ""
    return f"{console.style(task.id, 'bold')}  {status}{reason}  {printable(origin_in_words(task.origin))}"


def dangers(review: Review, console: Console) -> str:
    """The changed paths that could run something by themselves, while somebody still has to decide on them."""
    if not review.dangers or review.task.status is not TaskStatus.IN_REVIEW:
        return ""
    lines = [console.style("Dangerous paths, look at these first:", "bold", "red")]
    for danger in review.dangers:
        allowed = " (allowed by the settings)" if danger.allowed else ""
        lines.append(f"  {console.style(printable(danger.path), 'bold')}: {printable(danger.why)}{allowed}")
    return "\n".join(lines)


def checks(review: Review, console: Console) -> str:
    """What each check says of just these files, and which changes make checks say less than they did."""
    lines = [_standing(each, console) for each in review.evidence.standings]
    over = "Checks, over all that the task changed:" if review.accepted else "Checks:"
    parts = ["\n".join([over, *lines])] if lines else []
    if review.evidence.weakened and review.task.status in {TaskStatus.IN_REVIEW, TaskStatus.FAILED}:
        head = console.style("These changes weaken tests or checks; look before you believe them:", "bold", "red")
        told = [f"  {printable(each.path)}: {printable(each.why)}" for each in review.evidence.weakened]
        parts.append("\n".join([head, *told]))
    return "\n\n".join(parts)


def _standing(found: Standing, console: Console) -> str:
    colour = {Verdict.PASSED: "green", Verdict.FAILED: "red"}.get(found.verdict, "yellow")
    colour = "yellow" if found.outdated and found.verdict is Verdict.PASSED else colour
    told, result = str(found.verdict), found.result
    if result is not None and found.verdict in {Verdict.PASSED, Verdict.FAILED}:
        told = f"{result.in_words}{OUTDATED if found.outdated else ''} in {duration(result.seconds)}"
        told += "" if result.sandboxed else ", without a sandbox"
        told += f", over {result.content[:CONTENT_SHOWN]}"
    elif result is not None and found.verdict is Verdict.NOT_RUN:
        told = f"not run on this content; before, on {result.content[:CONTENT_SHOWN]}, it {result.in_words}"
    optional = "" if found.check.required else " (not required)"
    return f"  {console.style(found.check.name, 'bold')}{optional}: {console.style(printable(told), colour)}"


def check_run(result: CheckResult, console: Console, *, verbose: bool = False) -> Iterator[str]:
    """What `check` prints of one check that ran: its end, what it ran in, what it wrote, and why it failed."""
    colour = "green" if result.passed else "red"
    ending = console.style(printable(result.in_words), "bold", colour)
    yield f"{console.style(result.name, 'bold')}: {ending} in {duration(result.seconds)}, {printable(result.ground)}"
    if result.wrote:
        kept = "became part of the task" if result.kept else "were thrown away"
        yield f"  wrote, and {kept}: {_names(result.wrote)}"
        if result.refused:
            yield f"  {console.style(printable(f'not kept: {result.refused}'), 'yellow')}"
    if result.output and (verbose or not result.passed):
        yield f"  $ {printable(result.command)}"
        yield "\n".join(f"  {line}" for line in printable(result.output.rstrip("\n")).split("\n"))


def diffstat(changes: ChangeSet, console: Console) -> str:
    """The table of `git diff --stat`, its plus and minus signs coloured."""
    if not changes:
        return "No files changed."
    lines = []
    for line in git_diff.render_stat(git_diff.stat(changes)).rstrip("\n").split("\n"):
        name, bar, graph = printable(line).rpartition(" | ")
        lines.append(f"{name}{bar}{_coloured_graph(graph, console)}" if bar else printable(line))
    return "\n".join(lines)


def accepted(review: Review) -> str:
    """What of the task is in the project already, while the rest waits."""
    return f"Accepted before, wholly or in part: {_names(review.accepted)}" if review.accepted else ""


def _coloured_graph(graph: str, console: Console) -> str:
    figures = graph.rstrip("+-")
    plus, minus = graph[len(figures) :].count("+"), graph[len(figures) :].count("-")
    return (
        figures
        + console.style("+" * plus, *["green"] * bool(plus))
        + console.style("-" * minus, *["red"] * bool(minus))
    )


def claims(review: Review, console: Console) -> str:
    """What the submission claimed against what changed."""
    if review.submission is None:
        return "" if not review.changes else console.style("Nothing was submitted, so nothing is claimed.", "yellow")
    found = review.claims
    if found.agree:
        return f"Claimed and changed agree ({files(len(found.confirmed))})." if review.changes else ""
    lines = [console.style("The submission and the changes disagree:", "bold", "yellow")]
    if found.claimed_only:
        lines.append(f"  claimed, not changed: {_names(found.claimed_only)}")
    if found.unclaimed:
        lines.append(f"  changed, not claimed: {_names(found.unclaimed)}")
    return "\n".join(lines)


def drafts(review: Review, console: Console) -> str:
    """How many answers the small local model wrote, if any."""
    if not review.drafts or not review.changes:
        return ""
    count = f"{review.drafts} answer{' is a draft' if review.drafts == 1 else 's are drafts'}"
    return console.style(f"{count} of the small local model: read each sentence before you accept.", "yellow")


def warnings(review: Review, console: Console) -> str:
    """Conflicts with today's files, and files that changed under the task."""
    parts = []
    if review.conflicts:
        lines = [console.style("Accept would stop at these conflicts with your files:", "bold", "red")]
        lines += [f"  {printable(path)}: {printable(reason)}" for path, reason in review.conflicts]
        parts.append("\n".join(lines))
    if review.task.status is TaskStatus.IN_REVIEW and (stale := _stale(review)):
        lines = [console.style("You changed these since the task read them:", "yellow")]
        parts.append("\n".join([*lines, *(f"  {line}" for line in stale)]))
    return "\n\n".join(parts)


def _stale(review: Review) -> list[str]:
    """What accept does about each is said too; paths in conflict are named with their reasons elsewhere."""
    conflicts, changed = dict(review.conflicts), set(review.changes.paths)
    stale = [path for path in review.stale if path not in conflicts]
    merged = [f"{printable(path)}: the task changed it too; accept keeps both" for path in stale if path in changed]
    read = [
        f"{printable(path)}: the task only read it, and went by what it said then"
        for path in stale
        if path not in changed
    ]
    lines = [*merged, *read]
    more = len(lines) - STALE_SHOWN
    return [*lines[:STALE_SHOWN], *([f"and {more} more"] if more > 0 else [])]


def path_notes(review: Review) -> dict[str, str]:
    """What a person should know of single paths before they are taken, by path."""
    notes: dict[str, list[str]] = {}
    for danger in review.dangers:
        allowed = " (allowed by the settings)" if danger.allowed else ""
        notes.setdefault(danger.path, []).append(f"Dangerous: {danger.path}: {danger.why}{allowed}")
    for path, reason in review.conflicts:
        notes.setdefault(path, []).append(f"Conflict with your files: {path}: {reason}")
    return {path: "\n".join(map(printable, lines)) for path, lines in notes.items()}


def left_behind(review: Review, console: Console) -> str:
    """What programs do not see in folders that the task deleted or moved: nobody reads of it in the diff."""
    if not review.left_behind:
        return ""
    shown = console.style("These stay where they are, because programs do not see them:", "yellow")
    return f"{shown} {_names(review.left_behind)}"


def next_commands(review: Review) -> str:
    """What to type next."""
    task_id = review.task.id
    match review.task.status:
        case TaskStatus.IN_REVIEW if review.conflicts:
            steps = [("diff", "read the changes"), ("retry", "do it again from today's files"), ("reject", "drop them")]
        case TaskStatus.IN_REVIEW:
            accept = f"accept {task_id} {naming(not_allowed(review.dangers))}".rstrip()
            accept += " --force" if review.evidence.failed else ""
            steps = [("diff", "read the changes"), (accept, "take them into the project"), ("reject", "drop them")]
            steps += [("undo", "take the last accepted part back")] if review.accepted else []
        case TaskStatus.WAITING:
            steps = [("answer", "answer it; --yes, --no and --always do so at once"), ("cancel", "end it here")]
        case TaskStatus.ACCEPTED if review.changes:
            steps = [("undo", "take it back")]
        case TaskStatus.QUEUED:
            here = "go on here, where it stopped" if review.task.attempt else "run it here and now"
            steps = [("resume", here), ("cancel", "end it; cairn work   would run it")]
        case TaskStatus.CANCELLED:
            steps = [("resume", "go on where it stopped"), ("retry", "do it again from today's files")]
        case TaskStatus.FAILED if raise_the_limit(review):
            steps = [("show", "its programs and errors"), ("diff", "what it did until then")]
            steps += [("resume", "go on where it stopped, with a higher limit")]
            steps += [("retry", "do it again from today's files")]
        case TaskStatus.REJECTED:
            steps = [("undo", "put it back in review"), ("retry", "do it again from today's files")]
        case TaskStatus.FAILED:
            steps = [("show", "its programs and errors"), ("retry", "do it again from today's files")]
        case _:
            return ""
    return "Next:\n" + "\n".join(_command(verb, task_id) + why for verb, why in steps)


def replayed(replay: Replay, console: Console) -> Iterator[str]:
    """What `replay` prints: what was compared, the variables where it stopped, the files as they were then."""
    steps = f"{len(replay.steps)} step{'' if len(replay.steps) == 1 else 's'}"
    calls = f"{replay.calls:,} call{'' if replay.calls == 1 else 's'}"
    if replay.complete:
        same = console.style("The same again", "bold", "green")
        yield f"{same}: {steps}, {calls}, {files(len(replay.changes))} changed."
    else:
        yield f"Stopped after {steps} and {calls}; until there all is as it was."
    if replay.variables:
        yield "\nVariables:"
        width = min(20, max(len(variable.name) for variable in replay.variables))
        for variable in replay.variables:
            yield f"  {printable(variable.name):<{width}}  {one_line(variable.value, 100)}"
    yield f"\n{diffstat(replay.changes, console)}"
    if not replay.complete:
        yield f"\nNext:\n  cairn replay {replay.task.id} --fork {len(replay.steps)}   go another way from here"


def _command(verb: str, task_id: str) -> str:
    """A column wide enough for a verb and an id; a longer command keeps its distance."""
    words = verb if " " in verb else f"{verb} {task_id}"
    return f"  cairn {printable(words)}".ljust(21) + "   "


def raise_the_limit(review: Review) -> tuple[str, ...]:
    """How to raise the limit that ended the task, if one did."""
    name, _, value = review.task.reason.removeprefix("limit reached: ").partition(" = ")
    if not value or not review.task.reason.startswith("limit reached"):
        return ()
    if name == "output_chars":
        return ("That is what one program may print at all. Print counts and samples, not whole files.",)
    task_id = review.task.id
    if name in {"tokens_per_day", "money_per_day"}:
        resume = f"cairn resume {task_id}   goes on where it stopped, after midnight, when the day's budget is new."
        return (resume, f"[budget] {name} = ...   in cairn.toml raises it.")
    more = higher(float(value.replace(",", "")))
    resume = f"cairn resume {task_id} --limit {name}={more}   goes on where it stopped."
    return (resume, f"[limits] {name} = {more}   in cairn.toml raises it for every task.")


def question(review: Review, console: Console, lines: int | None = 40) -> str:
    """What the task asks, with what the call would change: at most so many lines of it."""
    asked = review.question
    if asked is None:
        return ""
    if asked.is_of_limit:
        limit = f"{asked.name} = {asked.arguments}"
        return console.style(
            f"It asks: may it go on beyond its limit {limit}, up to {raised(asked)}?", "bold", "yellow"
        )
    where = f" at {_names(asked.paths)}" if asked.paths else ""
    why = f"the policy's rule {asked.rule}" if asked.rule else "the policy's default"
    head = console.style(f"It asks: may it call {printable(asked.name)}{where}?", "bold", "yellow")
    told = [head, f"  {one_line(f'{asked.name}({asked.arguments})', 200)}", f"  ({printable(why)} asks)"]
    diff = asked.diff.splitlines()
    told += [_diff_line(line, console) for line in diff[:lines]]
    if lines is not None and len(diff) > lines:
        told.append(f"({len(diff) - lines:,} more lines; cairn show {review.task.id}   shows them)")
    if asked.more_files:
        told.append(f"({files(asked.more_files)} more)")
    return "\n".join(told)


def _diff_line(line: str, console: Console) -> str:
    colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
    return console.style(printable(line), *([colour] if colour else []))


def raised(asked: PersonQuestion) -> str:
    """How high a limit becomes that a task may pass."""
    return higher(float(asked.arguments.replace(",", "")))


def higher(value: float) -> str:
    """Twice as much, as a setting has it."""
    return f"{2 * value:.0f}" if value == int(value) and value else f"{2 * value or 1:g}"


def full(review: Review, console: Console, hold: str = "", ways_out: Sequence[str] = ()) -> Iterator[str]:
    """What `show` prints, part by part; programs are yielded apart by `programs`.

    `hold` keeps it from starting, and `ways_out` end that.
    """
    task = review.task
    yield headline(task, console)
    yield f"Task:     {printable(task.request)}"
    yield f"Created:  {_when(task.created_at)}" + (f"   retry of {task.retry_of}" if task.retry_of else "")
    if terms := _terms(task):
        yield f"Terms:    {printable(terms)}"
    if task.base:
        yield f"Base:     commit {printable(task.base)}"
    if hold:
        yield f"Waits:    {printable(hold)}"
        yield from (f"          {printable(way)}" for way in ways_out)
    yield f"Used:     {used(review)}"
    yield from bounds(review)
    if named := dangers(review, console):
        yield f"\n{named}"


def _terms(task: Task) -> str:
    """What was said about a queued task beside its request; nothing for one that says nothing."""
    terms = task.terms
    parts = [
        f"variant in group {terms.group}" if terms.group is not None else "",
        f"priority {terms.priority}" if terms.priority else "",
        f"until {_when(terms.deadline)}" if terms.deadline is not None else "",
        f"key {terms.key}" if terms.key is not None else "",
        f"after {', '.join(terms.after)}" if terms.after else "",
        f"tags {', '.join(terms.tags)}" if terms.tags else "",
        "accepted at once if nothing conflicts" if terms.accepts else "",
        f"started in vain {task.in_vain} of {terms.max_attempts} times" if task.in_vain else "",
    ]
    return ", ".join(part for part in parts if part)


def bounds(review: Review) -> Iterator[str]:
    """What the task may do, where that is less than everything."""
    rules = review.policy
    if rules.only is not None:
        yield f"May only change: {printable(', '.join(rules.only))}"
    if rules.deny or rules.ask or rules.default is not Action.ALLOW:
        parts = [*(f"deny {rule}" for rule in rules.deny), *(f"ask {rule}" for rule in rules.ask)]
        if rules.default is not Action.ALLOW:
            parts += [*(f"allow {rule}" for rule in rules.allow), f"else {rules.default}"]
        yield f"Policy:   {printable(', '.join(parts))}"


def used(review: Review) -> str:
    """What the task used of each of its limits."""
    outcome, limits = review.task.outcome, review.limits
    questions = sum(call.name in ASKING for call in review.calls)
    parts = [
        f"{len(review.steps)} of {limits.steps} steps",
        f"{len(review.calls):,} of {limits.calls:,} calls",
        f"{questions:,} of {limits.llm_calls:,} questions to a model" if questions else "",
        spent(review) if review.spent.calls else "",
        f"{duration(outcome.seconds)} of {limits.wall_seconds:,.0f} s",
    ]
    return ", ".join(part for part in parts if part)


def spent(review: Review) -> str:
    """What calls of models took, and what of it is an estimate."""
    total, limits = review.spent, review.limits
    calls = f"{total.calls:,} call{'' if total.calls == 1 else 's'}"
    about = "about " if total.estimated else ""
    estimate = f" (an estimate for {total.estimated:,} of the calls)" if total.estimated else ""
    bound = f" of {limits.money:g}" if limits.money is not None else ""
    money = f"{_money(total)}{bound if total.money is not None else ''}"
    return f"{calls}, {about}{total.input_tokens:,} tokens in, {total.output_tokens:,} out{estimate}, {money}"


def _money(spent: Spent) -> str:
    return "money unknown" if spent.money is None else f"money {spent.money:.6g}"


def step_headline(review: Review, step: Step) -> str:
    """Which step, who wrote it, what that took, how it ended."""
    program = step.program
    repairs = f", {program.repairs} repairs" if program.repairs else ""
    took = _cost(review.costs[step.number]) if step.number in review.costs else ""
    return f"Step {step.number}  {printable(program.label)}{took}{repairs}: {describe_result(step.result)}"


def _cost(cost: StepCost) -> str:
    spent = cost.spent
    seconds = f" in {cost.seconds:.1f} s" if cost.seconds else ""
    return f", {spent.input_tokens:,} tokens in, {spent.output_tokens:,} out{seconds}, {_money(spent)}"


def step_calls(review: Review, step: Step) -> Iterator[str]:
    """How often the step called each external function, the failed ones by themselves."""
    calls = [call for call in review.calls if call.step == step.number]
    counts = Counter(call.name for call in calls)
    if counts:
        yield "  calls: " + ", ".join(f"{name} {count}x" if count > 1 else name for name, count in counts.items())
    asked = review.question.call if review.question else None
    for call in calls:
        if call.error and call.number != asked:
            yield f"    failed: {one_line(f'{call.name}({call.arguments}): {call.error}', 160)}"


def step_outcome(step: Step) -> Iterator[str]:
    """Output, value and error of a step, each under its name."""
    result = step.result
    if result.run.output:
        yield _block("output", result.run.output)
    if result.run.output_dropped:
        yield f"  ({result.run.output_dropped:,} more characters of output were dropped)"
    if isinstance(result, Finished) and result.value:
        yield _block("value", result.value)
    if isinstance(result, CodeFailed):
        yield _block("error", result.traceback or result.message)
        if result.hint:
            yield f"  hint: {printable(result.hint)}"


def _block(name: str, text: str) -> str:
    return f"  {name}:\n" + "\n".join(f"    {line}" for line in printable(text.rstrip("\n")).split("\n"))


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def files(count: int) -> str:
    """A number of files, in words."""
    return f"{count} file{'' if count == 1 else 's'}"


def _names(paths: tuple[str, ...]) -> str:
    shown = ", ".join(printable(path) for path in paths[:NAMES_SHOWN])
    return shown + (f" and {len(paths) - NAMES_SHOWN} more" if len(paths) > NAMES_SHOWN else "")
