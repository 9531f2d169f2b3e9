"""Reading the ledger: what was spent on what, and whether the books add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .limits import NANO
from .schema import tables

if TYPE_CHECKING:
    from .store import AnswerStore


def listing(store: AnswerStore) -> dict[str, list[dict[str, Any]]]:
    """Oracles and budgets of a store, one dict each.

    Returns
    -------
    dict : ``"oracles"`` (identity, answers, rows, answered, failed, cost, tokens_in, tokens_out) and
        ``"budgets"`` (name, limit, spare, used, repeated, saved, cost, max_cost, tokens). Rows, money,
        tokens; `saved` counts rows that came from the store at no cost.
    """
    import sqlalchemy as sa

    t = tables()
    a, b, o = t.attempts.c, t.budgets.c, t.oracles.c
    failed = sa.case((a.state == "sent", 0), else_=a.first + a.repeats - a.answered)
    per_oracle = (
        sa.select(
            a.oracle_id,
            sa.func.sum(a.first + a.repeats).label("rows"),
            sa.func.sum(a.answered).label("answered"),
            sa.func.sum(failed).label("failed"),
            sa.func.sum(sa.case((a.state == "sent", a.first + a.repeats), else_=0)).label("open"),
            sa.func.sum(a.cost).label("cost"),
            sa.func.sum(a.tokens_in).label("tokens_in"),
            sa.func.sum(a.tokens_out).label("tokens_out"),
        )
        .group_by(a.oracle_id)
        .subquery()
    )
    count = (
        sa.select(t.answers.c.oracle_id, sa.func.count().label("answers")).group_by(t.answers.c.oracle_id).subquery()
    )
    query = (
        sa.select(o.identity, count.c.answers, *[c for c in per_oracle.c if c.name != "oracle_id"])
        .outerjoin_from(t.oracles, per_oracle, per_oracle.c.oracle_id == o.id)
        .outerjoin(count, count.c.oracle_id == o.id)
        .order_by(o.id)
    )
    with store._read() as c:
        oracles = [{k: v or 0 for k, v in row.items()} for row in c.execute(query).mappings()]
        budgets = [dict(row) for row in c.execute(sa.select(t.budgets).order_by(b.id)).mappings()]
    for row in oracles:
        row["cost"] = float(row["cost"]) / NANO
        for name in ("rows", "answered", "failed", "open", "tokens_in", "tokens_out"):
            row[name] = int(row[name])
    return {
        "oracles": oracles,
        "budgets": [
            {
                "name": row["name"],
                "limit": row["row_limit"],
                "spare": row["spare"],
                "used": row["used"],
                "repeated": row["spare_used"],
                "saved": row["saved"],
                "cost": row["cost"] / NANO,
                "max_cost": None if row["max_cost"] is None else row["max_cost"] / NANO,
                "tokens": row["tokens"],
            }
            for row in budgets
        ],
    }


def verify(store: AnswerStore) -> list[str]:
    """Recount the whole store; each line says what does not add up. Empty: all does.

    Checks: every budget against its attempts and its children's; caps; answers against the attempts that
    bought them; the form of every answer; on SQLite the file itself.
    """
    import sqlalchemy as sa

    t = tables()
    wrong: list[str] = []
    with store._read() as c:
        if c.dialect.name == "sqlite":
            c.exec_driver_sql("BEGIN")  # one view of all tables
            state = c.exec_driver_sql("PRAGMA integrity_check").scalar()
            if state != "ok":
                wrong.append(f"the file is damaged: {state}")
        else:
            c.execution_options(isolation_level="REPEATABLE READ")
        budgets = {r["id"]: dict(r) for r in c.execute(sa.select(t.budgets)).mappings()}
        wrong += _budgets(c, budgets)
        wrong += _answers(c)
        c.rollback() if c.dialect.name != "sqlite" else c.exec_driver_sql("ROLLBACK")
    return wrong


def _budgets(c: Any, budgets: dict[int, dict[str, Any]]) -> list[str]:
    import sqlalchemy as sa

    a = tables().attempts.c
    sums = {i: [0, 0, 0, 0] for i in budgets}
    wrong = []
    for row in c.execute(
        sa.select(
            a.budget_id,
            sa.func.sum(a.first),
            sa.func.sum(a.repeats),
            sa.func.sum(a.cost),
            sa.func.sum(a.tokens_in + a.tokens_out),
        ).group_by(a.budget_id)
    ):
        at: int | None = row[0]
        if at not in budgets:
            wrong.append(f"attempts on budget {at}, which is not there")
        while at in budgets:
            sums[at] = [have + int(more) for have, more in zip(sums[at], row[1:])]
            at = budgets[at]["parent_id"]
    names = ("used", "spare_used", "cost", "tokens")
    for i, b in budgets.items():
        for name, recount in zip(names, sums[i]):
            if b[name] != recount:
                wrong.append(f"budget {b['name']!r}: {name} is {b[name]}, its attempts add up to {recount}")
        for name, cap in zip(names, ("row_limit", "spare", "max_cost", "max_tokens")):
            if b[cap] is not None and b[name] > b[cap]:
                wrong.append(f"budget {b['name']!r}: {name} {b[name]} is past its cap of {b[cap]}")
    return wrong


def _answers(c: Any) -> list[str]:
    import numpy as np
    import sqlalchemy as sa

    t = tables()
    wrong = []
    bought = (
        sa.select(t.answers.c.attempt_id, sa.func.count().label("n"))
        .where(t.answers.c.attempt_id > 0)
        .group_by(t.answers.c.attempt_id)
        .subquery()
    )
    told = sa.func.coalesce(t.attempts.c.answered, 0)
    have = sa.func.coalesce(bought.c.n, 0)
    for row in c.execute(
        sa.select(t.attempts.c.id, told, have)
        .outerjoin_from(t.attempts, bought, bought.c.attempt_id == t.attempts.c.id)
        .where(told != have)
        .limit(20)
    ):
        wrong.append(f"attempt {row[0]}: {row[1]} answers were bought, {row[2]} are there")
    for row in c.execute(
        sa.select(bought.c.attempt_id).where(bought.c.attempt_id.not_in(sa.select(t.attempts.c.id))).limit(20)
    ):
        wrong.append(f"answers bought by attempt {row[0]}, which is not in the ledger")
    bad = 0
    for (scores,) in c.execute(sa.select(t.answers.c.scores)).yield_per(4096):
        bad += len(scores) % 8 != 0 or len(scores) == 0 or not np.isfinite(np.frombuffer(scores, "<f8")).all()
    if bad:
        wrong.append(f"{bad} answers are not rows of finite numbers")
    return wrong
