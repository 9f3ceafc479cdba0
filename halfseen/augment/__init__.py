"""Augmentation in batches, on the device, with its own random numbers for every image."""

from halfseen.augment.ctaugment import CTAugment
from halfseen.augment.mix import mixing_weights, mixup
from halfseen.augment.policies import IMAGE_POLICIES, VECTOR_POLICIES, Policy, make_policy
from halfseen.augment.randaugment import RandAugment
from halfseen.augment.vectors import VectorPolicy
from halfseen.augment.whitening import Whitening

__all__ = [
    "IMAGE_POLICIES",
    "VECTOR_POLICIES",
    "CTAugment",
    "Policy",
    "RandAugment",
    "VectorPolicy",
    "Whitening",
    "make_policy",
    "mixing_weights",
    "mixup",
]
