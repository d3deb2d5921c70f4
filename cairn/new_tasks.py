"""New tasks: what a person asks for is queued, by itself, with many others, or as variants of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cairn.errors import KeyMissing, UsageProblem
from cairn.queue import TaskQueue
from cairn.run_parts import Parts
from cairn.settings import Settings
from cairn.shared_bases import Bases
from cairn.task import CodeOrigin, Task, Terms
from cairn.task_context import Asked, keep_asked
from cairn.task_owner import Owner
from cairn.task_store import TaskStore
from cairn.task_work import unless_it_moved
from cairn.variants import share_limits


class NewTasks:
    """Nothing of them runs here; what cannot run is refused before anything is kept."""

    def __init__(
        self,
        root: Path,
        queue: TaskQueue,
        store: TaskStore,
        settings: Settings,
        parts: Parts,
        bases: Bases,
        *,
        is_shared: bool,
    ) -> None:
        """`is_shared`: workers of other machines may run them."""
        self._root = root
        self._queue = queue
        self._store = store
        self._settings = settings
        self._parts = parts
        self._bases = bases
        self._is_shared = is_shared

    def submit(
        self,
        request: str,
        origin: CodeOrigin,
        *,
        retry_of: str | None = None,
        options: Mapping[str, str] | None = None,
        asked: Asked | None = None,
        terms: Terms | None = None,
        held_by: Owner | None = None,
        for_workers: bool = False,
    ) -> Task:
        """A queued task, or the unfinished one that has its key. `held_by`: no other process may claim it.

        Its code source is made once now, so that a wrong one fails before anything is kept. `asked` is what belongs to
        the request beside its sentence. `for_workers`: whoever runs it may have keys that are not here.
        """
        model = self.model_of(origin, self._settings.with_options(options or {}), for_workers=for_workers)
        task = self._queue.draft(
            request, origin, retry_of=retry_of, options=options, terms=terms, model=model, base=self._base(terms)
        )
        if not asked:
            return self._queue.put([task], held_by=held_by)[0]
        with self._store.creating(task, base=self._root) as file:
            keep_asked(file, asked)
        put = self._queue.put([task], held_by=held_by)[0]
        if put.id != task.id:
            self._store.remove(task.id)
        return put

    def submit_all(
        self, wishes: Sequence[tuple[str, CodeOrigin]], *, options: Mapping[str, str], terms: Terms
    ) -> tuple[Task, ...]:
        """As `submit`, for many at once: all are queued, or none."""
        settings = self._settings.with_options(options)
        models: dict[str, str] = {}
        drafts = []
        base = self._base(terms)
        for request, origin in wishes:
            if origin.source != "model" or origin.name not in models:
                models[origin.name] = self.model_of(origin, settings, for_workers=True)
            model = models[origin.name]
            drafts.append(self._queue.draft(request, origin, options=options, terms=terms, model=model, base=base))
        return self._queue.put(drafts)

    def submit_variants(
        self,
        request: str,
        origins: Sequence[CodeOrigin],
        *,
        options: Mapping[str, str],
        asked: Asked,
        terms: Terms,
        held_by: Owner | None = None,
    ) -> tuple[Task, ...]:
        """One task for each of the origins, as variants of each other: all are queued, or none.

        Limits among `options` of what models cost are those of all together; each variant has its part.
        """
        shared = share_limits(options, len(origins))
        settings = self._settings.with_options(shared)
        elsewhere = held_by is None
        models = {origin.name: self.model_of(origin, settings, for_workers=elsewhere) for origin in origins}
        drafts: list[Task] = []
        base = self._base(terms)
        for origin in origins:
            group, model = replace(terms, group=drafts[0].id if drafts else None), models[origin.name]
            draft = self._queue.draft(request, origin, options=shared, terms=group, model=model, base=base)
            drafts.append(draft if drafts else replace(draft, terms=replace(terms, group=draft.id)))
        for draft in drafts if asked else ():
            with self._store.creating(draft, base=self._root) as file:
                keep_asked(file, asked)
        tasks = self._queue.put(drafts, held_by=held_by)
        for unused in {draft.id for draft in drafts if asked} - {task.id for task in tasks}:
            self._store.remove(unused)
        return tasks

    def rewrite(
        self, task: Task, request: str, origin: CodeOrigin, *, options: Mapping[str, str], asked: Asked, terms: Terms
    ) -> Task:
        """A queued task that never began asks for something else now. IllegalMove when it has begun."""
        model = self.model_of(origin, self._settings.with_options(options))
        base = self._base(terms)
        draft = self._queue.draft(request, origin, options=options, terms=terms, model=model, base=base)
        again = self._queue.rewrite(task, draft)
        if asked or self._store.exists(task.id):
            with unless_it_moved(task), self._store.writing(again, base=self._root) as file:
                keep_asked(file, asked)
        return again

    def keep(self, base: str) -> None:
        """What a task works on is there for a further one. Raises Conflict when it is being deleted."""
        self._bases.keep(base)

    def _base(self, terms: Terms | None) -> str:
        """What a task that is asked for now works on. Raises UsageProblem for one that no worker could accept."""
        base = self._bases.now()
        if base and terms is not None and terms.accepts:
            raise UsageProblem(
                "A task that other machines run cannot be accepted by itself.",
                "Its worker has a commit of the project, not your files.",
                (
                    "cairn run --accept ...   runs it here, and accepts it into the clone that you are in.",
                    "Without --accept it comes to review; cairn accept ID   takes it then, in any clone.",
                ),
            )
        return base

    def model_of(self, origin: CodeOrigin, settings: Settings, *, for_workers: bool = False) -> str:
        """The exact name of the model that writes such a task's programs; nothing for a recipe or a file.

        Its key has to be here, unless workers of other machines run the task: they have keys, people need none.
        """
        try:
            source = self._parts.source(origin, settings)
        except KeyMissing:
            if not (for_workers and self._is_shared):
                raise
            from cairn.language_model import exact_name

            return exact_name(origin.name)
        return source.label if origin.source == "model" else ""
