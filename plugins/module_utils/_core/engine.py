# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one shape of every module: observe, plan, apply, observe again equals desired.

observe() and plan() change nothing, whatever they find. What comes before them has phases of its own: hold(), and the
steps of recovery().
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from .errors import OversshError
from .plan import Plan, Step, apply, undo

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

Observed = TypeVar("Observed")
Method = TypeVar("Method", bound=Callable[..., None])
# Where a method keeps the actions that it performs.
ACTIONS = "_performed_actions"


def performs(*actions: str) -> Callable[[Method], Method]:
    """Register a method of an engine for steps with these actions; the method takes a step's args by name."""

    def register(method: Method) -> Method:
        setattr(method, ACTIONS, actions)
        return method

    return register


class Engine(ABC, Generic[Observed]):
    """One subject of the host. plan() calls a pure function with the desired and the observed state.

    Its life, driven by run(): hold, recovery, observe, plan, apply, wait, observe, plan, settle, close. In check mode
    its life is recovery, observe, plan, close; all of them only look then.

    performers: the name of the method that does a step, by the step's action.
    """

    performers: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        members = [(name, member) for base in reversed(cls.__mro__) for name, member in vars(base).items()]
        cls.performers = {action: name for name, member in members for action in getattr(member, ACTIONS, ())}

    def hold(self) -> None:
        """Lock the subject against other runs of ours until close(), before it is observed; not in check mode."""

    def recovery(self) -> tuple[Step, ...]:
        """The steps that take back what an interrupted run left, done before the host is observed; only looks.

        They come first in the module's steps, and have no inverse.
        """
        return ()

    @abstractmethod
    def observe(self) -> Observed:
        """The state of the host; only looks."""

    @abstractmethod
    def plan(self, observed: Observed) -> Plan:
        """The steps to the desired state, as data; OversshError for a refusal that is known by now."""

    def begin(self, action: str) -> None:
        """Note that a step of this action begins; the last observation is outdated then."""

    def perform(self, step: Step) -> None:
        """Do one step with its registered method, whole or not at all; OversshError gives the reason."""
        self.begin(step.action)
        getattr(self, self.performers[step.action])(**step.args)

    @abstractmethod
    def result(self, observed: Observed) -> dict[str, Any]:
        """The module's return values for an observed state; the list "warnings" is shown, not returned."""

    def wait(self) -> None:
        """Wait until the change is in effect, where the user wants that; an OversshError undoes the change."""

    def in_effect(self, observed: Observed) -> bool:
        """Whether wait() would return at once; a host without any step is then not observed again."""
        return False

    def settle(self) -> None:
        """Discard the checkpoint of a change that is in effect; an OversshError rolls the change back."""

    def close(self) -> None:
        """Release what the engine holds beyond its run, such as a lock; called once, after success and failure."""


def run_module(module: AnsibleModule, make: Callable[[], Engine[Any]]) -> None:
    """Make the module's engine, drive it through its life and end the module."""
    try:
        engine = make()
    except OversshError as error:
        _fail(module, error)
    else:
        run(module, engine)


def run_info(module: AnsibleModule, look: Callable[[], Mapping[str, Any]]) -> None:
    """End a module that changes nothing; look() gives its return values by name."""
    try:
        found = look()
    except OversshError as error:
        _fail(module, error)
    else:
        module.exit_json(changed=False, **found)


def run(module: AnsibleModule, engine: Engine[Any]) -> None:
    """Drive the engine through its life and end the module."""
    try:
        if not module.check_mode:
            engine.hold()
        left = Plan({}, {}, engine.recovery())
        if not module.check_mode:
            apply(left, engine.perform)
        observed = engine.observe()
        plan = engine.plan(observed)
        answer: dict[str, Any] = {"changed": left.changed or plan.changed, "steps": [*left.labels, *plan.labels]}
        if module._diff:
            answer["diff"] = plan.diff()
        if not module.check_mode and (plan.changed or not engine.in_effect(observed)):
            observed = carry_through(engine, plan)
        result = engine.result(observed)
        for words in result.pop("warnings", []):
            module.warn(words)
        module.exit_json(**answer, **result)
    except OversshError as error:
        _fail(module, error)
    finally:
        engine.close()


def carry_through(engine: Engine[Observed], plan: Plan) -> Observed:
    """Do the plan and observe the result; a difference from the plan is an OversshError and undone."""
    apply(plan, engine.perform)
    try:
        engine.wait()
        observed = engine.observe()
        left = engine.plan(observed)
        if left.changed:
            raise OversshError(f"the host did not keep the change, still to do: {', '.join(left.labels)}")
        engine.settle()
    except OversshError as error:
        raise OversshError(f"{error}{undo(plan.steps, engine.perform)}") from error
    return observed


def _fail(module: AnsibleModule, error: OversshError) -> None:
    """End the module with the error's sentence, with exactly one full stop."""
    words = str(error)
    module.fail_json(msg=words if words.endswith((".", "!", "?")) else f"{words}.", **error.answer)
