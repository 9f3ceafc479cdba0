"""FixMatch in a loop of one's own: the parts, the views and the networks of halfseen, and plain torch around them."""

import torch

from halfseen.augment import make_policy
from halfseen.data import Stream, choose_split, open_data
from halfseen.draws import Draws
from halfseen.nets import make_net
from halfseen.parts.ema import Ema, early
from halfseen.parts.forward import eval_mode
from halfseen.parts.losses import cross_entropy
from halfseen.parts.weak import with_weak

STEPS, TAU, DECAY = 400, 0.95, 0.999


def train(use_unlabelled: bool) -> float:
    """Test accuracy with 3 labels a class of 8x8 digits."""
    torch.manual_seed(0)
    images = open_data("digits", progress=False)
    split = choose_split(images.y, images.given, labels_per_class=3, seed=0, val="none")
    draws = Draws.seeded(0, torch.device("cpu"))
    how = {"shape": images.shape, "flip": False, "mean": images.mean, "std": images.std, "draws": draws}
    clean, weak, strong = (make_policy(name, **how) for name in ("none", "affine", "affine+noise"))
    net = make_net("small", classes=10, shape=images.shape, width=16)
    average = Ema(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    labelled, unlabelled = Stream(split.labelled, 30, 0, True), Stream(split.unlabelled, 90, 1, True)
    for step in range(STEPS):
        ids, u = labelled.at(step), images.x[unlabelled.at(step)]
        logits_x, logits_w, logits_s = with_weak(net, weak(images.x[ids]), weak(u), strong(u), "separate")
        confidence, pseudo = logits_w.softmax(1).max(1)
        loss = cross_entropy(logits_x, images.y[ids]).mean()
        if use_unlabelled:
            loss = loss + ((confidence >= TAU) * cross_entropy(logits_s, pseudo)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        average.follow(net, early(DECAY, step))
    with torch.no_grad(), eval_mode(average):
        return float((average(clean(images.test_x)).argmax(1) == images.test_y).float().mean())


if __name__ == "__main__":
    print(f"30 labels alone: {train(False):.1%}, with the unlabelled digits: {train(True):.1%}")
