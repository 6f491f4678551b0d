"""Prune in the middle of a Lightning training: `pip install "prune-dl[lightning]"`.

    from prune_dl.prune.integrations.lightning import PruneCallback

    trainer = Trainer(max_epochs=12, callbacks=[PruneCallback(at_epochs=(4, 6), keep=0.5)])

Works with `lightning` and with `pytorch_lightning`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.utilities import rank_zero_info
except ModuleNotFoundError:
    from pytorch_lightning import Callback, LightningModule, Trainer
    from pytorch_lightning.utilities import rank_zero_info

from ..api import compress
from ..budget import KINDS, Budget, stated_budget
from ..errors import PruneError, UsageError
from ..forward import call, evaluating, first_rows, on_device
from ..inputs.items import ItemReader
from ..job.by_weights import NEED_NO_DATA, ByWeights, cut_by_weights
from ..job.known import EXAMPLES, Amounts
from ..job_options import JobOptions, as_layers
from ..outputs import class_scores
from ..structure.certificate import Certificate
from ..structure.choice import Choice
from ..structure.cut import Cut
from ..structure.plain import as_plain
from ..training.optimizer import remap_optimizer
from .removals import PrunedAt, Removals


@dataclass(frozen=True, eq=False)
class _Smaller:
    """A smaller network, and how it was made."""

    model: nn.Module
    cut: Cut
    certificate: Certificate
    before: Amounts
    after: Amounts
    notes: tuple[str, ...] = ()


class PruneCallback(Callback):  # type: ignore[misc]
    """Remove filters at the start of given epochs; the training goes on with what is left.

    The optimizers keep their state (momentum, AdamW's averages, step counts), cut as the parameters
    are, and stay the same objects: learning-rate schedules, scalers and hooks go on. After step i
    of n, share^(i / n) of the network is left. By weights alone, a budget that whole filters cannot
    meet is met as nearly as they can; otherwise it is an error, as in `compress`. What is left is
    logged as `left/filters`, `left/macs` and `left/params`.

    Checkpoints say what was removed: `trainer.fit(fresh_module, ckpt_path=...)` with this callback
    cuts the fresh module alike and goes on, and so do validate, test and predict.
    `PruneCallback.load(fresh_module, path)` does it without a trainer.

    Several processes are refused. A callback that averages the weights must start after the last
    removal.

    Args:
        at_epochs: at the start of which epochs a part is removed, ascending, from 0 on.
        criterion: one that needs weights alone ("l1", "l2", "bn-scale", "fpgm", "lamp", "random"):
            any network, and nothing else is done. Any other of `rank` (like "response"): a
            classifier, whose training loader is measured and whose remaining weights are repaired.
        network: the attribute of the module that holds the network, as "model" or "net.backbone";
            default: the only child that has parameters.
        num_labels: for criteria that need data; default: columns of the output.
        **options: of `compress`: exactly one of `keep`, `macs` and `params`; `whole`, `only`,
            `at_least`; with criteria that need data also others.

    Attributes:
        removals: what was removed so far.

    Raises:
        UsageError: no budget or one that is not counted, or options that do not go together.
    """

    def __init__(
        self,
        at_epochs: Sequence[int],
        criterion: str = "l1",
        *,
        network: str | None = None,
        num_labels: int | None = None,
        **options: Unpack[JobOptions],
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = dict(options)
        self.budget = stated_budget({kind: self.options.pop(kind, None) for kind in KINDS})
        self.at_epochs, self.criterion = tuple(at_epochs), criterion
        self.network, self.num_labels = network, num_labels
        self.removals = Removals()
        self._check()

    def _check(self) -> None:
        epochs = self.at_epochs
        if not epochs or list(epochs) != sorted(set(epochs)) or epochs[0] < 0:
            raise UsageError(
                f"`at_epochs={epochs}` given; expected epochs from 0 on, ascending, like (4, 6)"
            )
        if not self.budget.is_counted:
            raise UsageError(
                f"`{self.budget.kind}` given; expected a share, since a search would hold up the "
                "training; give `keep`, `macs` or `params`"
            )
        by_trainer = self.options.keys() & {"epochs", "rank", "steps"}
        if by_trainer:
            raise UsageError(
                f"`{min(by_trainer)}` given to PruneCallback; expected `criterion` and "
                "`at_epochs`, a step for each of them, since the trainer trains; leave it out"
            )
        surplus = self.options.keys() - {"whole", "only", "at_least"}
        if self.criterion in NEED_NO_DATA and surplus:
            raise UsageError(
                f"`{min(surplus)}` given with `criterion={self.criterion}`, which needs no data; "
                "expected `whole`, `only` and `at_least` at the most; leave it out, or give a "
                "criterion that measures data, like response"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot work, and cut a fresh module as the checkpoint was to be loaded."""
        if trainer.world_size > 1:
            raise UsageError(
                f"PruneCallback given in a training of {trainer.world_size} processes; expected "
                "one; prune in one process, and train the result in several"
            )
        last, most = self.at_epochs[-1], trainer.max_epochs
        if stage == "fit" and most is not None and 0 <= most <= last:
            raise UsageError(
                f"`at_epochs={self.at_epochs}` given for a training of {most} epochs; expected "
                f"epochs below {most}; train for longer, or prune earlier"
            )
        self._watch_for_checkpoint(pl_module)

    def _watch_for_checkpoint(self, pl_module: LightningModule) -> None:
        """See a checkpoint before the trainer loads its weights into the module.

        The module alone is shown it in time; callbacks are only afterwards.
        """
        own = pl_module.on_load_checkpoint

        def cut_first(checkpoint: dict[str, Any]) -> None:
            state = checkpoint.get("callbacks", {}).get(self.state_key)
            self._take_up(pl_module, Removals() if state is None else Removals.from_plain(state))
            own(checkpoint)

        pl_module.on_load_checkpoint = cut_first

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the module its own hook back."""
        vars(pl_module).pop("on_load_checkpoint", None)

    def _take_up(self, pl_module: LightningModule, removals: Removals) -> None:
        """Cut the module as a checkpoint's was, where it is not cut so already."""
        if removals.is_like(self.removals):
            return
        if self.removals.history:
            raise UsageError(
                "a checkpoint given with other filters than the module has; expected one of the "
                "same removals; give a fresh module, and a new PruneCallback with it"
            )
        removals.apply(network_of(pl_module, self.network)[1])
        self.removals = removals

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remove what is due, before the first batch of an epoch."""
        done, steps, epoch = len(self.removals.history), len(self.at_epochs), trainer.current_epoch
        if batch_idx or done == steps or epoch < self.at_epochs[done]:
            return
        name, network = network_of(pl_module, self.network)
        left = self.removals.left(self.budget.kind)
        budget = self.budget.of_step(done + 1, steps, left)
        made = self._make(trainer, network, _example(pl_module, network, batch), budget)
        if not made.certificate.ok:
            raise PruneError(
                f"removing filters was not exact ({made.certificate.reason}); please report it"
            )
        own = {id(x) for x in network.parameters()}
        others = [x for x in pl_module.parameters() if id(x) not in own]
        for optimizer in trainer.optimizers:
            remap_optimizer(optimizer, network, made.model, made.cut, others=others, in_place=True)
        pl_module.set_submodule(name, made.model)
        pruned = PrunedAt(epoch, made.before, made.after)
        self.removals = self.removals.then(pruned, network, made.model, made.cut)
        rank_zero_info("\n".join([pruned.words, *made.notes]))
        shown = zip(("filters", "macs", "params"), asdict(made.after).values(), strict=True)
        values = {f"left/{what}": float(count) for what, count in shown}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=1)

    def _make(self, trainer: Trainer, network: nn.Module, example: Any, budget: Budget) -> _Smaller:
        """The smaller network, by weights alone or by measuring the training loader."""
        if self.criterion in NEED_NO_DATA:
            whole, only = (as_layers(self.options.get(name, ())) for name in ("whole", "only"))
            least = self.options.get("at_least", 1)
            # A missed budget ends no training: what was removed is logged.
            how = ByWeights(self.criterion, choice=Choice(whole, only), at_least=least, exact=False)
            made = cut_by_weights(network, example, budget, how)
            return _Smaller(made.model, made.cut, made.certificate, made.before, made.after)
        loader = trainer.train_dataloader
        if not isinstance(loader, DataLoader):
            raise UsageError(
                f"`criterion={self.criterion}` given for a {type(loader).__name__} of training "
                "data; expected one DataLoader; give it, or a criterion that needs no data: "
                f"{', '.join(NEED_NO_DATA)}"
            )
        options: Any = {**self.options, budget.kind: budget.value, "rank": self.criterion}
        num_labels = self.num_labels or _num_labels(network, example)
        device = str(next(network.parameters()).device)
        found = compress(network, loader, num_labels, device=device, **options, epochs=0)
        planned, certificate = found.planned, found.outcome.certificate
        amounts = planned.original, planned.left
        return _Smaller(found.model, found.cut, certificate, *amounts, found.warnings)

    def state_dict(self) -> dict[str, Any]:
        """What was removed, in plain values, for the checkpoint."""
        return {**self.removals.to_plain(), "network": self.network}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a checkpoint says was removed."""
        self.removals = Removals.from_plain(state_dict)

    @classmethod
    def load(cls, module: LightningModule, path: str | Path) -> LightningModule:
        """A fresh module, cut in place as the checkpoint's was, with its weights.

        Raises:
            UsageError: no PruneCallback wrote into the checkpoint.
        """
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint.get("callbacks", {}).get(cls.__qualname__)
        if state is None:
            raise UsageError(
                f"{path} given; expected a checkpoint of a training with PruneCallback; load "
                "others with load_from_checkpoint"
            )
        Removals.from_plain(state).apply(network_of(module, state["network"])[1])
        module.load_state_dict(checkpoint["state_dict"])
        return module


def network_of(pl_module: LightningModule, name: str | None) -> tuple[str, nn.Module]:
    """The network inside a module, and the name of the attribute that holds it.

    Raises:
        UsageError: there is none of that name; several and no name; or it is no plain network.
    """
    children = [key for key, x in pl_module.named_children() if list(x.parameters())]
    if name is None and len(children) == 1 and not list(pl_module.parameters(recurse=False)):
        (name,) = children
    if name is None or name not in {key for key, _ in pl_module.named_modules() if key}:
        what = "no `network`" if name is None else f"`network={name}`"
        raise UsageError(
            f"{what} given for a {type(pl_module).__name__} with {', '.join(children) or 'nothing'}"
            "; expected the name of the attribute that holds the whole network; put its layers "
            "into one nn.Module, and give its name"
        )
    network = pl_module.get_submodule(name)
    if as_plain(network).model is not network:
        raise UsageError(
            f"a compiled or parametrised {type(network).__name__} given; expected plain layers; "
            "compile it after the last removal"
        )
    return name, network


def _example(pl_module: LightningModule, network: nn.Module, batch: Any) -> Any:
    """Inputs of a few images: the module's `example_input_array`, or those of the batch."""
    given = pl_module.example_input_array
    if given is None:
        given = batch if isinstance(batch, Tensor) else ItemReader.of(network).pair_of(batch)[0]
    return on_device(first_rows(given, EXAMPLES), next(network.parameters()).device)


def _num_labels(network: nn.Module, example: Any) -> int:
    with evaluating(network):
        return int(class_scores(call(network, example)).shape[1])
