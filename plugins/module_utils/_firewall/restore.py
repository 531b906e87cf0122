# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore firewall rules of ours that others have removed. On a host this is a program, run by the watcher.

A missing rule comes back in its place. A place may take no effect any more, because its chain is not called or others
drop earlier. Then an accept gets an effective place for as long as this is so. Rules of ours in iptables' spelling, as
a save and a restore leave them, are written as ours again, and no rule stands twice.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from .._core.command import Answer, Runner, checked
from .._core.errors import OversshError
from .._core.files import read_text, write_text
from .._nftables import docker_chains, ours
from .._nftables import record as nftables_record
from .._nftables.accept import Accept, accept_from
from .._nftables.placement import DOCKER_USER, AcceptPlacement, Placer
from .._nftables.record import Placed, Record, interim, is_restored, same
from .._nftables.rules_file import CHAIN, Line, read_lines
from .._nftables.ruleset import FIREWALLD, ChainKey, Rule, Ruleset

# The exit status of a run that could not do all; any other but 0 means that it could not run.
INCOMPLETE = 3
ACCEPT = " accept comment "

Say = Callable[[str], None]


@dataclass(frozen=True)
class Change:
    """A command of nft, and the words for the journal once it is done; "" for no words."""

    command: str
    said: str = ""


def main(argv: Sequence[str]) -> int:
    """Run the program; argv: the file that lists the rules."""
    return restore(_run, argv[0], print, functools.partial(print, file=sys.stderr))


def restore(run: Runner, rules_file: str, say: Say, complain: Say) -> int:
    """Restore missing rules; return 0, or INCOMPLETE where a rule is still missing. complain gets the reasons.

    A rule whose chain is missing is left out, and say gets a line about it; the chain's owner may be about to make it.
    """
    lines = [line for line in read_lines(read_text(rules_file)) if line.key.family != FIREWALLD]
    record = ours.record(rules_file)
    found = ours.ruleset(run, record)
    missing = missing_lines(lines, record, found)
    problems: list[str] = []
    changes = list(returning(missing, lines, found, say, problems.append))
    done = apply(run, changes, say)
    if changes:
        found = ours.ruleset(run, record)
    done = settle(run, record, found, {line.name for line in missing}, say) and done
    for each in docker_chains.lost(docker_chains.observe(), [found]):
        say(each.sentence)
    for words in problems:
        complain(words)
    return 0 if done and not problems else INCOMPLETE


def missing_lines(lines: Sequence[Line], record: Record, found: Ruleset) -> list[Line]:
    """The lines whose rule or chain is missing on the host, or is there in iptables' spelling only."""
    return [line for line in lines if not _stands(line, record, found)]


def _stands(line: Line, record: Record, found: Ruleset) -> bool:
    chain = found.chains.get(line.key)
    if chain is None or line.anchor == CHAIN:
        return chain is not None
    entry = _entry(line, record)
    return any(rule.name == line.name and not is_restored(rule) and same(rule, entry) for rule in chain.rules)


def _entry(line: Line, record: Record) -> Placed:
    known = (each for each in record.placed if (each.key, each.rule) == (line.key, line.rule))
    return next(known, Placed(line.key, line.rule))


def returning(
    missing: Sequence[Line], lines: Sequence[Line], found: Ruleset, say: Say, complain: Say
) -> Iterator[Change]:
    """The changes that restore the missing lines and remove doubles of our rules."""
    yield from (Change(f"delete rule {key} handle {rule.handle}") for key, rule in surplus(lines, found))
    made = set()
    for line in missing:
        key, chain = line.key, found.chains.get(line.key)
        if line.anchor == CHAIN:
            made.add(key)
            yield Change(f"add table {key.family} {key.table}")
            yield Change(f"add chain {key} {line.rule}", f"put back the chain {key}")
            continue
        if chain is None and key not in made:
            if key.chain != DOCKER_USER:
                say(f"no chain {key}, so no rule there: {line.rule}")
                continue
            # Docker takes it as it finds it when it starts, and drops from then on what no rule there accepts.
            made.add(key)
            yield Change(f"add table {key.family} {key.table}")
            yield Change(f"add chain {key}")
        anchor = next((rule.handle for rule in chain.rules if rule.text == line.anchor), None) if chain else None
        if not line.anchor:
            command = f"add rule {key} {line.rule}"
        elif anchor is not None:
            command = f"insert rule {key} position {anchor} {line.rule}"
        elif ACCEPT in line.rule:
            # The head of the chain is as effective. Any other verdict could cut there what it was never meant for.
            command = f"insert rule {key} {line.rule}"
        else:
            complain(f"the rule that it stood before is gone, so it stays away: {line.rule}")
            continue
        yield Change(command, f"put back in {key}: {line.rule}")


def surplus(lines: Sequence[Line], found: Ruleset) -> Iterator[tuple[ChainKey, Rule]]:
    """Rules of ours in iptables' spelling, and those that stand more often in a chain than the lines say."""
    known = {(line.key, line.name) for line in lines}
    seen: list[tuple[ChainKey, Rule]] = []
    for key, rule in found.our_rules():
        if (key, rule.name or "") not in known:
            continue
        again = any(key == other and same(rule, Placed(key, first.text, first.statements)) for other, first in seen)
        if is_restored(rule) or again:
            yield key, rule
        else:
            seen.append((key, rule))


def settle(run: Runner, record: Record, found: Ruleset, disturbed: Collection[str], say: Say) -> bool:
    """Give accepts without effect another place, and remove that place once the first one takes effect again.

    disturbed: names of rules that others had removed.
    """
    standing = interim(found, record)
    lasting = replace(record, placed=tuple(each for each in record.placed if not each.interim))
    wanted: list[Placed] = []
    changes: list[Change] = []
    for accept, placer in _accepts(record, found.without(standing)):
        try:
            accept_placement = placer.place(accept)
        except OversshError as error:
            say(str(error))
            continue
        lost = accept.name in disturbed or any(rule.name == accept.name for _key, rule in standing)
        if accept_placement.added and not lost and not _nowhere(placer, record, accept):
            decider = accept_placement.added[0].decider
            where = f"{decider.text!r} in {decider.key}" if decider else "somebody's rule"
            say(f"{where} drops packets of {accept.name}, which were let pass before; run overssh.swarm.site")
            continue
        wanted += _placed(accept_placement)
        changes += _interim_changes(accept_placement, standing)
    for key, rule in standing:
        if not any(key == each.key and same(rule, each) for each in wanted):
            changes.append(Change(f"delete rule {key} handle {rule.handle}", f"took away from {key}: {rule.text}"))
    if not changes and lasting == record:
        return True
    # What comes is written down before it is there, and what goes after it is gone.
    write_text(nftables_record.PLACED_FILE, record.with_placed(wanted).text)
    done = apply(run, changes, say)
    write_text(nftables_record.PLACED_FILE, lasting.with_placed(wanted).text)
    return done


def _accepts(record: Record, found: Ruleset) -> Iterator[tuple[Accept, Placer]]:
    """Each accept that may be given a place, with what finds it."""
    placers: dict[str, Placer] = {}
    for options in record.accepts.values():
        owner = str(options.get("owner") or "auto")
        if owner not in placers:
            placers[owner] = Placer(found, lambda name: name not in record.accepts, owner)
        yield accept_from(options), placers[owner]


def _nowhere(placer: Placer, record: Record, accept: Accept) -> bool:
    """Whether a rule of the accept stands in a chain that nothing leads to any more."""
    return any(each.name == accept.name and not placer.is_called(each.key) for each in record.placed)


def _placed(accept_placement: AcceptPlacement) -> list[Placed]:
    return [Placed(each.key, each.piece.text, each.piece.statements, True) for each in accept_placement.added]


def _interim_changes(accept_placement: AcceptPlacement, standing: Sequence[tuple[ChainKey, Rule]]) -> Iterator[Change]:
    for each in accept_placement.added:
        entry = Placed(each.key, each.piece.text, each.piece.statements, True)
        if any(key == each.key and same(rule, entry) for key, rule in standing):
            continue
        place = f"add rule {each.key}" if each.before is None else f"insert rule {each.key} position {each.before}"
        yield Change(f"{place} {each.piece.text}", f"placed in {each.key}, where it takes effect: {each.piece.text}")


def apply(run: Runner, changes: Sequence[Change], say: Say) -> bool:
    """Do all changes in one transaction; where nft refuses it, as many as possible; return whether all were done."""
    if not changes:
        return True
    if run(["nft", "-f", "-"], data="".join(f"{each.command}\n" for each in changes), check=False).rc == 0:
        done = list(changes)
    else:
        done = []
        for each in changes:
            answer = run(["nft", "-f", "-"], data=f"{each.command}\n", check=False)
            if answer.rc == 0:
                done.append(each)
            else:
                say(f"{each.command}: {' / '.join(answer.stderr.split())}")
    for each in done:
        if each.said:
            say(each.said)
    return len(done) == len(changes)


def _run(argv: Sequence[str], data: str | None = None, check: bool = True) -> Answer:
    done = subprocess.run(argv, input=data, capture_output=True, text=True, check=False)
    return checked(Answer(done.returncode, done.stdout, done.stderr), argv, check)
