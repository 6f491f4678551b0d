"""Tracing: one forward pass that carries tags along, then a trial of a smaller network.

The pass runs on a shadow of the network (meta tensors: real Python control flow, no compute) and
on the network itself where its code needs numbers. The trial cuts a third of every group and runs
again; where the code fixes a size the trial shows it, what it touched is read differently or kept
whole, and the trial is repeated until it passes.
"""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_iter

from ...errors import InputError
from ...forward import call, evaluating, tensors_of, unfused_attention
from ...outputs import found_logits
from ..caches import Cache, drop_caches, restored
from ..choice import ASKED, Choice
from ..cut import Cut
from ..surgery import keep_positions
from ..units import IntArray, Structure
from .caches import attributes_of, brought_along, filled_since
from .groups import columns_of, structure_of
from .layers import keep_chosen
from .paths import check_path
from .recorder import Recorder
from .runnable import require_running, require_visible_layers, run_copies
from .shadow import (
    containers_training,
    shadow,
    shadow_inputs,
    uncollected,
)
from .stack import ModuleStack, common_owner
from .stuck import num_removable, stuck_lines
from .tags import Components
from .trial import Forecast, Thinned, alike, first_difference

MAX_SMALLER_RUNS = 200
"""When to give up on a network that fixes sizes in its code. Each run settles at least one line; no
classifier of torchvision needs more than three."""

MAX_OTHER_READINGS = 8
"""How many other readings are tried where filters could only go all together: one settles Next-ViT,
two EdgeNeXt. Each costs a look at the tags, and a run only where more could go."""
MAX_RUNS_OF_OTHERS = 10
"""When to give up on another reading."""
EVERY_LAYER = Choice()
CHOSEN = -2
"""In place of an operation's number: pins that the user asked for come from none."""


@dataclass(frozen=True)
class FreeLogits:
    """A network whose logits may lose columns.

    Attributes:
        structure: as `trace` gives it, with the columns of the logits among its units.
        unit_K: unit of each column, -1 for those that have to stay.
        reason: why they have to.
    """

    structure: Structure
    unit_K: IntArray
    reason: str = ""


def trace(model: nn.Module, example_inputs: Any, choice: Choice = EVERY_LAYER) -> Structure:
    """Find out which filters can be removed, and what goes with them.

    `choice` has the layers that are to stay whole; default: none has to.

    `example_inputs` is what `forward.call` takes: a tensor, a tuple or list of arguments or a
    dictionary of named ones; the first axis of the first tensor counts images. Network and inputs
    are left as they were: mode, gradients, hooks, buffers.

    Raises:
        InputError: the network does not run on these inputs, hides its layers (TorchScript) or
            fixes too many sizes in its code.
    """
    return _trace(model, example_inputs, choice).structure


def trace_logits(model: nn.Module, example_inputs: Any) -> FreeLogits:
    """The same with the columns of the logits free to go, each with all that computes it alone.

    Raises:
        InputError: as `trace`.
    """
    return _trace(model, example_inputs, EVERY_LAYER, frees_logits=True)


def _trace(
    model: nn.Module, example_inputs: Any, choice: Choice, *, frees_logits: bool = False
) -> FreeLogits:
    require_visible_layers(model)
    with evaluating(model), unfused_attention(), uncollected():
        caches = brought_along(model, example_inputs)
        try:
            tracer = _Tracer(shadow(model), shadow_inputs(example_inputs), caches, frees_logits)
            return tracer.traced(choice)
        except Exception:  # its code needs numbers: run it for real
            pass
        try:
            tracer = _Tracer(*run_copies(model, example_inputs), caches, frees_logits)
            return tracer.traced(choice, reads_numbers=True)
        except Exception:
            require_running(model, example_inputs)
            raise


class _Tracer:
    """Records, tries, and reads differently or pins what the trial showed, until it passes."""

    def __init__(
        self, model: nn.Module, inputs: Any, caches: tuple[Cache, ...], frees_logits: bool
    ) -> None:
        drop_caches(model, caches)
        self.model, self.inputs, self.frees_logits = model, inputs, frees_logits
        with restored(model):
            before = attributes_of(model)
            self.recorder = Recorder(model, ModuleStack(model))
            self.auxiliary = self._record()
            self.caches = (*caches, *filled_since(before, model))
        self.recording = self.recorder.recording

    def traced(self, choice: Choice, *, reads_numbers: bool = False) -> FreeLogits:
        """The structure; what was recorded on the way is let go at once."""
        try:
            if reads_numbers:
                check_path(self.model, self.inputs, self.recording)
            self.recording.tags.restart(CHOSEN)
            keep_chosen(self.model, self.recording, choice)
            found = self.run()
            told = {
                layer: ASKED if reason.endswith(ASKED) and choice.stays(layer) else reason
                for layer, reason in found.kept_whole.items()
            }
            found = replace(found, caches=self.caches, kept_whole=told)
            tags, components = self.recorder.label_tags, self.recording.tags.solve()
            return FreeLogits(found, *columns_of(tags, self.recording, components, found))
        finally:
            self.recording.records.clear()

    def run(self) -> Structure:
        """Of the structures that pass their trial, the one that leaves least whole."""
        best = self._passing(MAX_SMALLER_RUNS)
        if best is None:
            raise InputError(
                f"a {type(self.model).__name__} given that fixes sizes in its code, so that "
                f"{MAX_SMALLER_RUNS} smaller versions of it failed to run; expected code that "
                "takes sizes from its layers and inputs; write it so"
            )
        left = self._other_readings(best)
        for _ in range(min(len(left), MAX_OTHER_READINGS)):
            before = self.recorder.readings
            self.recorder.read_again(*left.pop(0))
            found = self._better(best)
            if found is None:
                self.recorder.take(before)
            else:
                best, left = found, self._other_readings(found)
            if not left:
                break
        return best

    def _passing(self, max_runs: int) -> Structure | None:
        """The structure that passes its trial; until one does, lines are read in another way."""
        for _ in range(max_runs):
            components, structure = self._structure()
            if not structure.groups:
                return structure
            surprise = self._tried(components, structure)
            if surprise is None:
                return structure
            self._settle(*surprise)
        return None

    def _structure(self) -> tuple[Components, Structure]:
        """What can be removed as operations are read now."""
        components = self.recording.tags.solve()
        num_images = self._num_images()
        return components, structure_of(self.model, self.recording, components, num_images)

    def _other_readings(self, structure: Structure) -> list[tuple[list[int], int]]:
        """Lines that may be why layers stay whole, each with every reading that is left."""
        components = self.recording.tags.solve()
        lines = stuck_lines(self.model, self.recording, components, structure)
        return [
            (line, choice)
            for line in lines
            for choice in range(
                self.recorder.choice(line[0]) + 1, self.recording.records[line[0]].num_choices
            )
        ]

    def _better(self, best: Structure) -> Structure | None:
        """The structure as operations are read now, if it passes and more can go than before."""
        before, (_, hoped) = num_removable(best, self.recording), self._structure()
        if num_removable(hoped, self.recording) <= before:
            return None
        found = self._passing(MAX_RUNS_OF_OTHERS)
        more = found is not None and num_removable(found, self.recording) > before
        return found if more else None

    def _num_images(self) -> int:
        tensors = (x for x in tree_iter(self.inputs) if isinstance(x, Tensor))
        first = next((x for x in tensors if x.ndim), None)
        if first is None:
            raise InputError(
                "example inputs given without a tensor that has axes; expected at least one, whose "
                "first axis counts images; give what one call of the network takes"
            )
        return int(first.shape[0])

    def _record(self) -> bool:
        """Tags of a forward pass; a second one where training has branches of its own."""
        self._forward()
        self.recorder.recording.num_counted = len(self.recorder.recording.records)
        seen = self.recorder.recording.tensors.keys()
        unseen = {name for name, _ in self.model.named_parameters()} - seen
        auxiliary = bool(unseen) and self._training_runs()
        if auxiliary:
            containers_training(self.model)
            self._forward()
            self.model.eval()
        return auxiliary

    def _forward(self) -> None:
        """Run once; the outputs of the network keep their size."""
        with self.recorder.stack.following(), self.recorder:
            outputs = call(self.model, self.inputs)
        logits = found_logits(outputs) if self.frees_logits else None
        self.recorder.mark_outputs(tensors_of(outputs), logits)

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

    def _tried(self, components: Components, structure: Structure) -> tuple[Forecast, int] | None:
        """The first surprise of two trials, and what the trial was to be."""
        for thinned in (Thinned(), Thinned(turned=True)):
            gone = thinned.removed_units(structure)
            forecast = Forecast(self.recording, components, structure, gone)
            culprit = self._try(structure, forecast, thinned)
            if culprit is not None:
                return forecast, culprit
        return None

    def _try(self, structure: Structure, forecast: Forecast, thinned: Thinned) -> int | None:
        """Remove a part of every group and run again; the first surprise, if there is one."""
        with restored(self.model):
            keep_positions(self.model, Cut(structure, thinned).kept)
            return first_difference(self.recording, forecast, self._run)

    def _run(self) -> None:
        """Run as it was recorded."""
        call(self.model, self.inputs)
        if self.auxiliary:
            containers_training(self.model)
            call(self.model, self.inputs)

    def _settle(self, forecast: Forecast, culprit: int) -> None:
        """Read the last operation that can shrink in another way, or pin what it touched.

        Where none before the culprit can shrink (the code took a size from a layer that runs
        later), the first after it.
        """
        records = self.recording.records
        last = records[min(culprit, len(records) - 1)].place
        for index in (*range(culprit, -1, -1), *range(culprit + 1, len(records))):
            if index < len(records) and any(forecast.is_live(x) for x in records[index].touched):
                height, owner = common_owner(records[index].place, last)
                same = alike(records, index, height, forecast)
                name, choice = records[index].op.name, self.recorder.choice(index) + 1
                where = owner.path or "the network itself"
                reason = f"the code of {owner.kind} ({where}) fixes its size: {name}"
                if choice < records[index].num_choices:
                    self.recorder.read_again(same, choice, reason)
                else:
                    self.recorder.keep(same, reason)
                return
        raise AssertionError("a trial failed although nothing can be removed")
