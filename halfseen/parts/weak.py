"""The pass of the weak view, whose prediction teaches and is not trained, and which rows it is normalised with.

    separate       a forward without gradient, in train mode, by the weak rows' own statistics
    joint          one forward of labelled, weak and strong rows, by the statistics of all, as the FixMatch releases have it
    eval           evaluation mode: no dropout, no noise, and the network's running statistics, which then belong to this
                   pass: before it they move by a tenth towards the weak rows' (by 1/t in the first nine steps), and the
                   trained forward leaves them alone
    with_labelled  labelled and weak rows by the statistics of both, the weak ones constant: no gradient reaches a weak
                   row, that of a labelled row passes through its share of the statistics. Strong rows go by themselves

Running statistics are moved by the rows of the trained forward: labelled and strong (separate), all (joint), labelled and
weak (with_labelled); eval as above. What is scored has statistics of its own (parts/norms.py) unless norm is copied.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Literal, cast

import torch
from torch import Tensor, nn

from halfseen.machine import distributed
from halfseen.parts.forward import batch_norms, eagerly, eval_mode, frozen_batchnorm, together

WeakPass = Literal["separate", "joint", "eval", "with_labelled"]
GuessPass = Literal["separate", "eval", "with_labelled"]  # of guesses that the trained rows are made with
SHARE = 0.1  # of the newest weak rows in the statistics of the eval pass


def predict_only(net: nn.Module, view: Tensor) -> Tensor:
    """Logits without gradient, in train mode, with the view's own batch statistics; the running ones are not touched."""
    with torch.no_grad(), frozen_batchnorm(net):
        return together(net, view)[0]


def with_weak(
    net: nn.Module, labelled: Tensor, weak: Tensor, strong: Tensor, weak_pass: WeakPass
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of labelled, weak and strong views; the weak ones without gradient."""
    if weak_pass == "joint":
        logits_x, logits_w, logits_s = together(net, labelled, weak, strong)
        return logits_x, logits_w.detach(), logits_s
    if weak_pass == "with_labelled":
        with torch.no_grad(), noted(net, len(labelled)) as others, frozen_batchnorm(net):
            logits_w = together(net, labelled, weak)[1]
        logits_x, logits_s = beside(net, labelled, strong, others)
        return logits_x, logits_w, logits_s
    if weak_pass == "eval":
        logits_w = predict_evaluated(net, weak)
        with frozen_batchnorm(net):
            logits_x, logits_s = together(net, labelled, strong)
        return logits_x, logits_w, logits_s
    logits_w = predict_only(net, weak)
    logits_x, logits_s = together(net, labelled, strong)
    return logits_x, logits_w, logits_s


def guess(net: nn.Module, labelled: Tensor, weak: Tensor, weak_pass: GuessPass) -> Tensor:
    """Logits of weak views without gradient, for methods that make the rows they train on with them.

    with_labelled: labelled and weak rows by the statistics of both. The trained rows go by their own within `trained`.
    """
    if weak_pass == "eval":
        return predict_evaluated(net, weak)
    if weak_pass == "with_labelled":
        return predict_only(net, torch.cat([labelled, weak]))[len(labelled) :]
    return predict_only(net, weak)


def trained(net: nn.Module, weak_pass: GuessPass) -> AbstractContextManager[None]:
    """Around the trained forward beside `guess`: running statistics that belong to the eval pass are left alone."""
    return frozen_batchnorm(net) if weak_pass == "eval" else nullcontext()


@torch.no_grad()
def predict_evaluated(net: nn.Module, view: Tensor) -> Tensor:
    """Logits in evaluation mode, after each norm's running statistics have followed what it is given here."""
    with eval_mode(net), eagerly(net), ExitStack() as hooks:
        for norm in batch_norms(net):
            hooks.callback(norm.register_forward_pre_hook(_follow).remove)
        return together(net, view)[0]


def _follow(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
    """running <- running + max(1/t, SHARE) (that of the rows - running), t passes so far with this one."""
    x = args[0].float() if args[0].dtype != torch.float64 else args[0]
    n = x.numel() // x.shape[1] * distributed.world()
    var, mean = torch.var_mean(x, [d for d in range(x.ndim) if d != 1], correction=0)
    if distributed.world() > 1:
        moments = torch.stack([mean, var + mean.square()])
        distributed.average([moments])
        mean, var = moments[0], moments[1] - moments[0].square()
    passes = cast(Tensor, norm.num_batches_tracked).add_(1)
    share = (1.0 / passes.to(mean.dtype)).clamp_min(SHARE)
    for running, seen in ((norm.running_mean, mean), (norm.running_var, var * (n / max(1, n - 1)))):
        if isinstance(running, Tensor):
            running.add_((share * (seen - running)).to(running.dtype))


@contextmanager
def noted(net: nn.Module, skip: int, wanted: bool = True) -> Iterator[dict[nn.Module, Tensor]]:
    """What each batch norm is given in its first call within the block, without the first `skip` rows; if it is wanted."""
    found: dict[nn.Module, Tensor] = {}

    def note(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        if norm not in found:
            found[norm] = args[0][skip:].detach()

    with eagerly(net), ExitStack() as hooks:
        for norm in batch_norms(net) if wanted else []:
            hooks.callback(norm.register_forward_pre_hook(note).remove)
        yield found


def beside(net: nn.Module, labelled: Tensor, strong: Tensor, others: dict[nn.Module, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits of labelled rows, which batch norm sees beside the `others` (constants), and of strong rows by themselves."""
    n = len(labelled)

    def join(norm: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (torch.cat([args[0], others[norm]]),)

    def part(norm: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return out[:n]

    with eagerly(net), ExitStack() as hooks:
        for norm in others:
            hooks.callback(norm.register_forward_pre_hook(join).remove)
            hooks.callback(norm.register_forward_hook(part).remove)
        logits_x = together(net, labelled)[0]
    with frozen_batchnorm(net):
        return logits_x, together(net, strong)[0]
