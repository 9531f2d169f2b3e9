"""The study's own table: every finished cell is on the disk before the next begins. SQLite or PostgreSQL."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BudgetExhausted, InvalidInput
from .names import Cell

_KEY = ("instance", "method", "budget", "seed")
COLUMNS = (*_KEY, "metric", "value", "rows_sent", "seconds", "rows_used", "rows_judging", "seconds_model", "status")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one cell gave.

    status : "ok" or "failed"; error : its text. values : {metric: number}.
    rows_sent : rows this cell sent for its explanation (less than the budget where it continues a smaller one).
    rows_used : rows the explanation rests on. rows_judging : rows its scores sent.
    seconds : in all; seconds_model : inside the model.
    """

    cell: Cell
    status: str
    values: dict[str, float]
    rows_sent: int = 0
    rows_used: int = 0
    rows_judging: int = 0
    seconds: float = 0.0
    seconds_model: float = 0.0
    error: str = ""


class Results:
    """Cells, their scores, what instances share, kept maps, and the study's shared budget.

    Parameters
    ----------
    where : directory (``study.db`` in it), or a database URL such as ``postgresql://...``.

    Picklable: a copy opens the same database. Each write is one transaction, durable when it returns.
    """

    def __init__(self, where: str | Path) -> None:
        self.where = str(where)
        self._pid, self._engine, self._t = -1, None, None  # type: int, Any, Any

    def __getstate__(self) -> dict[str, Any]:
        return {"where": self.where}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["where"])  # type: ignore[misc]

    @property
    def engine(self) -> Any:
        """The database, opened once a process."""
        if self._pid != os.getpid():
            import sqlalchemy as sa

            url = self.where
            if "://" not in url:
                Path(url).mkdir(parents=True, exist_ok=True)
                url = f"sqlite:///{Path(url) / 'study.db'}"
            engine = sa.create_engine(url)
            if url.startswith("sqlite"):
                sa.event.listen(engine, "connect", _pragmas)
            self._t = _tables(sa)
            self._t["meta"].create_all(engine)
            self._engine, self._pid = engine, os.getpid()
        return self._engine

    def table(self, name: str) -> Any:
        """One of "study", "cells", "scores", "shared", "maps", "signs"."""
        _ = self.engine
        assert self._t is not None
        return self._t[name]

    def close(self) -> None:
        """Release the database's files."""
        if self._engine is not None and self._pid == os.getpid():
            self._engine.dispose()
        self._pid, self._engine = -1, None

    def begin(self, described: dict[str, Any], limit: int | None) -> None:
        """Enter the study, or check that it is the one that is here.

        Raises
        ------
        InvalidInput : another study is here. Methods, budgets and seeds may be added, nothing else may change.
        """
        import sqlalchemy as sa

        t = self.table("study")
        with self.engine.begin() as db:
            row = db.execute(sa.select(t.c.described)).first()
            if row is None:
                db.execute(t.insert().values(id=1, described=json.dumps(described), cap=-1 if limit is None else limit))
                return
            old = json.loads(row[0])
            shown = [k for k in ("name", "scores", "judge", "settings") if old[k] != described[k]]
            shown += [m for m, v in described["methods"].items() if old["methods"].get(m, v) != v]
            if shown:
                raise InvalidInput(
                    f"study: {self.where} holds another study ({', '.join(shown)} differ). Use a new directory."
                )
            merged = {**described, "methods": {**old["methods"], **described["methods"]}}
            for what in ("budgets", "seeds"):
                merged[what] = sorted({*old[what], *described[what]})
            new = {"described": json.dumps(merged), "cap": -1 if limit is None else limit}
            db.execute(t.update().values(new))

    def described(self) -> dict[str, Any]:
        """What `begin` was told, and {"used", "limit"} of the shared budget."""
        import sqlalchemy as sa

        t = self.table("study")
        with self.engine.connect() as db:
            row = db.execute(sa.select(t.c.described, t.c.used, t.c.cap)).first()
        if row is None:
            raise InvalidInput(f"study: {self.where} holds no study.")
        return {**json.loads(row[0]), "used": int(row[1]), "limit": None if row[2] < 0 else int(row[2])}

    def note(self, **facts: Any) -> None:
        """Add plain facts (versions, machine) to what is described."""
        import sqlalchemy as sa

        t = self.table("study")
        with self.engine.begin() as db:
            old = json.loads(db.execute(sa.select(t.c.described)).scalar_one())
            db.execute(t.update().values(described=json.dumps({**old, **facts})))

    def reserve(self, rows: int) -> None:
        """Take rows from the budget that all workers share: one conditional UPDATE.

        Raises
        ------
        BudgetExhausted : the study's limit does not cover them; nothing was taken.
        """
        import sqlalchemy as sa

        t = self.table("study")
        with self.engine.begin() as db:
            fits = sa.or_(t.c.cap < 0, t.c.used + rows <= t.c.cap)
            if db.execute(t.update().where(fits).values(used=t.c.used + rows)).rowcount:
                return
            used, cap = db.execute(sa.select(t.c.used, t.c.cap)).one()
        raise BudgetExhausted("study", rows, int(cap - used), int(cap))

    def give_back(self, rows: int) -> None:
        """Return rows that were reserved and not sent."""
        t = self.table("study")
        if rows:
            with self.engine.begin() as db:
                db.execute(t.update().values(used=t.c.used - rows))

    def add(self, outcome: Outcome, kept: dict[str, NDArray[Any]] | None = None, *, unspent: int = 0) -> None:
        """Record a cell with its scores (and its map), and give `unspent` rows back, in one transaction."""
        key = dict(zip(_KEY, outcome.cell))
        cells, scores, maps, study = (self.table(n) for n in ("cells", "scores", "maps", "study"))
        with self.engine.begin() as db:
            for t in (cells, scores, maps):
                db.execute(t.delete().where(*(t.c[k] == v for k, v in key.items())))
            db.execute(
                cells.insert().values(
                    **key,
                    status=outcome.status,
                    error=outcome.error,
                    rows_sent=outcome.rows_sent,
                    rows_used=outcome.rows_used,
                    rows_judging=outcome.rows_judging,
                    seconds=outcome.seconds,
                    seconds_model=outcome.seconds_model,
                    finished=time.time(),
                )
            )
            if outcome.values:
                rows = [{**key, "metric": m, "value": v} for m, v in outcome.values.items()]
                db.execute(scores.insert(), rows)
            if kept is not None:
                db.execute(maps.insert().values(**key, data=_bytes(kept)))
            if unspent:
                db.execute(study.update().values(used=study.c.used - unspent))

    def add_group(self, outcome: Outcome, name: str, signed: str, *, unspent: int = 0) -> None:
        """Record the numbers of a group score, in one transaction.

        name : of the score; its earlier numbers in this cell go. signed : what the numbers were made from, "" for a
        failure. Several scores share a cell: their rows and seconds add up.
        """
        import sqlalchemy as sa

        key = dict(zip(_KEY, outcome.cell))
        cells, scores, signs, study = (self.table(n) for n in ("cells", "scores", "signs", "study"))
        own = [cells.c[k] == v for k, v in key.items()]
        spent = {"rows_judging": outcome.rows_judging, "seconds": outcome.seconds}
        spent["seconds_model"] = outcome.seconds_model
        state = {"status": outcome.status, "error": outcome.error, "finished": time.time()}
        mark = [signs.c[k] == v for k, v in {**key, "name": name}.items()]
        with self.engine.begin() as db:
            old = json.loads(db.execute(sa.select(signs.c.numbers).where(*mark)).scalar() or "[]")
            gone = [scores.c[k] == v for k, v in key.items()]
            db.execute(scores.delete().where(*gone, scores.c.metric.in_([*old, *outcome.values])))
            db.execute(signs.delete().where(*mark))
            grown = {k: cells.c[k] + v for k, v in spent.items()}
            if not db.execute(cells.update().where(*own).values(**state, **grown)).rowcount:
                db.execute(cells.insert().values(**key, **state, rows_sent=0, rows_used=0, **spent))
            if outcome.values:
                db.execute(scores.insert(), [{**key, "metric": m, "value": v} for m, v in outcome.values.items()])
            if signed:
                numbers = json.dumps(list(outcome.values))
                db.execute(signs.insert().values(**key, name=name, signed=signed, numbers=numbers))
            if unspent:
                db.execute(study.update().values(used=study.c.used - unspent))

    def signed(self) -> dict[tuple[Cell, str], str]:
        """What the numbers of each group score were made from: (cell, name) -> signature."""
        import sqlalchemy as sa

        t = self.table("signs")
        with self.engine.connect() as db:
            query = sa.select(*(t.c[k] for k in _KEY), t.c.name, t.c.signed)
            return {(Cell(*row[:4]), row[4]): row[5] for row in db.execute(query)}

    def kept(self, cell: Cell) -> dict[str, NDArray[Any]] | None:
        """What was stored of one cell beside its numbers."""
        import sqlalchemy as sa

        t = self.table("maps")
        with self.engine.connect() as db:
            own = [t.c[k] == v for k, v in zip(_KEY, cell)]
            data = db.execute(sa.select(t.c.data).where(*own)).scalar()
        return None if data is None else _arrays(data)

    def done(self) -> set[Cell]:
        """Cells that need no more work; failed ones are tried again."""
        import sqlalchemy as sa

        t = self.table("cells")
        with self.engine.connect() as db:
            return {Cell(*row) for row in db.execute(sa.select(*(t.c[k] for k in _KEY)).where(t.c.status == "ok"))}

    def done_of(self, cells: list[Cell]) -> set[Cell]:
        """Which of one chain's cells need no more work."""
        import sqlalchemy as sa

        t = self.table("cells")
        first = cells[0]
        own = (t.c.instance == first.instance, t.c.method == first.method, t.c.seed == first.seed, t.c.status == "ok")
        with self.engine.connect() as db:
            return {Cell(*row) for row in db.execute(sa.select(*(t.c[k] for k in _KEY)).where(*own))} & set(cells)

    def share(self, instance: str, name: str, arrays: dict[str, NDArray[Any]]) -> None:
        """Keep what all cells of an instance use."""
        t = self.table("shared")
        with self.engine.begin() as db:
            db.execute(t.delete().where(t.c.instance == instance, t.c.name == name))
            db.execute(t.insert().values(instance=instance, name=name, data=_bytes(arrays)))

    def shared(self, instance: str) -> dict[str, dict[str, NDArray[Any]]]:
        """What was kept for an instance, by name."""
        import sqlalchemy as sa

        t = self.table("shared")
        with self.engine.connect() as db:
            found = db.execute(sa.select(t.c.name, t.c.data).where(t.c.instance == instance)).all()
        return {name: _arrays(data) for name, data in found}

    def prepared(self) -> set[str]:
        """Instances whose shared part is complete."""
        import sqlalchemy as sa

        t = self.table("shared")
        with self.engine.connect() as db:
            return {row[0] for row in db.execute(sa.select(t.c.instance).where(t.c.name == "ready"))}

    def maps(self) -> Iterator[tuple[Cell, dict[str, NDArray[Any]]]]:
        """Attributions kept for pictures, with what places them."""
        import sqlalchemy as sa

        t = self.table("maps")
        with self.engine.connect() as db:
            for row in db.execute(sa.select(*(t.c[k] for k in _KEY), t.c.data)):
                arrays = _arrays(row[4])
                if "map" in arrays:
                    yield Cell(*row[:4]), arrays

    def rows(self) -> Iterator[dict[str, Any]]:
        """The tidy table: one dict a cell and metric (`COLUMNS`); a failed cell has one row without a metric."""
        import sqlalchemy as sa

        c, s = self.table("cells"), self.table("scores")
        on = sa.and_(*(c.c[k] == s.c[k] for k in _KEY))
        picked = [c.c[k] for k in _KEY] + [s.c.metric, s.c.value]
        picked += [c.c[k] for k in COLUMNS[6:]]
        query = sa.select(*picked).select_from(c.outerjoin(s, on)).order_by(*(c.c[k] for k in _KEY), s.c.metric)
        with self.engine.connect().execution_options(yield_per=1000) as db:
            for row in db.execute(query):
                yield dict(zip(COLUMNS, row))

    def failures(self) -> list[tuple[Cell, str]]:
        """Failed cells and why."""
        import sqlalchemy as sa

        t = self.table("cells")
        with self.engine.connect() as db:
            query = sa.select(*(t.c[k] for k in _KEY), t.c.error).where(t.c.status != "ok")
            return [(Cell(*row[:4]), row[4]) for row in db.execute(query)]


def _tables(sa: Any) -> dict[str, Any]:
    meta = sa.MetaData()

    def key() -> list[Any]:
        return [
            sa.Column("instance", sa.String, primary_key=True),
            sa.Column("method", sa.String, primary_key=True),
            sa.Column("budget", sa.BigInteger, primary_key=True),
            sa.Column("seed", sa.BigInteger, primary_key=True),
        ]

    counts = [sa.Column(n, sa.BigInteger, nullable=False) for n in ("rows_sent", "rows_used", "rows_judging")]
    times = [sa.Column(n, sa.Float, nullable=False) for n in ("seconds", "seconds_model", "finished")]
    return {
        "meta": meta,
        "study": sa.Table(
            "study",
            meta,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("described", sa.Text, nullable=False),
            sa.Column("cap", sa.BigInteger, nullable=False),
            sa.Column("used", sa.BigInteger, nullable=False, server_default="0"),
        ),
        "cells": sa.Table(
            "cells", meta, *key(), sa.Column("status", sa.String), sa.Column("error", sa.Text), *counts, *times
        ),
        "scores": sa.Table(
            "scores", meta, *key(), sa.Column("metric", sa.String, primary_key=True), sa.Column("value", sa.Float)
        ),
        "shared": sa.Table(
            "shared",
            meta,
            sa.Column("instance", sa.String, primary_key=True),
            sa.Column("name", sa.String, primary_key=True),
            sa.Column("data", sa.LargeBinary),
        ),
        "maps": sa.Table("maps", meta, *key(), sa.Column("data", sa.LargeBinary)),
        "signs": sa.Table(
            "signs",
            meta,
            *key(),
            sa.Column("name", sa.String, primary_key=True),
            sa.Column("signed", sa.String),
            sa.Column("numbers", sa.Text),
        ),
    }


def _pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=60000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _bytes(arrays: dict[str, NDArray[Any]]) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def _arrays(data: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
