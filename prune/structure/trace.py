"""Tracing: one forward pass with labels riding along, then a trial of a smaller network.

The pass runs on a shadow of the network (meta tensors: real Python control flow, no compute) and
on the network itself where its code needs numbers. The trial cuts a third of every group and runs
again; where the code fixes a size the trial shows it, what it touched is read differently or kept
whole, and the trial is repeated until it passes.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_iter, tree_map

from ..errors import InputError
from .groups import structure_of
from .labels import Fields
from .recorder import ModuleStack, Record, Recorder, Recording, Site, hard_coded
from .shadow import (
    call,
    containers_training,
    duplicate,
    shadow,
    shadow_inputs,
    tensors_of,
    undisturbed,
)
from .surgery import cut, kept_indices
from .trial import Fate, Thinned, first_difference
from .units import Structure

MAX_TRIALS = 200


def trace(model: nn.Module, example_inputs: Any) -> Structure:
    """Find out which filters can be removed, and what goes with them.

    `example_inputs` is a tensor, a tuple of arguments or a dictionary of named arguments; the
    first axis of the first tensor counts images. The network is left as it was: mode, gradients,
    hooks.

    Raises:
        InputError: the network does not run on these inputs.
    """
    with undisturbed(model):
        try:
            return _Tracer(shadow(model), shadow_inputs(example_inputs)).run()
        except Exception:  # its code needs numbers: run it for real
            pass
        try:
            return _Tracer(*_copies(model, example_inputs)).run()
        except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
            raise InputError(
                f"{type(model).__name__} does not run on the example inputs ({error}): "
                "give inputs of the size that the network was made for"
            ) from error


def _copies(model: nn.Module, inputs: Any) -> tuple[nn.Module, Any]:
    """What may be run: code that writes into its buffers or inputs does not reach the user's."""
    copied = copy.deepcopy(model).eval()
    return copied, tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, inputs)


@dataclass
class _Tracer:
    """Records, tries, and reads differently or pins what the trial showed, until it passes."""

    model: nn.Module
    inputs: Any
    auxiliary: bool = False

    def run(self) -> Structure:
        """The structure that passes its trial."""
        choices: dict[Site, int] = {}
        recording = self._record(choices)
        for _ in range(MAX_TRIALS):
            components = recording.labels.solve()
            structure = structure_of(self.model, recording, components, self._num_images())
            if not structure.groups:
                return structure
            gone = Thinned().removed_units(structure)
            fate = Fate(recording, components, structure, gone)
            culprit = first_difference(recording, fate, self._trial_of(structure))
            if culprit is None:
                return structure
            if self._settle(recording, fate, choices, culprit):
                recording = self._record(choices)
        raise InputError(
            f"{type(self.model).__name__} fixes too many sizes in its code: "
            f"{MAX_TRIALS} smaller versions of it failed to run"
        )

    def _num_images(self) -> int:
        first = next(x for x in tree_iter(self.inputs) if isinstance(x, Tensor))
        return int(first.shape[0])

    def _record(self, choices: dict[Site, int]) -> Recording:
        """Labels of a forward pass; a second one where training has branches of its own."""
        recording = Recording()
        stack = ModuleStack(self.model)
        recorder = Recorder(self.model, stack, recording, choices)
        recording.modules = stack.ran
        self._forward(stack, recorder)
        unseen = {name for name, _ in self.model.named_parameters()} - recording.tensors.keys()
        self.auxiliary = bool(unseen) and self._training_runs()
        if self.auxiliary:
            containers_training(self.model)
            self._forward(stack, recorder)
            self.model.eval()
        return recording

    def _forward(self, stack: ModuleStack, recorder: Recorder) -> None:
        """Run once; the outputs of the network keep their size."""
        with stack.following(), recorder:
            outputs = call(self.model, self.inputs)
        for tensor in tensors_of(outputs):
            for field in recorder.fields(tensor):
                recorder.recording.labels.pin(field, "it is the output of the network")

    def _training_runs(self) -> bool:
        """Whether the network runs with its containers in training mode."""
        containers_training(self.model)
        try:
            call(self.model, self.inputs)
        except Exception:
            return False
        finally:
            self.model.eval()
        return True

    def _trial_of(self, structure: Structure) -> Callable[[], None]:
        """A copy with a part of every group removed, ready to run as it was recorded."""
        smaller = duplicate(self.model)
        cut(smaller, kept_indices(structure, Thinned()))

        def run() -> None:
            call(smaller, self.inputs)
            if self.auxiliary:
                containers_training(smaller)
                call(smaller, self.inputs)

        return run

    def _settle(
        self, recording: Recording, fate: Fate, choices: dict[Site, int], culprit: int
    ) -> bool:
        """Read the culprit differently (True: record again) or pin what it touched (False)."""
        records = recording.records[: culprit + 1]
        for record in reversed(records):
            if not any(fate.is_live(x) for x in _touched(record)):
                continue
            choices[record.site] = choices.get(record.site, 0) + 1
            if choices[record.site] < record.num_choices:
                return True
            _pin_site(recording, record.site)
            return False
        raise AssertionError("a trial failed although nothing before it can be removed")


def _touched(record: Record) -> Fields:
    return (*record.inputs, *(x for _, fields in record.outputs for x in fields))


def _pin_site(recording: Recording, site: Site) -> None:
    """The same line of code fixes the same sizes in every instance of a class."""
    for record in recording.records:
        if record.site == site:
            for field in record.inputs:
                recording.labels.pin(field, hard_coded(record))
